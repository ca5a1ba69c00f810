"""Exercise: a room costs the channel layer one membership per process, and a delivery a tenth."""

import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from uuid import uuid4

import pytest
import redis
from channels.layers import get_channel_layer
from django.conf import settings
from django.contrib.auth.models import User
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from chat.consumers import ChatConsumer
from tutorial.services.broker import Broker
from tutorial.services.processes import patience, wait_until
from tutorial.testing.site import Site

PATIENCE = 20  # seconds, more on a busy machine


@pytest.fixture
def room():
    """A room that no other test uses."""
    return f"部屋 {uuid4()}"


def memberships():
    """Return how many memberships the broker keeps, with either layer of channels_redis."""
    with redis.Redis.from_url(settings.REDIS_URL) as broker:
        mailboxes = sum(broker.zcard(group) for group in broker.scan_iter("asgi:group:*"))
        return mailboxes + len(broker.pubsub_channels("*specific*"))


async def until(condition):
    """Wait for a condition on the broker or on the messages heard."""
    await asyncio.to_thread(wait_until, condition, PATIENCE)


class Browser:
    """The server's side of a socket, in this process, so that a test can make its send() slow or break it.

    Attributes:
        heard: The messages it was sent.
        codes: The codes of the closes it was sent.
        ready: While this is clear, sending to it waits.
        error: What sending to it raises, if anything.
    """

    def __init__(self, room, username="alice"):
        self.heard, self.codes, self.error = [], [], None
        self.ready, self.accepted = asyncio.Event(), asyncio.Event()
        self.ready.set()
        self.frames = asyncio.Queue()
        self.frames.put_nowait({"type": "websocket.connect"})
        user = User(username=username)
        scope = {"type": "websocket", "url_route": {"kwargs": {"room_name": room}}, "user": user}
        self.task = asyncio.create_task(ChatConsumer.as_asgi()(scope, self.frames.get, self.send))

    async def send(self, event):
        """Called by the consumer."""
        await self.ready.wait()
        if self.error:
            raise self.error
        if event["type"] == "websocket.accept":
            self.accepted.set()
        elif event["type"] == "websocket.close":
            self.codes.append(event.get("code"))
        else:
            self.heard.append(json.loads(event["text"])["message"])

    def say(self, message):
        """Send a message to the room."""
        self.frames.put_nowait({"type": "websocket.receive", "text": json.dumps({"message": message})})

    async def leave(self):
        """Close the socket and wait until the consumer has ended; return the error that ended it."""
        self.ready.set()
        self.frames.put_nowait({"type": "websocket.disconnect", "code": 1001})
        [error] = await asyncio.gather(self.task, return_exceptions=True)
        return error


@pytest.fixture
async def enter():
    """Open a socket in this process; it is closed when the test ends."""
    async with AsyncExitStack() as stack:

        async def enter(room, username="alice"):
            browser = Browser(room, username)
            stack.push_async_callback(browser.leave)
            async with asyncio.timeout(patience(PATIENCE)):
                await browser.accepted.wait()
            return browser

        yield enter


@pytest.fixture
def servers(site):
    """Two processes on one broker, each a server of another kind."""
    return site.shared_server("uvicorn"), site.shared_server("daphne")


@asynccontextmanager
async def crowd(server, room, count):
    """Open sockets to a room over the network."""
    address = server.websocket_url(f"/ws/chat/{room.replace(' ', '%20')}/")
    async with AsyncExitStack() as stack:
        headers = server.site.headers(server.url, "alice")
        options = {"additional_headers": headers, "proxy": None, "max_queue": None}
        yield [await stack.enter_async_context(connect(address, **options)) for _ in range(count)]


async def hear(socket, count):
    """Return the next messages from the server."""
    async with asyncio.timeout(patience(PATIENCE)):
        return [json.loads(await socket.recv())["message"] for _ in range(count)]


async def is_heard_or_closed(socket, message):
    """Return whether the next thing that happens to a socket is this message, or its end."""
    try:
        return await hear(socket, 1) == [message]
    except ConnectionClosed:
        return True


async def test_a_room_is_one_membership(enter, room):
    """Twenty sockets in a room are one membership in the channel layer, and two rooms are two."""
    before = memberships()
    browsers = [await enter(room) for _ in range(20)]
    assert memberships() - before == 1
    await enter(f"{room} 2")
    assert memberships() - before == 2
    browsers[0].say("hello")
    await until(lambda: all(browser.heard == ["hello"] for browser in browsers))


async def test_with_the_last_socket_the_membership_ends(enter, room):
    """The membership lasts while anybody is in the room; the next to enter gets a new one."""
    before = memberships()
    first, second = await enter(room), await enter(room)
    await first.leave()
    assert memberships() - before == 1
    await second.leave()
    assert memberships() == before
    third = await enter(room)
    third.say("anybody here?")
    await until(lambda: third.heard == ["anybody here?"])
    assert first.heard == second.heard == []


async def test_who_comes_while_the_last_one_goes_is_not_deaf(enter, room, monkeypatch):
    """If you enter while the membership of an empty room ends, you hear everything from then on."""
    before, layer = memberships(), get_channel_layer()
    ending, may_end, discard = asyncio.Event(), asyncio.Event(), layer.group_discard

    async def slow_discard(group, channel):
        ending.set()
        await may_end.wait()
        await discard(group, channel)

    going = await enter(room)
    monkeypatch.setattr(layer, "group_discard", slow_discard, raising=False)
    leaving = asyncio.create_task(going.leave())
    async with asyncio.timeout(patience(PATIENCE)):
        await ending.wait()
    entering = asyncio.create_task(enter(room))
    # It is in at once, or waits for the end of the old membership.
    await asyncio.wait([entering], timeout=1)
    may_end.set()
    coming, _ = await asyncio.gather(entering, leaving)
    coming.say("hello")
    await until(lambda: coming.heard == ["hello"])
    await coming.leave()
    assert memberships() == before


