"""Exercise: a client that floods the chat harms only itself."""

import asyncio
import contextlib
import importlib
import importlib.util
import json
import threading
import time
from collections import Counter
from urllib.parse import quote, urlencode
from uuid import uuid4

import pytest
from playwright.async_api import expect
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_in_thread

from tutorial.services.processes import patience, wait_until

FLOOD = 3  # seconds
# Frames a second. daphne reads frames in Python: a client at full speed sends more than it can read.
SPEEDS = {"daphne": 5000, "uvicorn": float("inf")}
PATIENCE = 20  # seconds, more on a busy machine


class Clock:
    """A clock that the test sets, in seconds."""

    now = 1000.0

    def __call__(self):
        return self.now


def full_bucket(clock):
    """Return a bucket of 10 tokens at most, with 5 more a second."""
    assert importlib.util.find_spec("chat.limits"), "There is no chat/limits.py yet."
    return importlib.import_module("chat.limits").TokenBucket(rate=5, burst=10, clock=clock)


@pytest.fixture
def room():
    """A room that no other test uses."""
    return f"部屋 {uuid4()}"


@pytest.fixture(params=["daphne", "uvicorn"])
def kind(request):
    """The server of development and that of production."""
    return request.param


@pytest.fixture
def server(site, kind):
    """The step under this server."""
    return site.shared_server(kind)


def address(server, room):
    """Return the address of a room's socket."""
    return server.websocket_url(f"/ws/chat/{quote(room, safe='')}/")


@pytest.fixture
def socket(site, server, room):
    """Open a socket to a room."""

    def socket(user="alice", room=room):
        # No limit on what it hasn't read yet, or it wouldn't see why it is closed.
        headers = site.headers(server.url, user)
        return connect(address(server, room), additional_headers=headers, proxy=None, max_queue=None)

    return socket


async def hear(socket):
    """Return the next frame, or fail."""
    try:
        async with asyncio.timeout(patience(PATIENCE)):
            return json.loads(await socket.recv())
    except (TimeoutError, ConnectionClosed) as error:
        pytest.fail(f"Nothing came: {error!r}")


