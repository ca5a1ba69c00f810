"""The faults of the WebSocket half that are counted rather than told: one figure each.

Every figure starts a broker and a server of its own around the finished app, provokes its fault, and
returns an account. The short form is for the tests, the full one for `make faults`.
"""

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from urllib.parse import urlencode

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from websockets.asyncio.client import ClientConnection

from tests.promises.faults.account import Account, Unbalanced
from tests.promises.faults.chat import (
    STEP,
    collect,
    crowd,
    hear,
    join,
    members,
    memory,
    raw_socket,
    say,
    until,
)
from tutorial.services.broker import Broker
from tutorial.services.browser import CHROMIUM_FLAGS, chromium
from tutorial.testing.site import Server, Site

Report = Callable[[str], None]

SEED = 20260101
MAX_MESSAGE = 4096  # bytes of UTF-8, as the consumer has it
MB = 1_000_000
# Clients without compression: it costs them more than the chat costs the server, on the same two cores.
PLAIN = {"compression": None}


# Where hundreds of clients share two cores with their server, none is silent that answers within a minute.
CROWDED = ("--ws-ping-timeout", "60")


@contextmanager
def served(*arguments: str) -> Iterator[Server]:
    """Run a broker, the finished app and the production server; the server's `site.broker` is the broker.

    The server listens on FAULTS_PORT if that is in the environment, else on a free port.

    Args:
        arguments: More words for the server's command line.
    """
    with Broker() as broker, Site(STEP, broker.url) as site:
        site.broker = broker
        port = int(os.environ.get("FAULTS_PORT", "0")) or None
        yield site.server("uvicorn", port=port, arguments=arguments)


def is_message(frame: str | bytes) -> bool:
    """Tell, without the consumer's own code, whether a frame is a chat message."""
    try:
        message = json.loads(frame)["message"] if isinstance(frame, str) else None
        return isinstance(message, str) and message.strip() != "" and len(message.encode()) <= MAX_MESSAGE
    except (ValueError, LookupError, TypeError, RecursionError):
        return False


def frames() -> st.SearchStrategy:
    """Return a strategy for frames of every kind: text, bytes, JSON of any shape, cut off, deep and long."""
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
    # json.dumps writes a surrogate as an escape, so that a frame can carry one.
    leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
    value = st.recursive(leaf, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=8)
    json_of = value.map(json.dumps)
    wrong = st.fixed_dictionaries({"message": value}).map(json.dumps)
    cut = st.tuples(wrong, st.integers(1, 10)).map(lambda pair: pair[0][: -pair[1]])
    deep = st.tuples(st.sampled_from("[{"), st.integers(500, 20_000)).map(lambda pair: pair[0] * pair[1])
    long = st.integers(MAX_MESSAGE + 1, 60_000).map(lambda size: json.dumps({"message": "x" * size}))
    number = st.integers(4_400, 20_000).map(lambda size: '{"message": ' + "9" * size + "}")
    kinds = text | st.binary(max_size=100) | json_of | wrong | cut | deep | long | number
    return kinds.filter(lambda frame: not is_message(frame))


def malformed_frames(count: int) -> list[str | bytes]:
    """Return as many frames that are no chat message, the same for every run."""
    made: list[str | bytes] = []
    with tempfile.TemporaryDirectory() as home:
        set_hypothesis_home_dir(home)

        @seed(SEED)
        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(frames())
        def keep(frame):
            made.append(frame)

        keep()
        set_hypothesis_home_dir(None)
    return made[:count]


def bad_frames(full: bool, report: Report) -> Account:
    """Malformed frames over 50 connections while another room talks."""
    connections = 50
    bad = malformed_frames(10_000 if full else 500)
    report(f"{len(bad)} frames from seed {SEED}")

    async def misbehave(socket: ClientConnection, frames: list) -> int:
        refused = 0
        for frame in frames:
            await socket.send(frame)
            refused += list(await hear(socket)) == ["error"]
        # Whoever was refused so often can still speak.
        await say(socket, "still here")
        while (await hear(socket)).get("message") != "still here":
            pass
        return refused

    async def talk(alice, bob, stop: asyncio.Event) -> tuple[list, list]:
        said, heard = [], []
        while not stop.is_set():
            said.append(f"{len(said)}")
            await say(alice, said[-1])
            heard.append((await hear(bob))["message"])
            await asyncio.sleep(0.02)
        return said, heard

    async def provoke(server: Server) -> Account:
        stop = asyncio.Event()
        async with (
            crowd(server, connections, "bad", **PLAIN) as sockets,
            join(server, "good", **PLAIN) as alice,
            join(server, "good", "bob", **PLAIN) as bob,
        ):
            other = asyncio.create_task(talk(alice, bob, stop))
            shares = [bad[number::connections] for number in range(connections)]
            refused = await asyncio.gather(*map(misbehave, sockets, shares))
            stop.set()
            said, heard = await other
        url = server.site.broker.url
        await until(lambda: members(url) == 0, what="an empty broker")
        if "Traceback" in server.output:
            raise Unbalanced(f"a consumer died: {server.output[-2000:]}")
        if said != heard:
            raise Unbalanced(f"the other room said {said} and heard {heard}")
        note = f"{len(said)} messages of the other room arrived in order"
        other = Account.of(said, heard).check()
        return Account(
            sent=len(bad) + other.sent,
            delivered=other.delivered,
            refused=sum(refused),
            lost=len(bad) - sum(refused),
            note=note,
        )

    with served() as server:
        return asyncio.run(provoke(server))


