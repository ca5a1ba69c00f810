"""Step 2: a consumer that joins its room, hears the room and survives bad input."""

import json
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import redis
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User

from chat.consumers import ChatConsumer
from tutorial.services.processes import patience


class Visitor(WebsocketCommunicator):
    """A socket without a server. It waits for more than one second, and longer on a busy machine."""

    async def receive_output(self, timeout):
        return await super().receive_output(patience(2))

    async def wait(self, timeout):
        await super().wait(patience(2))


@asynccontextmanager
async def visitor(room, user, application=None):
    """Open a socket to a room, and close it at the end."""
    communicator = Visitor(application or ChatConsumer.as_asgi(), "/")
    communicator.scope["url_route"] = {"kwargs": {"room_name": room}}
    communicator.scope["user"] = user
    communicator.accepted, _ = await communicator.connect()
    try:
        yield communicator
    finally:
        await communicator.disconnect()


@pytest.fixture
async def join():
    """Join a room as a user, alice if not said otherwise; leave it when the test ends."""
    async with AsyncExitStack() as sockets:

        async def join(room="lobby", username="alice"):
            socket = await sockets.enter_async_context(visitor(room, User(username=username)))
            assert socket.accepted
            return socket

        yield join


def memberships():
    """Return how many memberships the broker counts in all groups, of either layer of channels_redis."""
    with redis.Redis.from_url(settings.REDIS_URL) as broker:
        members = sum(broker.zcard(group) for group in broker.scan_iter("asgi:group:*"))
        return members + len(broker.pubsub_channels("asgi__group__*"))


async def test_a_message_reaches_everyone_in_the_room(join):
    """What one person says reaches everybody in the room, with the name of who said it."""
    alice, bob = await join(), await join(username="bob")
    await alice.send_json_to({"message": "こんにちは!"})
    expected = {"message": "こんにちは!", "username": "alice"}
    assert await alice.receive_json_from() == expected
    assert await bob.receive_json_from() == expected


async def test_another_room_hears_nothing(join):
    """Each room has a group of its own."""
    alice, eve = await join("lobby"), await join("attic", "eve")
    await alice.send_json_to({"message": "for the lobby"})
    await alice.receive_json_from()
    await eve.send_json_to({"message": "for the attic"})
    assert (await eve.receive_json_from())["message"] == "for the attic"


async def test_messages_keep_their_order(join):
    """What one person sends arrives in the order it was sent."""
    alice, bob = await join(), await join(username="bob")
    for number in range(20):
        await alice.send_json_to({"message": str(number)})
    assert [(await bob.receive_json_from())["message"] for _ in range(20)] == [str(n) for n in range(20)]


ROOMS = [
    "room1",
    "my-room",
    "日本語の部屋",
    "🎉🎉",
    "with space",
    "a/b?c=d#e&f",
    "../..",
    "<script>",
    "x" * 100,
    "字" * 100,
]


@pytest.mark.parametrize("room", ROOMS)
async def test_any_room_name_works(join, room):
    """A room may be called anything a person can type, Japanese and emoji included."""
    alice, bob = await join(room), await join(room, "bob")
    await alice.send_json_to({"message": "hello"})
    assert (await bob.receive_json_from())["message"] == "hello"


async def test_a_room_name_that_is_too_long_is_refused():
    """A room name of more than 100 characters is refused before the socket opens."""
    async with visitor("x" * 101, User(username="alice")) as socket:
        assert not socket.accepted