async def close_code(socket):
    """Return the code with which the server closes a socket, None if it stays open."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience(PATIENCE)):
            await socket.wait_closed()
    return socket.close_code


# Frames that were still on their way can take the connection down before the close frame is read: 1006.
CUT_OFF = (4008, 1006)


async def flood(socket, frame, count):
    """Send a frame many times, as long as the server listens, and return the code of the close."""
    with contextlib.suppress(ConnectionClosed):
        for _ in range(count):
            await socket.send(frame)
    return await close_code(socket)


def say(text):
    """Return the frame of a chat message."""
    return json.dumps({"message": text})


def test_ten_tokens_are_there_at_once():
    """A full bucket gives `burst` tokens without a wait; the next comes after a fifth of a second."""
    bucket = full_bucket(Clock())
    assert [bucket.take() for _ in range(12)] == [0] * 10 + [pytest.approx(0.2), pytest.approx(0.4)]


def test_tokens_come_back_at_the_rate():
    """After one second, five more tokens are there."""
    bucket = full_bucket(clock := Clock())
    for _ in range(10):
        bucket.take()
    clock.now += 1
    assert [bucket.take() for _ in range(6)] == [pytest.approx(0)] * 5 + [pytest.approx(0.2)]


def test_a_rest_fills_the_bucket_and_no_more():
    """After an hour there are ten tokens again, not 18,000."""
    bucket = full_bucket(clock := Clock())
    for _ in range(15):
        bucket.take()
    clock.now += 3600
    assert [bucket.take() for _ in range(11)] == [0] * 10 + [pytest.approx(0.2)]


async def test_a_flood_is_closed_with_4008(socket):
    """A client that sends 500 messages at once is cut off with code 4008; the room hears few of them."""
    async with socket("bob") as bob, socket("alice") as alice:
        start = time.monotonic()
        assert await flood(alice, say("flood"), 500) in CUT_OFF
        took = time.monotonic() - start
        await bob.send(say("end"))
        heard = 0
        while (await hear(bob))["message"] != "end":
            heard += 1
        assert heard <= 11 + 5 * took


@pytest.mark.parametrize("frame", ["not JSON", b"\x00", say("")], ids=["not JSON", "binary", "empty"])
async def test_bad_frames_count_too(socket, frame):
    """A flood of refused frames is cut off as well."""
    async with socket() as alice:
        assert await flood(alice, frame, 500) in CUT_OFF


async def test_a_burst_is_slowed_down_and_delivered_whole(socket):
    """Thirty messages at once all arrive, in order: ten at once, the others five a second."""
    async with socket("bob") as bob, socket("alice") as alice:
        start = time.monotonic()
        for number in range(30):
            await alice.send(say(str(number)))
        assert [(await hear(bob))["message"] for _ in range(30)] == [str(number) for number in range(30)]
        assert time.monotonic() - start > 3.5
        assert alice.close_code is None


async def test_what_waits_is_delivered_when_its_sender_leaves(socket):
    """If you send fifteen messages and close the page, the room gets all of them."""
    async with socket("bob") as bob:
        async with socket("alice") as alice:
            for number in range(15):
                await alice.send(say(str(number)))
        assert [(await hear(bob))["message"] for _ in range(15)] == [str(number) for number in range(15)]


def flood_and_come_back(url, headers, speed, stop, account):
    """Send frames at a speed, and reconnect soon when closed, until the test says stop."""
    while not stop.is_set():
        with connect_in_thread(url, additional_headers=headers, proxy=None, max_queue=None) as socket:
            account["flooder's sockets"] += 1
            start, sent = time.monotonic(), 0
            try:
                while not stop.is_set():
                    if sent > (time.monotonic() - start) * speed:
                        time.sleep(0.001)
                        continue
                    socket.send('{"message": "flood"}')
                    sent += 1
            except ConnectionClosed:
                account[f"closed with {socket.protocol.close_code}"] += 1
            account["flooder's frames"] += sent
        stop.wait(0.5)


async def test_another_room_hears_everything_during_a_flood(site, kind, server, socket, room):
    """While one client floods for 3 s and keeps reconnecting, another room hears 20 of 20 messages."""
    account, stop = Counter(), threading.Event()
    async with (
        socket("alice", "next door") as alice,
        socket("bob", "next door") as bob,
        socket("bob") as neighbour,
    ):
        speed = SPEEDS[kind]
        arguments = address(server, room), site.headers(server.url, "alice"), speed, stop, account
        flooding = asyncio.create_task(asyncio.to_thread(flood_and_come_back, *arguments))
        delays = []
        try:
            for number in range(20):
                sent_at = time.monotonic()
                await alice.send(say(str(number)))
                heard = await hear(bob)
                assert heard == {"message": str(number), "username": "alice"}
                delays.append(time.monotonic() - sent_at)
                await asyncio.sleep(max(0, FLOOD / 20 - delays[-1]))  # until the flood ends
            await asyncio.to_thread(wait_until, lambda: account["closed with 4008"], PATIENCE, "a close")
        finally:
            stop.set()
            await flooding
        print(
            f"\n{dict(account)}; next door heard {len(delays)} of 20, the median after"
            f" {sorted(delays)[10] * 1000:.0f} ms, the slowest after {max(delays) * 1000:.0f} ms"
        )
        assert account["flooder's sockets"] <= account["closed with 4008"] + 1
        await neighbour.send(say("still here"))
        while (await hear(neighbour))["message"] != "still here":
            pass
        assert [person.close_code for person in (alice, bob, neighbour)] == [None] * 3


@pytest.fixture
def enter(open_page, site, room):
    """Open the room in a new browser."""

    async def enter(user, server, **options):
        page = await open_page(f"{server.url}/chat/room/?{urlencode({'name': room})}", user, **options)
        await expect(page.get_by_role("status")).to_contain_text("Connected.")
        return page

    return enter


def messages(page):
    """Return the lines in the log."""
    return page.get_by_role("log").locator("p")


async def test_the_page_says_why_it_was_closed_and_stays_away(enter, site):
    """After close code 4008 the page says "too many messages" and stays away for at least 10 s."""
    page = await enter("alice", site.shared_server("runserver"))
    await page.evaluate("""() => {
        const wait = window.setTimeout.bind(window);
        window.setTimeout = (callback, delay) => { delays.push(delay); return wait(callback, delay); };
        window.flood = () => {
            window.delays = [];
            for (let count = 0; count < 200; count += 1) ws.send('{"message": "flood"}');
        };
    }""")
    state = page.get_by_role("status")

    async def hears_why():
        await page.evaluate("flood()")
        await expect(state).not_to_contain_text("Connected.")
        return "too many messages" in await state.inner_text()

    while not await hears_why():  # cut off: the page comes back as after any outage
        await expect(state).to_contain_text("Connected.")
    delays = await page.evaluate("delays")
    assert len(delays) == 1
    assert delays[0] >= 10_000


async def test_the_page_does_not_flood_after_an_outage(enter, site):
    """Forty messages typed while the server was away arrive in order, and the page is not cut off."""
    server = site.server("runserver")
    alice, bob = await enter("alice", server), await enter("bob", server)
    await asyncio.to_thread(server.stop)
    await expect(alice.get_by_role("status")).to_contain_text("Connection lost")
    await alice.evaluate("""() => {
        for (let number = 0; number < 40; number += 1) {
            document.querySelector("#message").value = `line ${number}`;
            document.querySelector("#composer").requestSubmit();
        }
    }""")
    await asyncio.to_thread(server.start)
    await expect(bob.get_by_role("status")).to_have_text("Connected.")
    await expect(messages(alice)).to_have_text([f"alice: line {number}" for number in range(40)])
    await expect(alice.get_by_role("status")).to_have_text("Connected.")