def deliveries(full: bool, report: Report) -> Account:
    """Deliveries among healthy clients, in order."""
    rooms, people, messages = (4, 25, 40) if full else (2, 10, 25)

    async def take_part(socket: ClientConnection, name: str) -> list[tuple]:
        """Say the next message once the last one came back; return who was heard with what, in order."""
        heard, said = [], 0
        await say(socket, f"{name} {said}")
        while len(heard) < people * messages:
            speaker, number = (await hear(socket))["message"].split()
            heard.append((speaker, int(number)))
            if speaker == name and said + 1 < messages:
                said += 1
                await say(socket, f"{name} {said}")
        return heard

    async def provoke(server: Server) -> Account:
        async with AsyncExitStack() as stack:
            crowds = [
                await stack.enter_async_context(crowd(server, people, f"room{room}", **PLAIN))
                for room in range(rooms)
            ]
            start = time.monotonic()
            heard = await asyncio.gather(
                *(
                    take_part(socket, f"{room}-{number}")
                    for room, sockets in enumerate(crowds)
                    for number, socket in enumerate(sockets)
                )
            )
            seconds = time.monotonic() - start
        due, arrived = [], []
        for listener, events in enumerate(heard):
            room = listener // people
            for person in range(people):
                speaker = f"{room}-{person}"
                numbers = [number for name, number in events if name == speaker]
                if numbers != sorted(numbers):
                    raise Unbalanced(f"listener {listener} heard {speaker} out of order: {numbers}")
                due += [(listener, speaker, number) for number in range(messages)]
            arrived += [(listener, speaker, number) for speaker, number in events]
        rate = f"{len(due) / seconds:,.0f} a second, every sender in order"
        return Account.of(due, arrived, note=rate)

    with served(*CROWDED) as server:
        return asyncio.run(provoke(server))


def all_at_once(full: bool, report: Report) -> Account:
    """Everyone in a crowded room speaks at the same moment."""
    people = 300 if full else 150

    async def provoke(server: Server) -> Account:
        async with crowd(server, people, "crowd", **PLAIN) as sockets:
            report(f"{people} people are in the room")
            start = time.monotonic()
            hearing = [
                asyncio.create_task(collect(socket, lambda heard: len(heard) >= people)) for socket in sockets
            ]
            await asyncio.gather(*(say(socket, str(number)) for number, socket in enumerate(sockets)))
            heard = await asyncio.gather(*hearing)
            seconds = time.monotonic() - start
        due = [(listener, str(number)) for listener in range(people) for number in range(people)]
        arrived = [(listener, message) for listener, messages in enumerate(heard) for message in messages]
        return Account.of(due, arrived, note=f"{people} people, all over after {seconds:.1f} s")

    with served(*CROWDED) as server:
        return asyncio.run(provoke(server))


def many_clients(full: bool, report: Report) -> Account:
    """1,000 clients in one process."""
    people = 1000 if full else 50

    async def provoke(server: Server) -> Account:
        # The first client makes the server import and connect what all of them share.
        async with crowd(server, 20, "warm", **PLAIN):
            pass
        before = memory(server)
        # They ask for compression as browsers do; the server declines.
        async with crowd(server, people, "crowd") as sockets:
            each = (memory(server) - before) / people / 1000
            report(f"{people} clients are in, {each:.0f} kB each")
            start = time.monotonic()
            hearing = [asyncio.create_task(hear(socket)) for socket in sockets]
            await say(sockets[0], "to all")
            heard = await asyncio.gather(*hearing)
            seconds = time.monotonic() - start
        if full and each > 60:
            raise Unbalanced(f"{each:.0f} kB for each client, where 60 are promised")
        arrived = [number for number, event in enumerate(heard) if event["message"] == "to all"]
        note = f"{people} clients, none refused, {each:.0f} kB each, one message to all in {seconds:.2f} s"
        return Account.of(range(people), arrived, note=note)

    with served(*CROWDED) as server:
        return asyncio.run(provoke(server))


