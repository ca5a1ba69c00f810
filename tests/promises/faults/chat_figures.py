"""What is counted and timed in the chat: one figure for each fault.

Every figure starts a broker and a server of its own around the finished app, provokes its fault, and
returns an account. The short form is for the tests, the full one for `make faults`, which also holds what
it times against the promise.
"""

import asyncio
import functools
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from urllib.parse import urlencode

import redis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from websockets.asyncio.client import ClientConnection

from tests.promises.faults.account import Account, Unbalanced, promised
from tests.promises.faults.chat import (
    STEP,
    converse,
    crowd,
    exchange,
    hear,
    hear_messages,
    join,
    memory,
    raw_socket,
    say,
    until_members,
)
from tutorial.course.steps import all_steps, number
from tutorial.services.broker import Broker
from tutorial.services.browser import launch_options
from tutorial.services.processes import PATIENCE, wait_until
from tutorial.testing.site import PRODUCTION, Server, Site

SEED = 20260101
MAX_MESSAGE = 4096  # bytes of UTF-8, as the consumer has it
MB = 1_000_000
# Clients without compression: on the same two cores, it costs them more than the chat costs the server.
PLAIN = {"compression": None}
# Hundreds of clients share two cores with their server: one that answers in two minutes isn't silent.
CROWDED = ("--ws-ping-timeout", "120")

FIGURES: list[Callable[[bool], Account]] = []


def figure(*arguments: str) -> Callable:
    """Make a figure of a coroutine function that takes a server and whether to go to full length.

    The server is the production server of the finished app, and its `site.broker` the broker.

    Args:
        arguments: More words for the server's command line.
    """

    def decorate(provoke: Callable[[Server, bool], Awaitable[Account]]) -> Callable[[bool], Account]:
        @functools.wraps(provoke)
        def run(full: bool) -> Account:
            with Broker() as broker, Site(STEP, broker.url, PRODUCTION) as site:
                site.broker = broker
                return asyncio.run(provoke(site.server("uvicorn", arguments=arguments), full))

        FIGURES.append(run)
        return run

    return decorate


# Not among the generated frames.
KNOWN_BAD = [
    "",
    b"",
    '{"message": "\\ud800"}',
    '{"message": "   \\n\\u3000"}',
    '{"message": ' + "[" * 30_000 + "]" * 30_000 + "}",
    json.dumps({"message": "x" * (MAX_MESSAGE + 1)}),
    json.dumps({"message": "字" * 1366}, ensure_ascii=False),
]


def is_message(frame: str | bytes) -> bool:
    """Return, without the consumer's own code, whether a frame is a chat message."""
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
    """Return this many frames that aren't chat messages, the same in every run; they include KNOWN_BAD."""
    made: list[str | bytes] = [*KNOWN_BAD]
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


@figure()
async def bad_frames(server: Server, full: bool) -> Account:
    """Malformed frames over 50 connections while another room talks."""
    connections = 50
    bad = malformed_frames(10_000 if full else 500)

    async def misbehave(socket: ClientConnection, frames: list) -> int:
        refused = 0
        for frame in frames:
            await socket.send(frame)
            refused += list(await hear(socket)) == ["error"]
        # A client that was refused this often can still send.
        await say(socket, "still here")
        while (await hear(socket)).get("message") != "still here":
            pass
        return refused

    async def talk(alice, bob, stop: asyncio.Event) -> tuple[list, list]:
        said, heard = [], []
        while not stop.is_set():
            said.append(f"{len(said)}")
            await say(alice, said[-1])
            heard += await hear_messages(bob, 1)
            await asyncio.sleep(0.02)
        return said, heard

    stop = asyncio.Event()
    async with (
        crowd(server, connections, "bad", **PLAIN) as sockets,
        join(server, "good", **PLAIN) as alice,
        join(server, "good", "bob", **PLAIN) as bob,
    ):
        talking = asyncio.create_task(talk(alice, bob, stop))
        shares = [bad[number::connections] for number in range(connections)]
        refused = sum(await asyncio.gather(*map(misbehave, sockets, shares)))
        stop.set()
        said, heard = await talking
    await until_members(server.site.broker.url, None, 0)
    if "Traceback" in server.output:
        raise Unbalanced(f"a consumer died: {server.output[-2000:]}")
    if said != heard:
        raise Unbalanced(f"the other room said {said} and heard {heard}")
    return Account(
        sent=len(bad) + len(said),
        delivered=len(heard),
        refused=refused,
        lost=len(bad) - refused,
        note=f"{len(said)} messages of the other room arrived in order",
    )


