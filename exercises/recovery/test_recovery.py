"""Exercise: nothing is lost and nothing is doubled, whatever dies in mid-chat."""

import asyncio
import contextlib
import json
import os
import random
import time
from collections import Counter
from urllib.parse import quote, urlencode
from uuid import uuid4

import pytest
import redis
from playwright.async_api import expect
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from tutorial.services.broker import Broker
from tutorial.services.processes import patience
from tutorial.testing.site import Site

MESSAGES = 300
PATIENCE = 25  # seconds, more on a busy machine


async def until(condition, what):
    """Wait until a condition holds, or fail with a text that names it."""
    start = time.monotonic()
    while not condition():
        waited = time.monotonic() - start
        assert waited < PATIENCE or waited < patience(PATIENCE), f"Waited {waited:.0f} s for {what}."
        await asyncio.sleep(0.02)


async def ask(socket, **frame):
    """Send a frame and return the next one that comes."""
    await socket.send(json.dumps(frame))
    return await hear(socket)


async def hear(socket):
    """Return the next frame, or fail."""
    try:
        async with asyncio.timeout(patience(PATIENCE)):
            return json.loads(await socket.recv())
    except (TimeoutError, ConnectionClosed) as error:
        pytest.fail(f"The server sent nothing: {error!r}")


class Person:
    """A client that does what room.js must do, without a browser."""

    def __init__(self, site, server, name, room):
        self.url = server.websocket_url(f"/ws/chat/{quote(room, safe='')}/")
        self.headers = site.headers(server.url, name)
        self.outbox = {}  # messages not yet acknowledged, by client_id
        self.acknowledged = Counter()
        self.shown = []  # (id, text) in the order shown
        self.ignored = self.sockets = self.resent = 0
        self.last = None
        self.following = False
        self.socket = None

    async def live(self):
        """Stay connected forever, and reconnect whenever the connection is lost."""
        while True:
            with contextlib.suppress(OSError, WebSocketException):
                async with connect(self.url, additional_headers=self.headers, proxy=None) as self.socket:
                    self.sockets += 1
                    await self.talk()
            self.following = False
            await asyncio.sleep(random.random() * 0.5)  # noqa: S311 - a delay is no secret

    async def talk(self):
        """Ask for missed messages, then take every frame."""
        checks = asyncio.create_task(self.ask_for_missed())
        try:
            async for text in self.socket:
                await self.take(json.loads(text))
        finally:
            checks.cancel()

    async def ask_for_missed(self):
        """Say `since` at once and from time to time, as the page does every 30 s."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self.socket.send(json.dumps({"since": self.last}))
                await asyncio.sleep(1)

    async def take(self, frame):
        """Handle a frame as the page does."""
        assert "error" not in frame, frame
        if "since" in frame and not self.following:
            self.following = True
            self.last = frame["since"] if self.last is None else self.last
            for client_id, text in list(self.outbox.items()):
                self.resent += 1
                await self.send(client_id, text)
        if "ack" in frame:
            self.acknowledged[frame["ack"]] += 1
            self.outbox.pop(frame["ack"], None)
        if "message" in frame and self.following:
            if frame["id"] <= self.last:
                self.ignored += 1
                return
            self.last = frame["id"]
            self.shown.append((frame["id"], frame["message"]))

    async def say(self, text):
        """Type a message; it is sent now or later."""
        client_id = uuid4().hex
        self.outbox[client_id] = text
        if self.following:
            await self.send(client_id, text)

    async def send(self, client_id, text):
        """Send a message if there is a connection."""
        with contextlib.suppress(ConnectionClosed):
            await self.socket.send(json.dumps({"message": text, "client_id": client_id}))


@contextlib.asynccontextmanager
async def people(*persons):
    """Run the clients, and wait until the server has answered each one's first `since`."""
    lives = [asyncio.create_task(person.live()) for person in persons]
    try:
        for person in persons:
            await until(lambda person=person: person.following, "the answer to since")
        yield
    finally:
        for life in lives:
            life.cancel()
        await asyncio.gather(*lives, return_exceptions=True)


@pytest.fixture
def room():
    """A room that no other test uses."""
    return f"部屋 {uuid4()}"


@pytest.fixture
def web(site):
    """The step under the production server."""
    return site.shared_server("uvicorn")


