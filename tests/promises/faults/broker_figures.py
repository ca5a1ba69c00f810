"""What is counted and timed when one of several brokers dies, and with RabbitMQ for the queue."""

import asyncio
import random
import runpy
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack, closing, suppress

import redis
from channels_redis.core import RedisChannelLayer
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from tests.promises.faults.account import Account
from tests.promises.faults.chat import STEP, closed, crowd, exchange, join, say
from tests.promises.faults.mail import ALONE, Mailbox, Publisher
from tutorial.services.broker import Broker
from tutorial.services.processes import PATIENCE, wait_until
from tutorial.testing.rabbitmq import Rabbit
from tutorial.testing.sentinel import Sentinels
from tutorial.testing.site import PRODUCTION, Server, Site, Worker

ADDRESSES = runpy.run_path(str(STEP / "config/addresses.py"))
SEED = 20


async def return_to(server: Server) -> ClientConnection:
    """Open a socket as the page does, again and again until it opens."""
    while True:
        with suppress(InvalidStatus):
            return await join(server, "failover")
        await asyncio.sleep(random.uniform(0, 0.5))  # noqa: S311 - the page's jitter


def sentinel_chat(full: bool) -> Account:
    """The primary of three brokers is killed while people chat, and Sentinel makes another one primary."""

    async def chat(sentinels: Sentinels, server: Server) -> tuple[Account, float]:
        async with crowd(server, 10 if full else 4, "failover") as sockets:
            due, arrived = await exchange(sockets, "before")
            start = time.monotonic()
            await asyncio.to_thread(sentinels.primary.kill)
            # On its way into the dying broker: its sender sees the socket close.
            with suppress(Exception):
                await say(sockets[0], "on its way")
            await asyncio.gather(*map(closed, sockets))
        back = await asyncio.gather(*(return_to(server) for _ in sockets))
        took = time.monotonic() - start
        async with AsyncExitStack() as stack:
            for socket in back:
                stack.push_async_callback(socket.close)
            more_due, more_arrived = await exchange(back, "after")
        return Account.of(due + more_due, arrived + more_arrived), took

    with Sentinels() as sentinels, Site(STEP, sentinels.url, PRODUCTION) as site:
        server = site.server("uvicorn")
        account, took = asyncio.run(chat(sentinels, server))
    account.note = f"the last socket was back after {took:.1f} s, 1 s of it Sentinel's patience"
    return account