@figure(*CROWDED)
async def deliveries(server: Server, full: bool) -> Account:
    """Deliveries among healthy clients, in order."""
    rooms, people, messages = (4, 25, 40) if full else (2, 10, 25)
    async with AsyncExitStack() as stack:
        crowds = [
            await stack.enter_async_context(crowd(server, people, f"room{room}", **PLAIN))
            for room in range(rooms)
        ]
        start = time.monotonic()
        outcomes = await asyncio.gather(*(converse(sockets, messages) for sockets in crowds))
        seconds = time.monotonic() - start
    due, arrived = (
        [(room, *event) for room, outcome in enumerate(outcomes) for event in outcome[side]]
        for side in (0, 1)
    )
    return Account.of(due, arrived, note=f"{len(due) / seconds:,.0f} a second, every sender in order")


@figure(*CROWDED)
async def all_at_once(server: Server, full: bool) -> Account:
    """Everyone in a crowded room speaks at the same moment."""
    people = 300 if full else 150
    async with crowd(server, people, "crowd", **PLAIN) as sockets:
        start = time.monotonic()
        due, arrived = await converse(sockets, 1)
        seconds = time.monotonic() - start
    return Account.of(due, arrived, note=f"{people} people, all over after {seconds:.1f} s")


@figure(*CROWDED)
async def many_clients(server: Server, full: bool) -> Account:
    """1,000 clients in one process."""
    people = 1000 if full else 50
    # The first clients make the server import and connect what all of them share.
    async with crowd(server, 20, "warm", **PLAIN):
        pass
    before = memory(server)
    # They ask for compression as browsers do; the server declines.
    async with crowd(server, people, "crowd") as sockets:
        each = (memory(server) - before) / people / 1000
        start = time.monotonic()
        hearing = [asyncio.create_task(hear(socket)) for socket in sockets]
        await say(sockets[0], "to all")
        heard = await asyncio.gather(*hearing)
        seconds = time.monotonic() - start
    arrived = [number for number, event in enumerate(heard) if event["message"] == "to all"]
    size = promised(each, 60, "kB for each", full)
    note = f"{people} clients, none refused, {size}; one message to all in {seconds:.2f} s"
    return Account.of(range(people), arrived, note=note)


@figure()
async def slow_reader(server: Server, full: bool) -> Account:
    """A reader that doesn't read, in a room that goes on talking, and is gone when it closes."""
    count, size = (10_000 if full else 2_000), 4000
    said, heard, peak = [], [], 0
    url, before = server.site.broker.url, memory(server)
    async with join(server, "slow", **PLAIN) as alice, join(server, "slow", "bob", **PLAIN) as bob:
        with raw_socket(server, "slow", receive_buffer=4096):
            for first in range(0, count, 50):
                burst = [f"{number:06d}".ljust(size, "x") for number in range(first, first + 50)]
                for message in burst:
                    await say(alice, message)
                await hear_messages(alice, len(burst))
                heard += await hear_messages(bob, len(burst))
                said += burst
                peak = max(peak, memory(server))
        await until_members(url, "slow", 2)
    growth = promised((peak - before) / MB, 16, "MB", True)
    return Account.of(said, heard, note=f"uvicorn grew by {growth}, while {count * size / MB:.0f} MB passed")


@figure()
async def silent_peer(server: Server, full: bool) -> Account:
    """A peer vanishes without a close, answers no ping, and is taken out of its room; the others stay."""
    seconds = []
    url = server.site.broker.url
    async with crowd(server, 2, "silence") as sockets:
        for _ in range(3 if full else 1):
            with raw_socket(server, "silence", "bob"):
                start = time.monotonic()
                await until_members(url, "silence", 3)
                await until_members(url, "silence", 2)
                seconds.append(time.monotonic() - start)
        due, arrived = await exchange(sockets, "still here")
    return Account.of(due, arrived, note=f"gone after {promised(max(seconds), 12, 's', full)}")