@pytest.fixture
def socket(site, web, room):
    """Open a plain socket to the room."""

    def socket(user="alice"):
        url = web.websocket_url(f"/ws/chat/{quote(room, safe='')}/")
        return connect(url, additional_headers=site.headers(web.url, user), proxy=None)

    return socket


async def test_a_message_with_a_client_id_is_acknowledged(socket):
    """{"message", "client_id"} is stored, sent to the room with its id, and answered with {"ack", "id"}."""
    async with socket("bob") as bob, socket("alice") as alice:
        await alice.send(json.dumps({"message": "こんにちは!", "client_id": "a-1"}))
        heard = await hear(bob)
        assert set(heard) == {"message", "username", "id"}, heard
        assert (heard["message"], heard["username"]) == ("こんにちは!", "alice")
        answers = [await hear(alice), await hear(alice)]
        assert {"ack": "a-1", "id": heard["id"]} in answers
        assert heard in answers


async def test_a_message_that_comes_twice_is_stored_once(socket):
    """The same client_id again gets an acknowledgement with the same id; the room hears it once."""
    async with socket("bob") as bob, socket("alice") as alice:
        assert await ask(bob, since=None) == {"since": 0}
        acks = []
        for _ in range(2):
            await alice.send(json.dumps({"message": "once", "client_id": "a-1"}))
            acks += [frame for frame in (await hear(alice), await hear(alice)) if "ack" in frame]
        assert len(acks) == 2
        assert acks[0] == acks[1]
        await alice.send(json.dumps({"message": "next", "client_id": "a-2"}))
        assert [(await hear(bob))["message"] for _ in range(2)] == ["once", "next"]


async def test_two_people_may_choose_the_same_client_id(socket):
    """A client_id belongs to its sender: bob can't swallow alice's message by guessing it."""
    async with socket("bob") as bob, socket("alice") as alice:
        await bob.send(json.dumps({"message": "mine", "client_id": "same"}))
        await hear(alice)
        await alice.send(json.dumps({"message": "mine too", "client_id": "same"}))
        frames = [await hear(bob) for _ in range(3)]
        assert [frame["username"] for frame in frames if "message" in frame] == ["bob", "alice"]


async def test_since_brings_what_was_missed_in_order(socket):
    """{"since": id} is answered with {"since": id}, and then with every later message, oldest first."""
    async with socket("alice") as alice:
        assert await ask(alice, since=None) == {"since": 0}
        ids = []
        for number in range(30):
            await alice.send(json.dumps({"message": str(number), "client_id": f"n-{number}"}))
            ids += [
                frame["ack"] and frame["id"]
                for frame in [await hear(alice), await hear(alice)]
                if "ack" in frame
            ]
    async with socket("bob") as bob:
        assert await ask(bob, since=ids[9]) == {"since": ids[9]}
        missed = [await hear(bob) for _ in range(20)]
        assert [frame["id"] for frame in missed] == ids[10:]
        assert [frame["message"] for frame in missed] == [str(number) for number in range(10, 30)]


async def test_what_comes_before_the_answer_to_since_comes_again_after_it(socket):
    """A live message that overtakes the answer to `since` is repeated in its place, so the order is right."""
    async with socket("alice") as alice, socket("bob") as bob:
        for number in range(3):
            await alice.send(json.dumps({"message": str(number), "client_id": f"n-{number}"}))
        assert [(await hear(bob))["message"] for _ in range(3)] == ["0", "1", "2"]
        assert await ask(bob, since=0) == {"since": 0}
        assert [(await hear(bob))["message"] for _ in range(3)] == ["0", "1", "2"]


async def test_a_gap_in_the_channel_layer_is_filled(socket, room):
    """If the channel layer loses a message, the next one shows the gap, and the database fills it."""
    async with socket("alice") as alice, socket("bob") as bob:
        assert await ask(bob, since=None) == {"since": 0}
        with redis.Redis.from_url(os.environ["REDIS_URL"]) as broker:
            groups = {group: broker.zrange(group, 0, -1) for group in broker.scan_iter("asgi:group:*")}
            parked = [(group, b"parked:" + group) for group, members in groups.items() if len(members) == 2]
            for group, place in parked:
                broker.rename(group, place)
            assert "ack" in await ask(alice, message="nobody hears it", client_id="a-1")
            for group, place in parked:
                broker.rename(place, group)
        await alice.send(json.dumps({"message": "everybody hears it", "client_id": "a-2"}))
        assert [(await hear(bob))["message"] for _ in range(2)] == ["nobody hears it", "everybody hears it"]


