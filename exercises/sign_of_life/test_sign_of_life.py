"""Exercise: the page notices a server that hangs."""

import asyncio
import json
from urllib.parse import quote, urlencode
from uuid import uuid4

import pytest
import pytest_asyncio
import redis
from playwright.async_api import expect
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tutorial.services.processes import patience, wait_until

PATIENCE = 20  # seconds, more on a busy machine


class Relay:
    """A relay between browser and server that can hold what passes, as if the server hung.

    Attributes:
        url: Its address.
        hangs: Whether it holds new connections from their first byte on.
        sockets: How many WebSockets have been asked for.
        third_pong: Happens when the third answer to a ping passes.
        second_socket: Happens when a second WebSocket is asked for.
        first_end: Happens when the first WebSocket has ended.
    """

    def __init__(self, port):
        self._port = port
        self._gates, self._tasks = [], set()
        self.hangs = False
        self.sockets = self._pongs = 0
        self.third_pong = asyncio.Event()
        self.second_socket = asyncio.Event()
        self.first_end = asyncio.Event()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def freeze(self):
        """Hold every connection that is open now; return a function that lets them go on."""
        gates = list(self._gates)
        for gate in gates:
            gate.clear()
        return lambda: [gate.set() for gate in gates]

    async def _take(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        self._gates.append(gate := asyncio.Event())
        if not self.hangs:
            gate.set()
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._port)
        first = False

        async def carry(source, target):
            nonlocal first
            while data := await source.read(65536):
                await gate.wait()
                if b"Sec-WebSocket-Key" in data:
                    self.sockets += 1
                    first = self.sockets == 1
                self._pongs += b'"pong"' in data
                if self._pongs == 3:
                    self.third_pong.set()
                if self.sockets == 2:
                    self.second_socket.set()
                target.write(data)
                await target.drain()

        ways = [
            asyncio.ensure_future(carry(*way)) for way in ((reader, server_writer), (server_reader, writer))
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.close()
            server_writer.close()
            if first:
                self.first_end.set()


@pytest.fixture
def web(site):
    """The step, served by runserver."""
    return site.shared_server("runserver")


@pytest.fixture
def room():
    """A room that no other test uses."""
    return f"部屋 {uuid4()}"


@pytest.fixture
def socket(site, web, room):
    """Open a socket to the room, past the relay."""

    def socket(user):
        address = web.websocket_url(f"/ws/chat/{quote(room, safe='')}/")
        return connect(address, additional_headers=site.headers(web.url, user), proxy=None)

    return socket


@pytest.fixture
def members(site):
    """Return how many memberships in groups the broker keeps."""
    with redis.Redis.from_url(site.env["REDIS_URL"]) as broker:
        yield lambda: sum(broker.zcard(group) for group in broker.scan_iter("asgi:group:*"))


@pytest_asyncio.fixture(loop_scope="module")
async def relay(web):
    """The relay between alice's page and the server."""
    async with Relay(web.port) as relay:
        yield relay


@pytest_asyncio.fixture(loop_scope="module")
async def page(open_page, relay, room):
    """Alice's page in the room, connected through the relay."""
    page = await open_page(f"{relay.url}/chat/room/?{urlencode({'name': room})}", "alice")
    await says(page, "Connected.")
    return page


async def says(page, text):
    """Wait until the page says how its connection is."""
    await expect(page.get_by_role("status")).to_contain_text(text, timeout=patience(PATIENCE) * 1000)


async def comes_back(page, relay):
    """Freeze the page's connection until it is back on another one; return a function that ends the frost.

    Between the two it may say "Connection lost" too briefly for a glance, so all it says is written down.
    """
    await page.evaluate("""() => {
        const state = document.querySelector("[role=status]");
        window.said = [];
        new MutationObserver(() => window.said.push(state.textContent)).observe(state, { childList: true });
    }""")
    go_on = relay.freeze()
    async with asyncio.timeout(patience(60)):
        await relay.second_socket.wait()
    await says(page, "Connected.")
    said = await page.evaluate("window.said")
    assert any("Connection lost" in text for text in said), f"The page said only {said}."
    return go_on


async def send(socket, **frame):
    """Send a frame."""
    await socket.send(json.dumps(frame))


async def hear(socket):
    """Return the next frame, or fail."""
    try:
        async with asyncio.timeout(patience(PATIENCE)):
            return json.loads(await socket.recv())
    except (TimeoutError, ConnectionClosed) as error:
        pytest.fail(f"The server sent nothing: {error!r}")


async def test_a_ping_is_answered_to_its_sender_alone(socket):
    """{"ping": true} is answered with {"pong": true}; the others in the room hear nothing of it."""
    async with socket("alice") as alice, socket("bob") as bob:
        await send(alice, ping=True)
        assert await hear(alice) == {"pong": True}
        await send(alice, message="done")
        assert (await hear(bob)).get("message") == "done"


@pytest.mark.parametrize("value", [False, 1, "true", None])
async def test_only_true_is_a_ping(socket, value):
    """Any other value of `ping` gets an error."""
    async with socket("alice") as alice:
        await send(alice, ping=value)
        assert "error" in await hear(alice)


async def test_a_page_where_nobody_speaks_stays_on_its_socket(page, relay):
    """The page asks again and again, and while answers come, it opens no other socket."""
    async with asyncio.timeout(patience(60)):
        await relay.third_pong.wait()
    await says(page, "Connected.")
    assert relay.sockets == 1


async def test_a_page_leaves_a_server_that_hangs(page, relay, socket):
    """When the server falls silent, the page says so, and goes on over a new socket without your help."""
    await comes_back(page, relay)
    async with socket("bob") as bob:
        await send(bob, message="welcome back")
        await expect(page.get_by_role("log").locator("p")).to_have_text(["bob: welcome back"])


async def test_what_the_old_socket_does_later_changes_nothing(page, relay, socket, members):
    """When the server goes on after all, no line comes twice, and the page stays on its new socket."""
    pages = members()
    go_on = await comes_back(page, relay)
    both = members()
    async with socket("bob") as bob:
        await send(bob, message="one line")
        await expect(page.get_by_role("log").locator("p")).to_have_text(["bob: one line"])
        left = pages + members() - both
        go_on()
        # Not while the old consumer leaves: under the default layer the others may lose a message then.
        async with asyncio.timeout(patience(60)):
            await relay.first_end.wait()
        await asyncio.to_thread(wait_until, lambda: members() <= left, 60, "the end of the old consumer")
        await send(bob, message="another")
        await expect(page.get_by_role("log").locator("p")).to_have_text(["bob: one line", "bob: another"])
    assert relay.sockets == 2


async def test_a_socket_that_never_opens_is_given_up(page, relay):
    """If a handshake gets no answer, the page tries another one."""
    relay.hangs = True
    relay.freeze()
    await says(page, "Connection lost")
    relay.hangs = False
    await says(page, "Connected.")