def slow_reader(full: bool, report: Report) -> Account:
    """A reader that does not read, in a room that goes on talking."""
    size, limit = 4000, 16 * MB
    count = 10_000 if full else 500

    async def provoke(server: Server) -> tuple[int, list, list]:
        before, peak = memory(server), 0
        with raw_socket(server, "slow", receive_buffer=4096):
            async with (
                join(server, "slow", **PLAIN) as alice,
                join(server, "slow", "bob", **PLAIN) as bob,
            ):
                said, heard = [], []
                for first in range(0, count, 50):
                    burst = [f"{number:06d}".ljust(size, "x") for number in range(first, first + 50)]
                    for message in burst:
                        await say(alice, message)
                    for _ in burst:
                        await hear(alice)
                        heard.append((await hear(bob))["message"])
                    said += burst
                    peak = max(peak, memory(server))
        return peak - before, said, heard

    with served() as server:
        growth, said, heard = asyncio.run(provoke(server))
    flood = count * size
    if growth > limit:
        raise Unbalanced(f"uvicorn grew by {growth / MB:.0f} MB, where {limit / MB:.0f} MB are allowed")
    note = f"uvicorn grew by {growth / MB:.0f} MB while {flood / MB:.0f} MB were sent past the reader"
    return Account.of(said, heard, note=note)


def browsers(full: bool, report: Report) -> Account:
    """The broker dies and returns while people type in real browsers."""
    from playwright.async_api import async_playwright, expect

    people = 3 if full else 2
    lines = ["typed meanwhile", "この間に書いた"]

    async def write(page, text: str) -> None:
        await page.get_by_label("Message").fill(text)
        await page.get_by_role("button", name="Send").click()

    async def provoke(server: Server, broker: Broker, playwright) -> Account:
        flags = [*CHROMIUM_FLAGS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        browser = await playwright.chromium.launch(executable_path=chromium(), args=flags)
        pages = []
        for number in range(people):
            context = await browser.new_context()
            cookie = server.site.sessions["bob" if number % 2 else "alice"]
            await context.add_cookies([{"name": "sessionid", "value": cookie, "url": server.url}])
            pages.append(await context.new_page())
            await pages[-1].goto(f"{server.url}/chat/room/?{urlencode({'name': '部屋'})}")
        states = [page.get_by_role("status") for page in pages]
        for state in states:
            await expect(state).to_have_text("Connected.", timeout=30_000)
        broker.kill()
        for state in states:
            await expect(state).to_contain_text("Connection lost", timeout=30_000)
        report("the broker is gone and every page says so")
        for number, page in enumerate(pages):
            for line in lines:
                await write(page, f"{number} {line}")
            await expect(states[number]).to_contain_text("Not sent yet: 2.")
        broker.start()
        start = time.monotonic()

        async def back(state) -> float:
            await expect(state).to_have_text("Connected.", timeout=30_000)
            return time.monotonic() - start

        seconds = max(await asyncio.gather(*map(back, states)))
        if seconds > 5:
            raise Unbalanced(f"the last page was back {seconds:.1f} s after the broker, where 5 are promised")
        # A last word, which everyone hears: what stands before it is all there will be.
        await write(pages[0], "the end")
        texts = []
        for page in pages:
            log = page.get_by_role("log").locator("p")
            await expect(log.filter(has_text="the end")).to_have_count(1, timeout=30_000)
            texts.append([text.partition(": ")[2] for text in await log.all_text_contents()])
        await browser.close()
        due = [f"{number} {line}" for number in range(people) for line in lines]
        # What a page wrote is in its own log when the server has sent it to the room.
        own = [text for number, page in enumerate(texts) for text in page if text.startswith(f"{number} ")]
        for page in texts:
            if len(page) != len(set(page)):
                raise Unbalanced(f"a page shows a message twice: {page}")
        others = sum(len(page) - 1 for page in texts) - len(own)
        possible = len(due) * (people - 1)
        note = (
            f"last of {people} pages back after {seconds:.1f} s; the other pages, back later or sooner, "
            f"saw {others} of {possible}"
        )
        return Account.of(due, own, note=note)

    async def run(server: Server) -> Account:
        async with async_playwright() as playwright:
            return await provoke(server, server.site.broker, playwright)

    with served() as server:
        return asyncio.run(run(server))


FIGURES = [bad_frames, deliveries, all_at_once, many_clients, slow_reader, browsers]