async def test_a_client_that_knows_no_ids_chats_as_before(socket):
    """{"message": …} alone is delivered to everyone, as in the steps, and is not stored."""
    async with socket("bob") as bob, socket("alice") as alice:
        assert await ask(bob, since=None) == {"since": 0}
        expected = {"message": "hello", "username": "alice"}
        assert await ask(alice, message="hello") == expected
        assert await hear(bob) == expected
        assert await ask(bob, since=0) == {"since": 0}
        await alice.send(json.dumps({"message": "again"}))
        assert (await hear(bob))["message"] == "again"


BAD_FRAMES = {
    "since is text": {"since": "1"},
    "since is negative": {"since": -1},
    "since is true": {"since": True},
    "since is too large for a database": {"since": 2**63},
    "client_id is a number": {"message": "hello", "client_id": 1},
    "client_id is empty": {"message": "hello", "client_id": ""},
    "client_id is too long": {"message": "hello", "client_id": "x" * 65},
    "client_id is a lone surrogate": {"message": "hello", "client_id": "\ud800"},
}


@pytest.mark.parametrize("frame", BAD_FRAMES.values(), ids=BAD_FRAMES)
async def test_a_bad_id_is_answered_and_the_socket_lives(socket, frame):
    """A since or client_id that makes no sense gets an error, and the socket stays open."""
    async with socket() as alice:
        answer = await ask(alice, **frame)
        assert list(answer) == ["error"]
        assert (await ask(alice, message="still here"))["message"] == "still here"


async def test_a_refused_message_is_named(socket):
    """An error about a message carries its client_id as `refused`, so that the page stops sending it."""
    async with socket() as alice:
        answer = await ask(alice, message="x" * 5000, client_id="a-1")
        assert answer.get("refused") == "a-1", answer
        assert "too long" in answer["error"]


async def test_who_leaves_in_mid_speech_leaves_the_group(socket):
    """If a client sends and closes at once, all its messages arrive, and nothing of it stays behind."""
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as broker:

        def members():
            return sum(broker.zcard(group) for group in broker.scan_iter("asgi:group:*"))

        async with socket("bob") as bob:
            before = members()
            for _ in range(5):
                async with socket("alice") as alice:
                    for number in range(5):
                        await alice.send(json.dumps({"message": str(number), "client_id": uuid4().hex}))
            assert sorted([(await hear(bob))["message"] for _ in range(25)]) == sorted("01234" * 5)
            await until(lambda: members() == before, "alice's sockets to leave the group")


async def test_two_servers_keep_one_order(site, web, room):
    """With two server processes and four writers at once, everyone gets all messages in the order of ids."""
    other = site.server("uvicorn")
    servers = [web, other, web, other]
    writers = [
        Person(site, server, name, room) for server, name in zip(servers, ["alice", "bob"] * 2, strict=True)
    ]

    async def write(number, writer):
        for count in range(25):
            await writer.say(f"{number}/{count}")

    async with people(*writers):
        await asyncio.gather(*(write(number, writer) for number, writer in enumerate(writers)))
        await until(
            lambda: all(len(writer.shown) >= 100 for writer in writers), "100 messages at every client"
        )
    expected = writers[0].shown
    assert len(expected) == len(set(expected)) == 100
    assert [number for number, _ in expected] == sorted(number for number, _ in expected)
    for writer in writers:
        assert writer.shown == expected
    for number in range(4):
        own = [text for _, text in expected if text.startswith(f"{number}/")]
        assert own == [f"{number}/{count}" for count in range(25)]


@pytest.fixture(scope="module")
def stage(pytestconfig):
    """The step with a broker and a server of its own, which the tests may kill."""
    with Broker() as broker, Site(pytestconfig.rootpath, broker.url) as site:
        yield broker, site, site.server("uvicorn")