async def test_a_slow_socket_does_not_hold_up_the_room(enter, room):
    """A browser that takes nothing falls behind; the others hear everything, in order and at once."""
    alice, slow = await enter(room), await enter(room, "slow")
    slow.ready.clear()
    texts = [str(number) for number in range(300)]
    for text in texts:
        alice.say(text)
    await until(lambda: alice.heard == texts)
    assert slow.heard == []


async def test_a_socket_that_stays_behind_is_closed(enter, room):
    """At most about a hundred frames wait for a browser; then it is closed with code 1013."""
    alice, slow = await enter(room), await enter(room, "slow")
    slow.ready.clear()
    for number in range(300):
        alice.say(str(number))
    await until(lambda: len(alice.heard) == 300)
    slow.ready.set()
    await until(lambda: slow.codes == [1013])
    assert len(slow.heard) <= 101
    alice.say("still here")
    await until(lambda: alice.heard[-1] == "still here")


async def test_a_socket_that_catches_up_has_missed_nothing(enter, room):
    """A browser that is slow for a moment still hears everything, in order."""
    alice, slow = await enter(room), await enter(room, "slow")
    slow.ready.clear()
    texts = [str(number) for number in range(50)]
    for text in texts:
        alice.say(text)
    await until(lambda: alice.heard == texts)
    slow.ready.set()
    await until(lambda: slow.heard == texts)


@pytest.mark.parametrize("error", [RuntimeError("gone"), OSError("gone"), ValueError("a mistake")])
async def test_one_send_that_fails_harms_nobody_else(enter, room, error):
    """When sending to one browser fails, the others hear that message and the next."""
    alice, broken, bob = await enter(room), await enter(room), await enter(room, "bob")
    broken.error = error
    for text in ("first", "second"):
        alice.say(text)
        await until(lambda text=text: alice.heard[-1:] == bob.heard[-1:] == [text])


async def test_a_consumer_that_fails_leaves_its_room(enter, room, monkeypatch):
    """A consumer that ends with an error leaves its room too, though Channels doesn't call disconnect()."""
    before = memberships()
    alice = await enter(room)

    async def refuse(group, message):
        raise ConnectionError("no broker")

    layer = get_channel_layer()
    monkeypatch.setattr(layer, "group_send", refuse, raising=False)
    alice.say("hello")
    assert isinstance(await alice.leave(), ConnectionError)
    assert memberships() == before


@pytest.mark.parametrize("step", ["new_channel", "group_add"])
async def test_a_room_that_cannot_be_heard_is_not_kept_open(enter, room, monkeypatch, step):
    """When the channel layer fails, sockets that enter are closed or refused, and later ones aren't deaf."""
    layer = get_channel_layer()

    async def refuse(*args):
        await asyncio.sleep(0.1)
        raise ConnectionError("no broker")

    with monkeypatch.context() as broken:
        broken.setattr(layer, step, refuse, raising=False)
        early = [Browser(room) for _ in range(3)]
        await until(lambda: all(browser.codes or browser.task.done() for browser in early))
    for browser in early:
        await browser.leave()
    alice, bob = await enter(room), await enter(room, "bob")
    alice.say("hello")
    await until(lambda: alice.heard == bob.heard == ["hello"])
    assert not any(browser.heard for browser in early)


async def test_a_room_in_two_processes(servers, room):
    """Sockets on two servers hear each message once, in the order in which it was sent."""
    one, other = servers
    async with crowd(one, room, 3) as here, crowd(other, room, 3) as there:
        texts = [str(number) for number in range(100)]
        for text in texts:
            await here[0].send(json.dumps({"message": text}))
        for socket in [*here, *there]:
            assert await hear(socket, 100) == texts
        await there[0].send(json.dumps({"message": "the last"}))
        for socket in [*here, *there]:
            assert await hear(socket, 1) == ["the last"]


async def test_a_restart_of_the_broker_leaves_nobody_deaf(site, room):
    """After the broker is killed and comes back, every socket hears the room again or has been closed."""
    with Broker() as broker, Site(site.step, broker.url) as own:
        server = own.server("uvicorn")
        async with crowd(server, room, 3) as sockets:
            await sockets[0].send('{"message": "before"}')
            for socket in sockets:
                assert await hear(socket, 1) == ["before"]
            broker.kill()
            await sockets[1].send('{"message": "into the void"}')
            await asyncio.to_thread(broker.start)
            waiting, deadline = set(sockets), asyncio.get_running_loop().time() + patience(PATIENCE)
            while waiting and asyncio.get_running_loop().time() < deadline:
                async with crowd(server, room, 1) as [speaker]:
                    await speaker.send('{"message": "after"}')
                    for socket in tuple(waiting):
                        with suppress(TimeoutError):
                            async with asyncio.timeout(0.2):
                                if await is_heard_or_closed(socket, "after"):
                                    waiting.discard(socket)
            assert not waiting, f"{len(waiting)} sockets are open and deaf"
