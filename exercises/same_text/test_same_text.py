"""Exercise: what looks the same is the same, in messages and in the names of rooms."""

import unicodedata
from contextlib import AsyncExitStack

import pytest
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User

from chat.consumers import ChatConsumer
from tutorial.services.processes import patience

PATIENCE = 15  # seconds, more on a busy machine
COMPOSED = "がぎぐげご パピプペポ é"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


@pytest.fixture
async def join():
    """Join a room as a user; leave it when the test ends."""
    async with AsyncExitStack() as sockets:

        async def join(room, username="alice"):
            socket = WebsocketCommunicator(ChatConsumer.as_asgi(), "/")
            socket.scope["url_route"] = {"kwargs": {"room_name": room}}
            socket.scope["user"] = User(username=username)
            accepted, _ = await socket.connect(timeout=patience(PATIENCE))
            sockets.push_async_callback(socket.disconnect)
            assert accepted, f"The room {room!r} was refused."
            return socket

        yield join


async def say(socket, message):
    """Send a message and return the event that the same socket hears next."""
    await socket.send_json_to({"message": message})
    return await socket.receive_json_from(timeout=patience(PATIENCE))


async def test_a_message_arrives_composed(join):
    """が typed as か and a separate mark arrives as the one character が."""
    assert DECOMPOSED != COMPOSED
    heard = await say(await join("lobby"), DECOMPOSED)
    assert heard["message"] == COMPOSED, "The message arrived decomposed."


async def test_a_message_arrives_without_spaces_around_it(join):
    """Spaces and empty lines around a message are removed, the wide Japanese space included."""
    heard = await say(await join("lobby"), " \n\u3000こんにちは\u3000世界 \n")
    assert heard["message"] == "こんにちは\u3000世界"


async def test_two_spellings_of_a_name_are_one_room(join):
    """A link with the decomposed name leads to the room with the composed one."""
    alice, bob = await join(COMPOSED), await join(DECOMPOSED, "bob")
    await say(alice, "はい")
    heard = await say(bob, "いいえ")
    assert heard["message"] == "はい", "Bob is in another room of the same name."


async def test_a_name_is_as_long_as_it_looks(join):
    """A room name of 100 composed characters is allowed in either spelling."""
    await join(unicodedata.normalize("NFD", "が" * 100))


async def test_a_message_is_as_long_as_it_arrives(join):
    """The 4,096 bytes are counted after composing: a message too long only when decomposed arrives."""
    message = "が" * 1365
    assert len(unicodedata.normalize("NFD", message).encode()) > 4096
    assert await say(await join("lobby"), unicodedata.normalize("NFD", message)) == {
        "message": message,
        "username": "alice",
    }


async def test_different_things_stay_different(join):
    """Full-width letters and half-width kana are characters of their own and arrive unchanged."""
    message = "\uff21\uff22\uff23 \uff76\uff85 \u2460"
    assert (await say(await join("lobby"), message))["message"] == message
