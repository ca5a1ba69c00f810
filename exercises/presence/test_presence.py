"""Exercise: everyone in a room sees who is in it."""

import asyncio
import json
from urllib.parse import quote, urlencode
from uuid import uuid4

import pytest
from playwright.async_api import expect
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tutorial.services.processes import patience

LEASE = 6  # seconds, where 90 are the default
PATIENCE = 20  # seconds, more on a busy machine


@pytest.fixture(scope="module")
def servers(site):
    """Two server processes of the step, as in production, with a short lease."""
    env, site.env = site.env, site.env | {"PRESENCE_LEASE": str(LEASE)}
    servers = [site.server("runserver"), site.server("uvicorn")]
    site.env = env
    return servers


@pytest.fixture
def room():
    """A room that no other test uses."""
    return f"部屋 {uuid4()}"


@pytest.fixture
def socket(site, servers, room):
    """Open a socket to a room, on the first server or the second."""

    def socket(user="alice", room=room, server=0):
        address = servers[server].websocket_url(f"/ws/chat/{quote(room, safe='')}/")
        headers = site.headers(servers[server].url, user)
        return connect(address, additional_headers=headers, proxy=None)

    return socket


async def hear(socket):
    """Return the next frame, or fail."""
    try:
        async with asyncio.timeout(patience(PATIENCE)):
            return json.loads(await socket.recv())
    except (TimeoutError, ConnectionClosed) as error:
        pytest.fail(f"The server sent nothing: {error!r}")


async def present(socket):
    """Return the names in the next frame, which must be the list of who is here."""
    frame = await hear(socket)
    assert "present" in frame, f'Expected {{"present": [names], "again": seconds}}, not {frame}.'
    assert 0 < frame["again"] < LEASE
    return frame["present"]


async def ask(socket):
    """Say that we are here, and return the names in the answer."""
    await socket.send(json.dumps({"present": True}))
    return await present(socket)


async def test_who_comes_and_goes_is_seen(socket):
    """Everyone in the room gets the list of names when somebody comes and when somebody leaves."""
    async with socket("alice") as alice:
        assert await ask(alice) == ["alice"]
        async with socket("bob", server=1) as bob:
            assert await ask(bob) == ["alice", "bob"]
            assert await present(alice) == ["alice", "bob"]
        assert await present(alice) == ["alice"]


async def test_two_tabs_are_one_person(socket):
    """A user with two tabs is listed once, and stays on the list when one of them is closed."""
    async with socket("alice") as alice:
        await ask(alice)
        async with socket("bob") as first:
            assert await ask(first) == ["alice", "bob"]
            async with socket("bob", server=1) as second:
                assert await ask(second) == ["alice", "bob"]
            assert [await present(alice) for _ in range(3)] == [["alice", "bob"]] * 3
        assert await present(alice) == ["alice"]


async def test_another_room_is_not_told(socket):
    """A list has the names in its own room only, and reaches nobody outside it."""
    async with socket("alice") as alice, socket("bob", room=f"attic {uuid4()}") as bob:
        assert await ask(alice) == ["alice"]
        assert await ask(bob) == ["bob"]
        assert await ask(alice) == ["alice"]


async def test_who_does_not_ask_hears_only_the_chat(socket):
    """A client that never asks isn't on the list and doesn't get it: it chats as before."""
    async with socket("bob") as bob, socket("alice") as alice:
        assert await ask(alice) == ["alice"]
        await alice.send(json.dumps({"message": "hello"}))
        assert await hear(bob) == {"message": "hello", "username": "alice"}


async def test_the_dead_disappear_and_the_living_stay(open_page, socket, servers, room):
    """When a server is killed, its people are off the list when their lease ends."""
    page = await open_page(f"{servers[0].url}/chat/room/?{urlencode({'name': room})}", "alice")
    people = page.get_by_role("list", name="In this room").get_by_role("listitem")
    await expect(people).to_have_text(["alice"])
    async with socket("bob", server=1) as bob:
        await ask(bob)
        await expect(people).to_have_text(["alice", "bob"])
        await asyncio.to_thread(servers[1].kill)
    await expect(people).to_have_text(["alice"])
    async with socket("bob") as bob:
        assert await ask(bob) == ["alice", "bob"], "The page must ask again in time, or it counts as gone."
        await expect(people).to_have_text(["alice", "bob"])
        await page.close()
        assert await present(bob) == ["bob"]
