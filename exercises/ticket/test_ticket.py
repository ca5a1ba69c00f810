"""Exercise: a ticket opens one socket, once, within seconds, for a client without a cookie."""

import asyncio
import json

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tutorial.services.processes import patience
from tutorial.testing.site import Server

PATIENCE = 60  # seconds, more on a busy machine
ACTIVATE = (
    "from django.contrib.auth.models import User; User.objects.filter(username='bob').update(is_active={})"
)


@pytest.fixture(scope="module")
def server(site):
    """The step under daphne."""
    return site.shared_server("daphne")


@pytest.fixture
async def fetch(site):
    """Fetch a ticket from a server as a user, and fail where there is none."""
    async with httpx.AsyncClient(timeout=patience(PATIENCE), trust_env=False) as http:

        async def fetch(server, user="alice"):
            headers = site.headers(server.url, user)
            headers["Cookie"] += "; csrftoken=" + "a" * 32
            headers["X-CSRFToken"] = "a" * 32
            answer = await http.post(f"{server.url}/chat/ticket/", headers=headers)
            if answer.status_code != 200:
                pytest.fail(f"POST /chat/ticket/ as {user} answers {answer.status_code}, not 200.")
            assert "no-store" in answer.headers["Cache-Control"], "No cache may keep a ticket."
            return answer.json()["ticket"]

        yield fetch


def enter(server, ticket, origin=None):
    """Open a socket with a ticket and without a cookie."""
    return connect(
        server.websocket_url("/ws/chat/tickets/"),
        origin=origin or server.url,
        subprotocols=["chat", f"ticket.{ticket}"],
        compression=None,
        proxy=None,
        open_timeout=patience(PATIENCE),
    )


async def enters(server, ticket, **options):
    """Tell whether a ticket opens a socket; else it must be refused with 403."""
    try:
        async with enter(server, ticket, **options):
            return True
    except InvalidStatus as refusal:
        if refusal.response.status_code != 403:
            raise
        return False


async def test_a_ticket_opens_a_socket_without_a_cookie(server, fetch):
    """A client with alice's ticket speaks as alice; the server chooses the subprotocol chat."""
    async with enter(server, await fetch(server)) as socket:
        assert socket.subprotocol == "chat"
        await socket.send(json.dumps({"message": "切符で来ました"}))
        async with asyncio.timeout(patience(PATIENCE)):
            assert json.loads(await socket.recv()) == {"message": "切符で来ました", "username": "alice"}


async def test_a_cookie_works_as_before(server, site):
    """A page that offers no subprotocol gets in by its cookie, and without one it is refused."""
    address = server.websocket_url("/ws/chat/tickets/")
    async with connect(address, additional_headers=site.headers(server.url, "bob"), proxy=None) as socket:
        assert socket.subprotocol is None
    with pytest.raises(InvalidStatus, match="403"):
        await connect(address, origin=server.url, proxy=None)


async def test_only_who_is_logged_in_gets_a_ticket(server):
    """Without a login the answer is 401, and a GET, which any link can cause, is 405."""
    async with httpx.AsyncClient(trust_env=False) as http:
        token = {"Cookie": "csrftoken=" + "a" * 32, "X-CSRFToken": "a" * 32}
        assert (await http.post(f"{server.url}/chat/ticket/", headers=token)).status_code == 401
        assert (await http.get(f"{server.url}/chat/ticket/")).status_code == 405


async def test_a_ticket_opens_one_socket(server, fetch):
    """Of two handshakes that bring a ticket at the same moment one gets in, and nobody after them."""
    tickets = [await fetch(server) for _ in range(10)]
    for ticket in tickets:
        assert sorted(await asyncio.gather(enters(server, ticket), enters(server, ticket))) == [False, True]
        assert not await enters(server, ticket)
    assert "/ws/chat/tickets/" in server.output, "The server has written no log."
    assert not [ticket for ticket in tickets if ticket in server.output]


async def test_a_ticket_expires(site, fetch):
    """It lives for TICKET_SECONDS, and a busy machine only lets more of them pass."""
    with Server(site, "daphne", env={"TICKET_SECONDS": "1"}).start() as short:
        ticket = await fetch(short)
        await asyncio.sleep(1.5)
        assert not await enters(short, ticket)


async def test_another_process_takes_the_ticket(site, server, fetch):
    """A ticket from one server opens a socket at another."""
    with Server(site, "uvicorn").start() as other:
        assert await enters(other, await fetch(server))


async def test_a_foreign_page_has_no_use_for_a_ticket(server, fetch):
    """A handshake with a foreign Origin is refused, whatever ticket it brings."""
    assert not await enters(server, await fetch(server), origin="https://evil.example")


async def test_who_was_deactivated_meanwhile_is_refused(site, server, fetch):
    """A ticket is no use to somebody whose account was closed after it was made."""
    ticket = await fetch(server, "bob")
    await asyncio.to_thread(site.run, "manage.py", "shell", "-v", "0", "-c", ACTIVATE.format(False))
    try:
        assert not await enters(server, ticket)
    finally:
        await asyncio.to_thread(site.run, "manage.py", "shell", "-v", "0", "-c", ACTIVATE.format(True))


async def test_what_is_no_ticket_is_refused(server):
    """Nobody gets in with a text that nobody was given."""
    for rubbish in ("", "x", "alice", "1", "*", "a" * 4000):
        assert not await enters(server, rubbish)


async def test_a_crowd_gets_its_tickets(site, fetch):
    """1,000 tickets, 50 requests at a time: all are different, each opens a socket, and the log has none."""
    with Server(site, "uvicorn", env={"TICKET_SECONDS": "600"}).start() as server:
        slots = asyncio.Semaphore(50)  # more would need more open files than some machines allow

        async def one_by_one(work):
            async with slots:
                return await work

        tickets = await asyncio.gather(*(one_by_one(fetch(server)) for _ in range(1000)))
        assert len(set(tickets)) == 1000
        opened = await asyncio.gather(*(one_by_one(enters(server, ticket)) for ticket in tickets))
        assert sum(opened) == 1000
        output = server.output
    assert "/ws/chat/tickets/" in output, "The server has written no log."
    assert not [ticket for ticket in tickets if ticket in output]
