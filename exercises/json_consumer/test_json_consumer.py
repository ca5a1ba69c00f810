"""Exercise: the consumer lets Channels do the JSON, and still does all it did."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
import redis
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.testing import WebsocketCommunicator
from channels_redis.core import RedisChannelLayer
from django.conf import settings
from django.contrib.auth.models import User

from chat.consumers import ChatConsumer
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

        await ChatConsumer.as_asgi()(scope, receive, send_unless_gone)


async def connect(username="alice"):
    """Open a socket to a room without a server."""
    browser = Browser()
    socket = WebsocketCommunicator(browser, "/")
    socket.scope["url_route"] = {"kwargs": {"room_name": "lobby"}}
    socket.scope["user"] = User(username=username)
    socket.browser = browser
    assert (await socket.connect(timeout=patience(PATIENCE)))[0]
    return socket


@asynccontextmanager
async def visitor(username="alice"):
    """Open a socket to a room, and close it at the end."""
    socket = await connect(username)
    try:
        yield socket
    finally:
        await socket.disconnect(timeout=patience(PATIENCE))


def memberships():
    """Return how many sockets the broker has in all groups together."""
    with redis.Redis.from_url(settings.REDIS_URL) as broker:
        return sum(broker.zcard(group) for group in broker.scan_iter("asgi:group:*"))


def test_channels_does_the_json():
    """ChatConsumer is an AsyncJsonWebsocketConsumer and has no json.dumps of its own to send with."""
    assert issubclass(ChatConsumer, AsyncJsonWebsocketConsumer), (
        "ChatConsumer isn't an AsyncJsonWebsocketConsumer yet."
    )
    assert "receive_json" in vars(ChatConsumer), "ChatConsumer has no receive_json yet."


async def test_japanese_goes_over_the_wire_as_itself():
    """こんにちは! is sent as こんにちは!, not as \\u3053\\u3093… in twice the bytes."""
    async with visitor() as alice:
        await alice.send_json_to({"message": "こんにちは!"})
        frame = await alice.receive_from(timeout=patience(PATIENCE))
    assert "こんにちは!" in frame
    assert json.loads(frame) == {"message": "こんにちは!", "username": "alice"}


@pytest.mark.parametrize(
    "frame", [{"text": ""}, {"bytes": b"\x00\xff"}, {"text": "not JSON"}], ids=["empty", "binary", "not JSON"]
)
async def test_a_frame_that_is_no_json_is_answered(frame):
    """AsyncJsonWebsocketConsumer raises for these frames; yours answers with an error and lives on."""
    async with visitor() as alice:
        await alice.send_input({"type": "websocket.receive", **frame})
        await alice.send_json_to({"message": "still here"})
        assert list(await alice.receive_json_from(timeout=patience(PATIENCE))) == ["error"]
        assert (await alice.receive_json_from(timeout=patience(PATIENCE)))["message"] == "still here"


async def test_a_browser_that_has_just_gone_leaves_the_group():
    """If the browser is gone, a failing send doesn't end the consumer before disconnect."""
    before = memberships()
    async with visitor() as alice:
        bob = await connect("bob")
        bob.browser.gone = True
        await alice.send_json_to({"message": "hello"})
        await alice.receive_json_from(timeout=patience(PATIENCE))
        async with asyncio.timeout(patience(PATIENCE)):
            await bob.browser.missed.wait()
        bob.browser.gone = False
        await alice.send_json_to({"message": "are you there?"})
        heard = asyncio.create_task(bob.output_queue.get())
        await asyncio.wait(
            [heard, bob.future], timeout=patience(PATIENCE), return_when=asyncio.FIRST_COMPLETED
        )
        heard.cancel()
        assert not bob.future.done(), f"The consumer has ended: {bob.future.exception()!r}"
        await bob.disconnect(timeout=patience(PATIENCE))
        assert memberships() == before + 1


async def test_a_mistake_of_ours_is_not_blamed_on_the_browser(monkeypatch):
    """A ValueError in your own code is raised, and isn't sent to the browser as an error in its frame."""
    alice = await connect()

    async def group_send(self, group, message):
        raise ValueError("a mistake of ours")

    monkeypatch.setattr(RedisChannelLayer, "group_send", group_send)
    await alice.send_json_to({"message": "hello"})
    await asyncio.wait([alice.future], timeout=patience(PATIENCE))
    assert alice.output_queue.empty(), f"The browser got: {alice.output_queue.get_nowait()}"
    assert isinstance(alice.future.exception(), ValueError)
