"""Exercise: a whisper reaches one person in the room, and nobody else."""

from contextlib import AsyncExitStack

import pytest
import redis
from channels.exceptions import ChannelFull
from channels.testing import WebsocketCommunicator
from channels_redis.core import RedisChannelLayer
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User

from chat.consumers import ChatConsumer
from tutorial.services.processes import patience

PATIENCE = 15  # seconds, more on a busy machine
PSST = {"message": "内緒だよ", "to": "bob"}
HEARD = {**PSST, "username": "alice"}


@pytest.fixture
async def join():
    """Join a room as a user, by default alice; leave it when the test ends."""
    async with AsyncExitStack() as sockets:

        async def join(username="alice", room="lobby"):
            socket = WebsocketCommunicator(ChatConsumer.as_asgi(), "/")
            socket.scope["url_route"] = {"kwargs": {"room_name": room}}
            socket.scope["user"] = User(username=username) if username else AnonymousUser()
            assert (await socket.connect(timeout=patience(PATIENCE)))[0]
            sockets.push_async_callback(socket.disconnect, timeout=patience(PATIENCE))
            return socket

        yield join


async def hear(socket):
    """Return the next frame, or fail."""
    # A timeout of receive_json_from would end the consumer too; this only looks.
    assert not await socket.receive_nothing(timeout=patience(PATIENCE)), "Nothing came."
    return await socket.receive_json_from()


async def say(socket, message):
    """Say something to the whole room."""
    await socket.send_json_to({"message": message})


async def hear_until(socket, message):
    """Return the frames that come before a message to the whole room."""
    frames = [await hear(socket)]
    while frames[-1].get("message") != message:
        frames.append(await hear(socket))
    assert "to" not in frames.pop()
    return frames


def memberships():
    """Return how many sockets the broker has in all groups together."""
    with redis.Redis.from_url(settings.REDIS_URL) as broker:
        return sum(broker.zcard(group) for group in broker.scan_iter("asgi:group:*"))


async def test_only_its_addressee_hears_it(join):
    """A frame with "to": "bob" reaches Bob, and Eve in the same room hears nothing of it."""
    alice, bob, eve = await join(), await join("bob"), await join("eve")
    await alice.send_json_to(PSST)
    await say(alice, "done")
    assert await hear_until(eve, "done") == [], "Eve has heard the whisper."
    assert await hear_until(bob, "done") == [HEARD]


async def test_all_windows_of_the_addressee_hear_it(join):
    """Bob has two windows open in the room, and both show the whisper."""
    alice, first, second = await join(), await join("bob"), await join("bob")
    await alice.send_json_to(PSST)
    assert await hear(first) == HEARD
    assert await hear(second) == HEARD


async def test_the_sender_sees_it_once_when_it_was_heard(join):
    """Alice sees her whisper when it has arrived: once, though Bob has two windows."""
    alice, *windows = await join(), await join("bob"), await join("bob")
    await alice.send_json_to(PSST)
    assert await hear(alice) == HEARD
    await say(alice, "done")
    for window in windows:
        await hear_until(window, "done")
    await say(alice, "end")
    assert await hear_until(alice, "end") == [{"message": "done", "username": "alice"}]


@pytest.mark.parametrize("to", ["nobody", "anonymous"])
async def test_nobody_hears_it_and_the_sender_does_not_see_it(join, to):
    """A whisper to somebody who isn't here, or to a guest, appears nowhere."""
    alice, guest = await join(), await join(username=None)
    await alice.send_json_to({**PSST, "to": to})
    await say(alice, "done")
    assert await hear_until(guest, "done") == []
    await say(alice, "end")
    assert [frame["message"] for frame in await hear_until(alice, "end")] == ["done"]


async def test_another_room_hears_nothing(join):
    """Bob is in the attic, so a whisper in the lobby does not reach him."""
    alice, bob = await join(), await join("bob", room="attic")
    await alice.send_json_to(PSST)
    await say(alice, "done")
    await hear_until(alice, "done")
    await say(bob, "for the attic")
    assert await hear_until(bob, "for the attic") == []


async def test_a_whisper_to_oneself(join):
    """If Alice whispers to herself, each of her two windows shows it once."""
    first, second = await join(), await join()
    note = {"message": "牛乳を買う", "to": "alice"}
    await first.send_json_to(note)
    for window in (first, second):
        assert await hear(window) == {**note, "username": "alice"}
    await say(second, "done")
    for window in (first, second):
        assert await hear_until(window, "done") == []


@pytest.mark.parametrize("to", [None, "", 5, [], ["bob"], {}, True, "\ud800", "\x00", "x" * 151])
async def test_a_bad_name_never_makes_a_whisper_public(join, to):
    """If "to" isn't a name, the sender gets an error, and the room hears nothing."""
    alice, bob = await join(), await join("bob")
    await alice.send_json_to({**PSST, "to": to})
    await say(bob, "done")
    assert await hear_until(bob, "done") == [], "The whisper went to the whole room."
    answers = await hear_until(alice, "done")
    assert [list(answer) for answer in answers] == [["error"]]


@pytest.mark.parametrize(
    ("message", "reason"), [(" ", "The message is empty"), ("x" * 4097, "The message is too long")]
)
async def test_the_limits_hold_for_whispers(join, message, reason):
    """An empty or a long whisper gets the same error as a message."""
    alice = await join()
    await alice.send_json_to({**PSST, "message": message})
    assert (await hear(alice))["error"].startswith(reason)


async def test_a_full_channel_of_the_sender_harms_only_the_sender(join, monkeypatch):
    """When Alice's channel is full, Bob's socket stays open."""
    alice, bob = await join(), await join("bob")

    async def send(self, channel, message):
        raise ChannelFull

    monkeypatch.setattr(RedisChannelLayer, "send", send)
    await alice.send_json_to(PSST)
    await say(alice, "done")
    assert await hear_until(bob, "done") == [HEARD]
    await say(bob, "still here")
    assert await hear_until(bob, "still here") == []


async def test_leaving_the_room_leaves_every_group():
    """disconnect takes the socket out of every group that it has joined."""
    before = memberships()
    socket = WebsocketCommunicator(ChatConsumer.as_asgi(), "/")
    socket.scope |= {"url_route": {"kwargs": {"room_name": "cellar"}}, "user": User(username="alice")}
    await socket.connect(timeout=patience(PATIENCE))
    assert memberships() > before
    await socket.disconnect(timeout=patience(PATIENCE))
    assert memberships() == before