def idle(full: bool) -> Account:
    """Sockets that say nothing are still open, in each step that has one.

    At full length they are silent for 60 s. In short it is as long as a process waits for a message and then
    asks the broker anew, twice over: there redis-py 8 would close them, after 5 s.
    """

    async def keep_still(servers: list[Server]) -> Account:
        due, arrived = [], []
        async with AsyncExitStack() as stack:
            rooms = [
                await stack.enter_async_context(crowd(server, 2, server.site.step.name)) for server in servers
            ]
            if full:
                await asyncio.sleep(60)
            else:
                enough = waits() + 2 * len(servers)
                what = "two rounds of waiting"
                await asyncio.to_thread(wait_until, lambda: waits() >= enough, PATIENCE, what)
            for room, server in zip(rooms, servers, strict=True):
                said, heard = await exchange(room, server.site.step.name)
                due, arrived = due + said, arrived + heard
        return Account.of(due, arrived, note=f"{len(servers)} steps, two sockets each")

    def waits() -> int:
        return client.info("commandstats").get("cmdstat_bzpopmin", {"calls": 0})["calls"]

    with ExitStack() as stack:
        broker = stack.enter_context(Broker())
        client = stack.enter_context(redis.Redis.from_url(broker.url))
        steps = [step for step in all_steps() if number(step) >= 3]
        sites = [
            stack.enter_context(Site(step, broker.url, PRODUCTION if step == STEP else None))
            for step in steps
        ]
        return asyncio.run(keep_still([site.server("daphne") for site in sites]))


FIGURES.append(idle)


@figure()
async def browsers(server: Server, full: bool) -> Account:
    """The broker dies and returns while people type in real browsers."""
    from playwright.async_api import async_playwright, expect

    people = 3 if full else 2
    broker = server.site.broker
    lines = ["typed meanwhile", "この間に書いた"]
    # Milliseconds; not a promise.
    expect.set_options(timeout=PATIENCE * 1000)

    async def write(page, text: str) -> None:
        await page.get_by_label("Message").fill(text)
        await page.get_by_role("button", name="Send").click()

    async with async_playwright() as playwright, AsyncExitStack() as stack:
        browser = await playwright.chromium.launch(**launch_options())
        stack.push_async_callback(browser.close)
        pages = []
        for number in range(people):
            context = await browser.new_context()
            cookie = server.site.sessions["bob" if number % 2 else "alice"]
            await context.add_cookies([{"name": "sessionid", "value": cookie, "url": server.url}])
            pages.append(await context.new_page())
            await pages[-1].goto(f"{server.url}/chat/room/?{urlencode({'name': '部屋'})}")
        states = [page.get_by_role("status") for page in pages]
        for state in states:
            await expect(state).to_have_text("Connected.")
        await asyncio.to_thread(broker.kill)
        for state in states:
            await expect(state).to_contain_text("Connection lost")
        for number, page in enumerate(pages):
            for line in lines:
                await write(page, f"{number} {line}")
            await expect(states[number]).to_contain_text("Not sent yet: 2.")
        await asyncio.to_thread(broker.start)
        start = time.monotonic()

        async def back(state) -> float:
            await expect(state).to_have_text("Connected.")
            return time.monotonic() - start

        seconds = promised(max(await asyncio.gather(*map(back, states))), 5, "s", full)
        # A last message that everyone hears: nothing from before it comes after it.
        await write(pages[0], "the end")
        texts = []
        for page in pages:
            log = page.get_by_role("log").locator("p")
            await expect(log.filter(has_text="the end")).to_have_count(1)
            texts.append([text.partition(": ")[2] for text in await log.all_text_contents()])
    due = [f"{number} {line}" for number in range(people) for line in lines]
    # A page's message is in its own log once the server has sent it to the room.
    own = [text for number, page in enumerate(texts) for text in page if text.startswith(f"{number} ")]
    for page in texts:
        if len(page) != len(set(page)):
            raise Unbalanced(f"a page shows a message twice: {page}")
    others = sum(len(page) - 1 for page in texts) - len(own)
    note = (
        f"last of {people} pages back after {seconds}; the other pages, back later or sooner, "
        f"saw {others} of {len(due) * (people - 1)}"
    )
    return Account.of(due, own, note=note)
