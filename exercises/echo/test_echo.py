"""Exercise: a second address, where every frame comes back to its sender."""

import asyncio

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tutorial.services.processes import patience

PATIENCE = 20  # seconds, more on a busy machine


@pytest.fixture
def server(site):
    """The step under daphne."""
    return site.shared_server("daphne")


@pytest.fixture
async def open_echo(server, site):
    """Open a socket to the echo, and close it when the test ends."""
    sockets = []

    async def open_echo(user=None):
        url, headers = server.websocket_url("/ws/echo/"), site.headers(server.url, user)
        try:
            sockets.append(await connect(url, additional_headers=headers, proxy=None))
        except InvalidStatus as refusal:
            pytest.fail(f"/ws/echo/ answers {refusal.response.status_code}: which route matches it first?")
        return sockets[-1]

    yield open_echo
    for socket in sockets:
        await socket.close()


async def hear(socket):
    """Return the next frame, or fail."""
    try:
        async with asyncio.timeout(patience(PATIENCE)):
            return await socket.recv()
    except (TimeoutError, ConnectionClosed) as error:
        pytest.fail(f"Nothing came back: {error!r}")


async def test_every_frame_comes_back_as_it_was(open_echo):
    """Text comes back as text and bytes as bytes, Japanese and broken JSON included."""
    socket = await open_echo()
    for frame in ["hello", "こんにちは!", '{"message": ', b"\x00\xff", "x" * 60_000]:
        await socket.send(frame)
        assert await hear(socket) == frame


async def test_an_empty_frame_disturbs_nothing(open_echo):
    """Empty frames may come back or not; the next frame does."""
    socket = await open_echo()
    for frame in ["", b"", "after"]:
        await socket.send(frame)
    while (heard := await hear(socket)) != "after":
        assert not heard


async def test_nobody_else_hears_it(open_echo):
    """An echo has no group: a frame from one socket reaches no other."""
    alice, bob = await open_echo("alice"), await open_echo("bob")
    await alice.send("alice's")
    assert await hear(alice) == "alice's"
    await bob.send("bob's")
    assert await hear(bob) == "bob's"


async def test_strangers_stay_out(server, site):
    """The Origin check guards the new route as well."""
    with pytest.raises(InvalidStatus) as refusal:
        async with connect(
            server.websocket_url("/ws/echo/"), origin="https://evil.example", proxy=None
        ) as socket:
            await socket.send("hello")
    assert refusal.value.response.status_code == 403


async def test_a_longer_path_is_not_the_echo(server, site):
    """/ws/echo/more/ and /other/ws/echo/ are refused: the route is anchored at both ends."""
    for path in ["/ws/echo/more/", "/other/ws/echo/", "/ws/echo"]:
        with pytest.raises(InvalidStatus) as refusal:
            async with connect(
                server.websocket_url(path), additional_headers=site.headers(server.url), proxy=None
            ):
                pass
        assert refusal.value.response.status_code == 403
