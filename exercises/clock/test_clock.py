"""Exercise: a clock that the server pushes, and that stops when the browser goes."""

import asyncio
import gc
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from channels.testing import WebsocketCommunicator

from config.asgi import application
from tutorial.services.processes import patience

PATIENCE = 15  # seconds, more on a busy machine


class Browser:
    """What is between the consumer and a browser. A send to a browser that is gone raises, as in daphne."""

    def __init__(self):
        self.gone, self.missed = False, asyncio.Event()

    async def __call__(self, scope, receive, send):
        async def send_unless_gone(frame):
            if self.gone:
                self.missed.set()
                raise RuntimeError(
                    "Unexpected ASGI message 'websocket.send', after the connection was closed."
                )
            await send(frame)

        await application(scope, receive, send_unless_gone)


@pytest.fixture
async def open_clock():
    """Open a socket to the clock through the whole of asgi.py; close it when the test ends."""
    sockets = []

    async def open_clock(application=application):
        headers = [(b"origin", b"http://localhost")]
        socket = WebsocketCommunicator(application, "/ws/clock/", headers=headers)
        accepted, code = await socket.connect(timeout=patience(PATIENCE))
        assert accepted, f"/ws/clock/ is refused (code {code}): which route matches it first?"
        sockets.append(socket)
        return socket

    yield open_clock
    await asyncio.gather(*map(close, sockets))
    for socket in sockets:
        socket.stop(exceptions=False)


async def close(socket):
    """Tell the consumer that its browser is gone, and wait until it ends."""
    if not socket.future.done():
        await socket.send_input({"type": "websocket.disconnect", "code": 1001})
        await asyncio.wait([socket.future], timeout=patience(PATIENCE))


async def tick(socket):
    """Return the next time from the clock, or fail."""
    assert not await socket.receive_nothing(timeout=patience(PATIENCE)), "The clock has stopped."
    frame = await socket.receive_json_from()
    assert list(frame) == ["time"]
    return datetime.fromisoformat(frame["time"])


async def test_the_time_comes_at_once(open_clock):
    """The first frame, {"time": …} in ISO 8601 with its zone, comes without a request."""
    now = await tick(await open_clock())
    assert now.tzinfo, "The time has no zone."
    assert abs((datetime.now(UTC) - now).total_seconds()) < patience(PATIENCE)


async def test_it_goes_on_each_second(open_clock):
    """A frame comes every second, and no time comes twice."""
    socket = await open_clock()
    times = [await tick(socket) for _ in range(4)]
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    assert min(gaps) > 0.5, f"The gaps are {gaps} s."
    assert sum(gaps) < patience(PATIENCE)


async def test_all_clocks_tick_together(open_clock):
    """Twenty clocks each tick twice in the time one takes: nothing blocks the loop."""
    sockets = [await open_clock() for _ in range(20)]
    async with asyncio.timeout(patience(PATIENCE)):
        for _ in range(2):
            for socket in sockets:
                await tick(socket)


async def test_a_clock_does_not_listen(open_clock):
    """Whatever a browser sends, the clock ticks on."""
    socket = await open_clock()
    await tick(socket)
    for frame in ({"text": "not JSON"}, {"bytes": b"\x00"}, {"text": ""}):
        await socket.send_input({"type": "websocket.receive", **frame})
    await tick(socket)


async def test_it_stops_when_the_socket_closes(open_clock):
    """When the browser is gone, the consumer ends at once and leaves no task behind."""
    before = asyncio.all_tasks()
    sockets = [await open_clock() for _ in range(5)]
    for socket in sockets:
        await tick(socket)
        await close(socket)
        assert socket.future.done(), "The consumer goes on although its browser has gone."
        assert socket.future.exception() is None
    # A cancelled task needs a turn of the loop to end.
    await asyncio.sleep(0)
    left = [task.get_coro().__qualname__ for task in asyncio.all_tasks() - before if not task.cancelling()]
    assert not left, f"Still running: {left}"


async def test_a_browser_that_has_just_gone(open_clock, caplog):
    """A tick to a browser that is gone stops the clock without a word in the log."""
    browser = Browser()
    socket = await open_clock(browser)
    await tick(socket)
    browser.gone = True
    async with asyncio.timeout(patience(PATIENCE)):
        await browser.missed.wait()
    await close(socket)
    assert socket.future.exception() is None
    gc.collect()  # asyncio complains about a task when it is thrown away
    assert "Task exception was never retrieved" not in caplog.text