def sentinel_mail(full: bool) -> Account:
    """The primary of three brokers is killed while tasks are queued and sent, and another one takes over."""
    count = 100 if full else 20
    with ExitStack() as stack:
        sentinels, mailbox = stack.enter_context(Sentinels()), stack.enter_context(Mailbox())
        site = stack.enter_context(Site(STEP, sentinels.url, PRODUCTION))
        env = mailbox.env | {"EMAIL_TIMEOUT": "60", "VISIBILITY_TIMEOUT": "8"}
        worker = stack.enter_context(Worker(site, ALONE, env)).start(PATIENCE)
        url, options = ADDRESSES["celery_broker"](sentinels.url)
        settings = {"broker_transport_options": options | {"socket_timeout": 1, "socket_connect_timeout": 1}}
        publisher = Publisher(url, mailbox, site.user_ids["alice"], sentinels.client(), **settings)
        stack.enter_context(closing(publisher))
        mailbox.before = 0.1
        publisher.notify_many(count)
        mailbox.wait_for_arrivals(count // 4)
        start = time.monotonic()
        sentinels.primary.kill()
        wait_until(publisher.try_to_notify, PATIENCE, "a broker that takes a task")
        took = time.monotonic() - start
        publisher.broker.close()
        publisher.broker = sentinels.client()
        # The known gap: what was queued or taken in the instant before is on no replica.
        gap = len(publisher.vanished() - set(publisher.refused))
        publisher.notify_many(count // 10)
        pid = worker.pid
        account = settle(publisher, worker, gap, supervised=True)
        ended = "; the worker ended, and was started again" if worker.pid != pid else ""
    account.note = (
        f"a task was taken again after {took:.1f} s, and {gap} had not reached the new primary{ended}"
    )
    return account


def settle(publisher: Publisher, worker: Worker, gap: int = 0, *, supervised: bool = False) -> Account:
    """Wait until each notice that the broker took is mailed and it has no task; return the account.

    Args:
        publisher: The sender of the notices.
        worker: Their worker.
        gap: How many of the notices may be lost.
        supervised: Start the worker again if it has ended: kombu may end one whose broker dies twice.

    Raises:
        TimeoutError: The broker still has a task; the text has the end of the worker's log.
    """

    def refused() -> int:
        return len(set(publisher.refused) - set(publisher.mailbox.taken()))

    def mailed() -> bool:
        if supervised and not worker.running:
            worker.start(PATIENCE)
        return publisher.account().lost <= refused() + gap

    with suppress(TimeoutError):
        wait_until(mailed, 60, "the mails")
    try:
        publisher.wait_until_idle()
    except TimeoutError as error:
        raise TimeoutError(f"{error} The worker says:\n{worker.output[-3000:]}") from None
    return publisher.account(refused(), None, gap)


def two_brokers(full: bool) -> Account:
    """One of two brokers dies: rooms are spread over both, and so are the lists of the web processes."""
    processes, rooms = (16, 64) if full else (8, 16)

    async def talk(brokers: list[Broker]) -> tuple[Account, Counter]:
        hosts = ADDRESSES["layer_hosts"](" ".join(broker.url for broker in brokers))
        # Each is one web process: it chooses for itself among the brokers.
        layers = [RedisChannelLayer(hosts=hosts) for _ in range(processes)]
        channels = [await layer.new_channel() for layer in layers]
        for room in range(rooms):
            for layer, channel in zip(layers, channels, strict=True):
                await layer.group_add(f"room{room}", channel)
        brokers[1].kill()
        due, arrived, seen = [], [], Counter()
        for room in range(rooms):
            due += [(room, listener) for listener in range(processes)]
            # From a process whose own list is on the broker that lives.
            try:
                await layers[0].group_send(f"room{room}", {"type": "chat.message", "room": room})
                seen["rooms without an error"] += 1
            except (redis.RedisError, OSError):
                seen["rooms whose sender gets an error"] += 1
        for listener, (layer, channel) in enumerate(zip(layers, channels, strict=True)):
            with suppress(redis.RedisError, OSError, TimeoutError):
                while True:
                    async with asyncio.timeout(1):
                        message = await layer.receive(channel)
                    arrived.append((message["room"], listener))
        for layer in layers:
            with suppress(redis.RedisError, OSError):
                await layer.close_pools()
        seen["processes that hear"] = len({listener for _, listener in arrived})
        return Account.of(due, arrived, allowed_lost=None), seen

    with Broker() as first, Broker() as second:
        account, seen = asyncio.run(talk([first, second]))
    account.note = ", ".join(f"{count} {what}" for what, count in sorted(seen.items()))
    return account


class RabbitPublisher(Publisher):
    """A sender of notices through RabbitMQ."""

    def idle(self) -> bool:
        """Return whether no task waits in the queue; those that a worker holds aren't seen."""
        with self.app.connection_for_write() as connection:
            return connection.default_channel.queue_declare("celery", passive=True).message_count == 0


def rabbit_kills(full: bool) -> Account:
    """With RabbitMQ's quorum queue, workers are killed while they send mail, and then the broker."""
    kills, mails = (20, 200) if full else (2, 20)
    moments = random.Random(SEED)  # noqa: S311 - a stated seed makes the moments the same in each run
    with ExitStack() as stack:
        rabbit = stack.enter_context(closing(Rabbit())).start(PATIENCE)
        broker, mailbox = stack.enter_context(Broker()), stack.enter_context(Mailbox())
        site = stack.enter_context(Site(STEP, broker.url, PRODUCTION | {"CELERY_BROKER_URL": rabbit.url}))
        worker = stack.enter_context(Worker(site, ALONE, mailbox.env | {"EMAIL_TIMEOUT": "60"}))
        settings = {
            "task_default_queue_type": "quorum",
            "broker_transport_options": {"confirm_publish": True},
        }
        others = redis.Redis.from_url(broker.url)
        publisher = RabbitPublisher(rabbit.url, mailbox, site.user_ids["alice"], others, **settings)
        stack.enter_context(closing(publisher))
        mailbox.before, mailbox.after = 0.2, 0.05
        publisher.notify_many(mails)
        for _ in range(kills):
            arrived = len(mailbox.arrivals)
            worker.spawn()
            mailbox.wait_for_arrivals(arrived + 1)
            time.sleep(moments.uniform(0, 1))
            worker.kill()
        worker.start(PATIENCE)
        start = time.monotonic()
        rabbit.kill()
        publisher.try_to_notify()
        rabbit.start(PATIENCE)
        wait_until(publisher.try_to_notify, PATIENCE, "a broker that takes a task")
        mailbox.before = mailbox.after = 0
        account = settle(publisher, worker)
        worker.stop()
        # A task that the worker still held would be back in the queue.
        assert publisher.idle()
    account.note = (
        f"{kills} kills of the worker, one of the broker, over after {time.monotonic() - start:.0f} s"
    )
    return account


FIGURES: list[Callable[[bool], Account]] = [sentinel_chat, sentinel_mail, two_brokers, rabbit_kills]
