"""What is counted and timed when the line to the broker goes dead without a word, is cut, shut, or slow."""

import asyncio
import time
from contextlib import closing

from tests.promises.faults.account import Account, promised
from tests.promises.faults.chat import STEP, crowd, hear, say
from tests.promises.faults.line import Line
from tests.promises.faults.mail import ALONE, Mailbox, Publisher
from tutorial.services.broker import Broker
from tutorial.services.processes import PATIENCE, wait_until
from tutorial.testing.site import PRODUCTION, Server, Site, Worker

SHUT = 20  # seconds for which a line is shut, longer than a worker waits for an answer
PROMISED = 25  # seconds until a dead connection is replaced


def line_of_a_worker(full: bool) -> Account:
    """The line between a worker and the broker goes dead without a word, is cut, shut for 20 s, or slow."""
    took = {}
    with (
        Broker() as broker,
        Mailbox() as mailbox,
        Site(STEP, broker.url, PRODUCTION) as site,
        closing(Publisher(broker.url, mailbox, site.user_ids["alice"])) as publisher,
    ):
        for fault in ("dead", "cut", "shut", "slow") if full else ("dead",):
            with (
                Line(broker.port) as line,
                Worker(site, ALONE, mailbox.env | {"REDIS_URL": line.url}).start(PATIENCE),
            ):
                publisher.notify()
                publisher.settle()
                start = time.monotonic()
                line.suffer(fault)
                if fault in ("dead", "shut"):
                    # What is on its way at that moment is a known gap, of which other figures tell.
                    wait_until(lambda: not waits_for_tasks(publisher), PATIENCE, "a silent line")
                if fault == "shut":
                    time.sleep(SHUT)
                    line.open.set()
                    start = time.monotonic()
                arrived = len(mailbox.messages)
                publisher.notify_many(5)
                mailbox.wait_for(arrived + 1, PATIENCE)
                took[fault] = time.monotonic() - start
                account = publisher.settle()
    times = ", ".join(f"{took[fault]:.1f} s ({fault})" for fault in took)
    slowest = promised(max(took.values()), PROMISED, "s", full)
    account.note = f"the next task ran after {times}: {slowest}"
    return account


def waits_for_tasks(publisher: Publisher) -> bool:
    """Return whether the broker would hand a task that comes now to a worker."""
    return any("b" in client["flags"] for client in publisher.broker.client_list())


def line_of_a_server(full: bool) -> Account:
    """The line between a web process and the broker goes dead without a word while its visitors only read."""

    async def listen(reading: Server, speaking: Server, line: Line) -> tuple[Account, float]:
        async with (
            crowd(reading, 20 if full else 3, "lobby") as readers,
            crowd(speaking, 1, "lobby") as others,
        ):
            [speaker] = others
            due, heard = ["before"], [[] for _ in readers]
            await say(speaker, "before")
            await asyncio.gather(*(take(*each, "before") for each in zip(readers, heard, strict=True)))
            start = time.monotonic()
            line.suffer("dead")
            listening = [
                asyncio.create_task(take(*each, "after")) for each in zip(readers, heard, strict=True)
            ]
            while not all(heard[1:] for heard in heard):
                due.append(f"{len(due)}")
                await say(speaker, due[-1])
                await asyncio.sleep(0.5)
            took = time.monotonic() - start
            due.append("after")
            await say(speaker, "after")
            await asyncio.gather(*listening)
        sent = [(reader, text) for reader in range(len(heard)) for text in due]
        arrived = [(reader, text) for reader, texts in enumerate(heard) for text in texts]
        return Account.of(sent, arrived, allowed_lost=len(heard)), took

    with Broker() as broker, Site(STEP, broker.url, PRODUCTION) as site, Line(broker.port) as line:
        speaking = site.server("uvicorn")
        with Server(site, "uvicorn", env={"REDIS_URL": line.url}).start(PATIENCE) as reading:
            account, took = asyncio.run(listen(reading, speaking, line))
    account.note = f"no socket closed, and all heard again after {promised(took, PROMISED, 's', full)}"
    return account


async def take(socket, heard: list[str], last: str) -> None:
    """Note what a socket hears, up to a last message."""
    while not heard or heard[-1] != last:
        heard.append((await hear(socket))["message"])


FIGURES = [line_of_a_worker, line_of_a_server]
