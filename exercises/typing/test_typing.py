"""Exercise: the room sees who is typing, and that person doesn't."""

import json
import time
from contextlib import AsyncExitStack

import pytest
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser, User

from chat.consumers import ChatConsumer
from tutorial.services.processes import patience

PATIENCE = 15  # seconds, more on a busy machine
TYPING = {"typing": True}


@pytest.fixture
async def join():
    """Join a room as a user, by default alice; leave it when the test ends."""
    async with AsyncExitStack() as sockets:

        async def join(room="lobby", username="alice"):
            socket = WebsocketCommunicator(ChatConsumer.as_asgi(), "/")
            socket.scope["url_route"] = {"kwargs": {"room_name": room}}
            socket.scope["user"] = User(username=username) if username else AnonymousUser()
            assert (await socket.connect(timeout=patience(PATIENCE)))[0]
            sockets.push_async_callback(socket.disconnect)
            return socket

        yield join


async def hear(socket):
    """Return the next frame, or fail."""
    # A timeout of receive_json_from would end the consumer too; this only looks.
    assert not await socket.receive_nothing(timeout=patience(PATIENCE)), "Nothing came."
    return await socket.receive_json_from()


async def hear_until_message(socket):
    """Return the next message, and the frames before it."""
    frames = [await hear(socket)]
    while "message" not in frames[-1]:
        frames.append(await hear(socket))
    return frames.pop()["message"], frames


async def test_the_others_see_who_is_typing(join):
    """The frame {"typing": true} reaches the others in the room as {"typing": "alice"}."""
    alice, bob, carol = await join(), await join(username="bob"), await join(username="carol")
    await alice.send_json_to(TYPING)
    await alice.send_json_to({"message": "done"})
    for person in (bob, carol):
        _, frames = await hear_until_message(person)
        assert frames == [{"typing": "alice"}], "The others got no notice that alice is typing."


async def test_the_sender_does_not_hear_it(join):
    """You don't get your own typing notice: the first frame you get is the message."""
    alice, bob = await join(), await join(username="bob")
    await alice.send_json_to(TYPING)
    await alice.send_json_to({"message": "done"})
    assert await hear_until_message(bob) == ("done", [{"typing": "alice"}])
    assert await hear_until_message(alice) == ("done", [])


async def test_another_window_of_the_sender_hears_it(join):
    """Only the socket that types gets no notice: the same person's second window does."""
    first, second = await join(), await join()
    await first.send_json_to(TYPING)
    assert await hear(second) == {"typing": "alice"}


async def test_another_room_hears_nothing(join):
    """Typing in the lobby isn't seen in the attic."""
    alice, eve = await join(), await join("attic", "eve")
    await alice.send_json_to(TYPING)
    await eve.send_json_to({"message": "for the attic"})
    assert await hear_until_message(eve) == ("for the attic", [])


async def test_nobody_types_without_a_name(join):
    """A visitor who isn't logged in types as anonymous."""
    alice, guest = await join(), await join(username=None)
    await guest.send_json_to(TYPING)
    assert await hear(alice) == {"typing": "anonymous"}


@pytest.mark.parametrize("value", [False, None, "yes", [], {}, "x" * 9000])
async def test_anything_else_is_answered(join, value):
    """A typing frame with any other value gets an error, and the socket lives."""
    alice, bob = await join(), await join(username="bob")
    await alice.send_json_to({"typing": value})
    assert list(await hear(alice)) == ["error"]
    await alice.send_json_to({"message": "still here"})
    assert await hear_until_message(bob) == ("still here", [])


async def test_a_message_is_never_lost(join):
    """A frame that has a message too is a message."""
    alice = await join()
    await alice.send_to(text_data=json.dumps({"message": "hello", **TYPING}))
    assert await hear(alice) == {"message": "hello", "username": "alice"}


async def test_one_notice_for_many_keys(join):
    """Thirty keystrokes at once are one notice, not thirty."""
    alice, bob = await join(), await join(username="bob")
    for _ in range(30):
        await alice.send_json_to(TYPING)
    await alice.send_json_to({"message": "done"})
    message, frames = await hear_until_message(bob)
    assert message == "done"
    assert 1 <= len(frames) <= 2, f"The room got {len(frames)} notices."


async def test_who_goes_on_typing_is_seen_again(join):
    """Two seconds after a notice, the next keystroke is a notice again."""
    alice, bob = await join(), await join(username="bob")
    start = time.monotonic()
    await alice.send_json_to(TYPING)
    await hear(bob)
    while await bob.receive_nothing(timeout=0.1):
        assert time.monotonic() - start < patience(10), "No second notice came."
        await alice.send_json_to(TYPING)
    assert await hear(bob) == {"typing": "alice"}
    assert time.monotonic() - start > 1.5


async def test_after_a_message_typing_is_news(join):
    """The next keystroke after a message is a notice at once."""
    alice, bob = await join(), await join(username="bob")
    for frame in [TYPING, {"message": "one"}, TYPING, {"message": "two"}]:
        await alice.send_json_to(frame)
    assert await hear_until_message(bob) == ("one", [{"typing": "alice"}])
    assert await hear_until_message(bob) == ("two", [{"typing": "alice"}])
