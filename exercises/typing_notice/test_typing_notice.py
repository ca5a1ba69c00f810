"""Exercise: the room sees who is typing."""

import asyncio
import json
import time
from urllib.parse import quote, urlencode
from uuid import uuid4

import pytest
from playwright.async_api import expect
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tutorial.services.processes import patience

PATIENCE = 20  # seconds, more on a busy machine


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
    """Open a socket to a room."""

    def socket(user, room=room):
        address = web.websocket_url(f"/ws/chat/{quote(room, safe='')}/")
        return connect(address, additional_headers=site.headers(web.url, user), proxy=None)

    return socket


@pytest.fixture
def enter(open_page, web, room):
    """Open the room in a browser and wait until it is connected."""

    async def enter(user):
        page = await open_page(f"{web.url}/chat/room/?{urlencode({'name': room})}", user)
        await expect(page.get_by_role("status")).to_have_text("Connected.")
        return page

    return enter


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


async def test_the_others_in_the_room_are_told(socket):
    """{"typing": true} from alice is {"typing": "alice"} to bob, and nothing to alice or to another room."""
    async with socket("alice") as alice, socket("bob") as bob, socket("bob", room="attic") as attic:
        await send(alice, typing=True)
        await send(alice, message="done")
        await send(attic, message="nobody here")
        assert await hear(bob) == {"typing": "alice"}
        assert (await hear(bob)).get("message") == "done"
        assert (await hear(alice)).get("message") == "done"
        assert (await hear(attic)).get("message") == "nobody here"


@pytest.mark.parametrize("value", [False, "<b>alice</b>", 1, None])
async def test_only_true_is_a_notice(socket, value):
    """Any other value of `typing` gets an error; nobody types in another's name."""
    async with socket("alice") as alice, socket("bob") as bob:
        await send(alice, typing=value)
        assert "error" in await hear(alice)
        await send(alice, typing=True)
        await send(alice, message="done")
        assert await hear(bob) == {"typing": "alice"}


async def test_the_page_tells_now_and_then_and_not_at_every_key(enter, socket):
    """Thirty keys are one notice, plus one for every two seconds they take."""
    alice = await enter("alice")
    async with socket("bob") as bob:
        start = time.monotonic()
        await alice.get_by_label("Message").press_sequentially("x" * 30)
        await alice.keyboard.press("Enter")
        frames = [await hear(bob)]
        assert frames == [{"typing": "alice"}]
        while "message" not in frames[-1]:
            frames.append(await hear(bob))
        assert len(frames) - 1 <= 1 + (time.monotonic() - start) / 2
        await alice.keyboard.press("y")
        assert await hear(bob) == {"typing": "alice"}, "The first key of the next message is a notice again."


async def test_the_page_shows_who_types_until_the_message_is_there(enter, socket):
    """The page says "bob is typing …" outside any live region; the line goes when the message comes."""
    page = await enter("alice")
    notice = page.get_by_text("bob is typing …")
    async with socket("bob") as bob:
        await send(bob, typing=True)
        await expect(notice).to_be_visible()
        await expect(page.get_by_role("log").locator("p")).to_have_count(0)
        live = "line => line.closest('[aria-live], [role=log], [role=status], [role=alert]') === null"
        assert await notice.evaluate(live), "A screen reader would speak again and again."
        await send(bob, message="はい")
        await expect(page.get_by_role("log").locator("p")).to_have_text(["bob: はい"])
        assert await notice.count() == 0


async def test_who_stops_typing_disappears(enter, socket):
    """If somebody begins a message and doesn't send it, the line goes after a few seconds."""
    page = await enter("alice")
    notice = page.get_by_text("bob is typing …")
    async with socket("bob") as bob:
        await send(bob, typing=True)
        await expect(notice).to_be_visible()
    await expect(notice).to_have_count(0, timeout=patience(10) * 1000)