FAULTS = {
    "server restarted (SIGTERM)": ("server", "stop"),
    "broker killed (SIGKILL)": ("broker", "kill"),
    "server killed (SIGKILL)": ("server", "kill"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_message_is_lost_or_doubled(stage, room, fault):
    """0 of 300 messages are lost while the server is restarted, the broker killed or the server killed."""
    broker, site, server = stage
    victim, action = FAULTS[fault]
    victim = {"server": server, "broker": broker}[victim]
    alice, bob = (Person(site, server, name, room) for name in ("alice", "bob"))
    typed = [f"{number} {'字' * random.randrange(20)}" for number in range(MESSAGES)]  # noqa: S311 - text

    async def type_all():
        for text in typed:
            await alice.say(text)
            await asyncio.sleep(0.01)  # a person who types fast

    async with people(alice, bob):
        typing = asyncio.create_task(type_all())
        await until(lambda: len(bob.shown) >= 100, "the first 100 messages")
        await asyncio.to_thread(getattr(victim, action))
        before = len(bob.shown)
        await until(lambda: len(alice.outbox) >= 50, "50 messages typed meanwhile")
        await asyncio.to_thread(victim.start)
        await typing
        await until(lambda: not alice.outbox, "the acknowledgement of every message")
        await until(lambda: len(bob.shown) >= MESSAGES, "every message at bob")
        await until(lambda: len(alice.shown) >= MESSAGES, "every message at alice")

    carol = Person(site, server, "bob", room)
    carol.last = 0
    async with people(carol):
        await until(lambda: len(carol.shown) >= MESSAGES, "every message from the database")

    heard = [text for _, text in bob.shown]
    account = {
        "sent": len(typed),
        "acknowledged": len(alice.acknowledged),
        "delivered": len(set(heard)),
        "doubled": len(heard) - len(set(heard)),
        "lost": len(set(typed) - set(heard)),
        "stored": len(carol.shown),
    }
    print(
        f"\n{fault}: {', '.join(f'{name} {count}' for name, count in account.items())}"
        f" (before the fault {before}, sent again {alice.resent}, repeated frames ignored {bob.ignored},"
        f" sockets opened {alice.sockets}+{bob.sockets})"
    )
    assert account == {
        "sent": MESSAGES,
        "acknowledged": MESSAGES,
        "delivered": MESSAGES,
        "doubled": 0,
        "lost": 0,
        "stored": MESSAGES,
    }
    assert heard == typed
    assert alice.sockets > 1
    assert carol.shown == bob.shown == alice.shown


def messages(page):
    """Return the lines in the log."""
    return page.get_by_role("log").locator("p")


async def say(page, message):
    """Write a message and press the button."""
    await page.get_by_label("Message").fill(message)
    await page.get_by_role("button", name="Send").click()


async def test_a_reload_loses_nothing_that_was_typed(open_page, site, room):
    """Messages you type while the server is down survive a reload of the page, and are delivered once."""
    server = site.server("runserver")
    address = f"{server.url}/chat/room/?{urlencode({'name': room})}"
    alice, bob = await open_page(address, "alice"), await open_page(address, "bob")
    for page in (alice, bob):
        await expect(page.get_by_role("status")).to_contain_text("Connected.")
    await say(alice, "before")
    await expect(messages(bob)).to_have_text(["alice: before"])
    await expect(alice.get_by_role("status")).to_have_text("Connected.")

    # The acknowledgement is lost: the page thinks that nothing arrived.
    await alice.evaluate("""() => {
        const take = ws.onmessage;
        ws.onmessage = (event) => { if (!JSON.parse(event.data).ack) take(event); };
    }""")
    await say(alice, "acknowledgement lost")
    await expect(messages(bob)).to_have_text(["alice: before", "alice: acknowledgement lost"])
    await asyncio.to_thread(server.kill)
    await say(alice, "この間に書いた")
    await expect(alice.get_by_role("status")).to_contain_text("Not sent yet: 2.")
    await asyncio.to_thread(server.start)
    await alice.reload()

    lines = ["alice: before", "alice: acknowledgement lost", "alice: この間に書いた"]
    await expect(messages(bob)).to_have_text(lines)
    await expect(messages(alice)).to_have_text(lines)
    await expect(alice.get_by_role("status")).to_have_text("Connected.")
    await say(bob, "はい")
    await expect(messages(alice)).to_have_text([*lines, "bob: はい"])
    await expect(messages(bob)).to_have_text([*lines, "bob: はい"])