NOT_A_MESSAGE = {
    "not JSON": "hello",
    "cut off": '{"message": "hel',
    "an array": '["message"]',
    "a number": "42",
    "null": "null",
    "a string": '"message"',
    "no message": "{}",
    "message is null": '{"message": null}',
    "message is a number": '{"message": 1}',
    "message is an object": '{"message": {"text": "hello"}}',
    "message is NaN": '{"message": NaN}',
    "a number of 5,000 digits": '{"message": ' + "9" * 5000 + "}",
    "nested 100,000 deep": "[" * 100_000,
    "nested and closed": '{"message": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "a lone surrogate": '{"message": "\\ud800"}',
}
EMPTY = {"empty": '{"message": ""}', "only spaces": '{"message": " \\n\\u3000"}'}
TOO_LONG = {
    "over 4 KiB": json.dumps({"message": "x" * 4097}),
    "over 4 KiB of UTF-8": json.dumps({"message": "字" * 1366}),
}
BAD_FRAMES = [
    *[pytest.param(frame, "This is not a chat message", id=name) for name, frame in NOT_A_MESSAGE.items()],
    *[pytest.param(frame, "The message is empty", id=name) for name, frame in EMPTY.items()],
    *[pytest.param(frame, "The message is too long", id=name) for name, frame in TOO_LONG.items()],
]


@pytest.mark.parametrize(("frame", "reason"), BAD_FRAMES)
async def test_a_bad_frame_is_answered_and_the_socket_lives(join, frame, reason):
    """A frame that is no chat message gets {"error": …} in plain words, and the connection goes on."""
    alice, bob = await join(), await join(username="bob")
    await alice.send_to(text_data=frame)
    answer = await alice.receive_json_from()
    assert list(answer) == ["error"]
    assert answer["error"].startswith(reason)
    await alice.send_json_to({"message": "still here"})
    assert (await alice.receive_json_from())["message"] == "still here"
    assert (await bob.receive_json_from())["message"] == "still here"


async def test_a_binary_frame_is_answered_and_the_socket_lives(join):
    """A binary frame is answered with {"error": …}, and the connection goes on."""
    alice = await join()
    await alice.send_to(bytes_data=b"\x00\xff")
    assert "error" in await alice.receive_json_from()
    await alice.send_json_to({"message": "still here"})
    assert (await alice.receive_json_from())["message"] == "still here"


async def test_the_longest_message_is_delivered_whole(join):
    """A message of exactly 4,096 bytes of UTF-8 is delivered whole."""
    alice = await join()
    message = "字" * 1365 + "x"
    await alice.send_json_to({"message": message})
    assert (await alice.receive_json_from())["message"] == message


async def test_nobody_speaks_without_a_name():
    """A visitor who isn't logged in is shown as anonymous or not let in, never without a name."""
    async with visitor("lobby", AnonymousUser()) as socket:
        if socket.accepted:
            await socket.send_json_to({"message": "hello"})
            assert (await socket.receive_json_from())["username"] == "anonymous"


async def test_leaving_the_room_leaves_the_group(join):
    """disconnect takes the socket out of the group, even after a bad frame."""
    before = memberships()
    async with visitor("cellar", User(username="bob")) as bob:
        await bob.send_to(text_data="not JSON")
        await bob.receive_json_from()
        assert memberships() - before == 1
    assert memberships() - before == 0
    # The others still hear.
    alice = await join("cellar")
    async with visitor("cellar", User(username="bob")):
        pass
    await alice.send_json_to({"message": "still here"})
    assert (await alice.receive_json_from())["message"] == "still here"


async def to_nobody(scope, receive, send):
    """Run a consumer whose browser is gone, as uvicorn reports it."""

    async def send_to_nobody(event):
        if event["type"] == "websocket.send":
            raise OSError("the browser is gone")
        await send(event)

    await ChatConsumer.as_asgi()(scope, receive, send_to_nobody)


async def test_a_browser_that_is_gone_leaves_the_group(join):
    """A message for a browser that has just gone is dropped, and its socket leaves the group in order."""
    alice = await join("tunnel")
    before = memberships()
    async with visitor("tunnel", User(username="bob"), to_nobody) as bob:
        assert bob.accepted
        await alice.send_json_to({"message": "are you there?"})
        await alice.receive_json_from()
    assert memberships() - before == 0
