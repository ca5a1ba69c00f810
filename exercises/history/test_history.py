"""Exercise: when you enter a room, you read what was said before."""

import asyncio
import json
from urllib.parse import quote, urlencode
from uuid import uuid4

import pytest
from playwright.async_api import expect
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tutorial.services.processes import patience

KEPT = 50  # messages
PATIENCE = 20  # seconds, more on a busy machine


@pytest.fixture
def room():
    """A room that no other test uses."""
    return f"部屋 {uuid4()}"


@pytest.fixture
def web(site):
    """The step, served by runserver."""
    return site.shared_server("runserver")


@pytest.fixture
def socket(site, web, room):
    """Open a socket to a room."""

    def socket(user="alice", room=room, server=web):
        address = server.websocket_url(f"/ws/chat/{quote(room, safe='')}/")
        return connect(address, additional_headers=site.headers(server.url, user), proxy=None)

    return socket


async def hear(socket):
    """Return the next frame, or fail."""
    try:
        async with asyncio.timeout(patience(PATIENCE)):
            return json.loads(await socket.recv())
    except (TimeoutError, ConnectionClosed) as error:
        pytest.fail(f"The server sent nothing: {error!r}")


async def say(socket, *texts):
    """Send messages and wait until each is back."""
    for text in texts:
        await socket.send(json.dumps({"message": text}))
        assert (await hear(socket)).get("message") == text


async def ask(socket):
    """Ask for the history and return its lines as (name, text)."""
    await socket.send(json.dumps({"history": True}))
    answer = await hear(socket)
    assert "history" in answer, (
        f'{{"history": true}} was answered with {answer}, not with {{"history": […]}}.'
    )
    return [(line["username"], line["message"]) for line in answer["history"]]


async def say_in(page, text):
    """Write a message in a page and press the button."""
    await page.get_by_label("Message").fill(text)
    await page.get_by_role("button", name="Send").click()


async def test_a_newcomer_reads_what_was_said_before(socket):
    """The answer to {"history": true} holds the messages said before, oldest first, with their authors."""
    async with socket("alice") as alice:
        await say(alice, "最初", "<b>second</b>")
    async with socket("bob") as bob:
        await say(bob, "三")
    async with socket("bob") as newcomer:
        assert await ask(newcomer) == [("alice", "最初"), ("alice", "<b>second</b>"), ("bob", "三")]


async def test_a_new_room_has_an_empty_history(socket):
    """An empty room answers with an empty list: another room's messages aren't in it."""
    async with socket(room=f"attic {uuid4()}") as eve, socket() as alice:
        await say(eve, "for the attic")
        assert await ask(alice) == []


async def test_only_the_latest_fifty_are_told(socket):
    """Of a long conversation, only the latest 50 messages are sent, oldest first."""
    texts = [str(number) for number in range(KEPT + 5)]
    async with socket() as alice:
        await say(alice, *texts)
        assert [text for _, text in await ask(alice)] == texts[-KEPT:]


async def test_what_is_refused_is_not_stored(socket):
    """A message that the server refuses isn't part of the history."""
    async with socket() as alice:
        for text in ("", "x" * 5000):
            await alice.send(json.dumps({"message": text}))
            assert "error" in await hear(alice)
        assert await ask(alice) == []


async def test_nothing_is_missing_or_doubled_where_history_and_live_meet(socket):
    """If you enter in the middle of a lively talk, you get every message once: in the history or after it."""
    texts = [str(number) for number in range(45)]
    async with socket("alice") as alice:
        talk = asyncio.create_task(say(alice, *texts))
        shown = []
        async with socket("bob") as bob:
            await bob.send(json.dumps({"history": True}))
            while "history" not in (answer := await hear(bob)):
                pass  # live already: as the page does, leave it to the history
            shown += [line["message"] for line in answer["history"]]
            while len(shown) < len(texts):
                shown.append((await hear(bob))["message"])
        await talk
    assert shown == texts


async def test_the_history_is_told_by_every_server(site, socket):
    """The history is in the database, not in a server's memory: another process sends it as well."""
    async with socket("alice") as alice:
        await say(alice, "told to one")
    async with socket("bob", server=site.shared_server("daphne")) as bob:
        assert await ask(bob) == [("alice", "told to one")]


async def test_the_page_shows_the_history_once(open_page, web, room):
    """The page lists earlier messages as text, live ones below, and none twice, not even after an outage."""
    address = f"{web.url}/chat/room/?{urlencode({'name': room})}"
    markup = "<img src=x onerror=\"document.title = 'owned'\">"
    alice = await open_page(address, "alice")
    await expect(alice.get_by_role("status")).to_have_text("Connected.")
    await say_in(alice, markup)
    await expect(alice.get_by_role("log").locator("p")).to_have_text([f"alice: {markup}"])

    bob = await open_page(address, "bob")
    await expect(bob.get_by_role("list", name="Said earlier").locator("li")).to_have_text(
        [f"alice: {markup}"]
    )
    await say_in(bob, "はい")
    await expect(bob.get_by_role("log").locator("p")).to_have_text(["bob: はい"])
    await bob.reload()
    await expect(bob.get_by_role("log").locator("li, p")).to_have_text([f"alice: {markup}", "bob: はい"])
    await say_in(alice, "live")
    await expect(bob.get_by_role("log").locator("p")).to_have_text(["alice: live"])
    # Cut off and connected again, which is when the history comes once more.
    await bob.evaluate("""async () => {
        const old = ws;
        old.close();
        const pause = () => new Promise((done) => setTimeout(done, 20));
        while (ws === old || ws.readyState !== WebSocket.OPEN) await pause();
    }""")
    await say_in(alice, "after")
    lines = [f"alice: {markup}", "bob: はい", "alice: live", "alice: after"]
    await expect(bob.get_by_role("log").locator("li, p")).to_have_text(lines)
    assert await bob.locator("main img").count() == 0
    live = "list => list.closest('[aria-live], [role=log]').getAttribute('aria-live')"
    history = bob.get_by_role("list", name="Said earlier")
    assert await history.evaluate(live) == "off", "A screen reader would read out the whole history."
