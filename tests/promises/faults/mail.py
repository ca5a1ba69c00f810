"""A mail server that misbehaves, a sender of notices that keeps count, and somebody who publishes posts."""

import asyncio
import json
import time
from email import message_from_bytes, policy
from uuid import uuid4

import httpx
import psutil
import redis
from celery import Celery
from kombu.exceptions import OperationalError

from tests.promises.faults.account import Account
from tutorial.services.processes import wait_until
from tutorial.testing.mail_server import MailServer
from tutorial.testing.site import Server, Worker

# A lone worker needn't look for others, which saves a second at its start.
ALONE = ("--without-mingle", "--without-gossip")


class Mailbox(MailServer):
    """A mail server that can be late, deadly, far too slow, or gone in mid-conversation.

    Attributes:
        arrivals: The bodies of the mails that arrived, taken or not, oldest first.
        before: Seconds between the arrival of a mail and its being taken.
        after: Seconds between a mail's being taken and the answer that says so.
        hang_up: Whether it cuts the connection instead of answering a mail.
        drip: Whether it answers a mail with one byte every 0.2 s, forever.
        deadly_to: A worker; its process that brings a mail is killed before the mail is taken.
    """

    def __init__(self, port: int | None = None):
        super().__init__(port)
        self.reset()

    def reset(self) -> None:
        """Take every mail again, and forget the old ones."""
        self.before = self.after = 0.0
        self.hang_up = self.drip = False
        self.deadly_to: Worker | None = None
        self.stall.set()
        self.messages, self.arrivals = [], []

    def runs(self, body: str) -> int:
        """Return how often a mail arrived, taken or not."""
        return self.arrivals.count(body)

    def wait_for_run(self, body: str, number: int) -> None:
        """Wait until a mail arrives for this time.

        Raises:
            TimeoutError: It arrived less often.
        """
        wait_until(lambda: self.runs(body) >= number, 60, f"run {number} of the task")

    def wait_for_arrivals(self, count: int) -> list[str]:
        """Wait until this many mails have arrived, taken or not; return their bodies.

        Raises:
            TimeoutError: There were fewer.
        """
        wait_until(lambda: len(self.arrivals) >= count, 60, f"{count} mails in hand")
        return list(self.arrivals)

    def taken(self) -> list[str]:
        """Return the bodies of the mails that were taken, oldest first."""
        return [message.get_content().strip() for message in self.messages]

    async def handle_DATA(self, server, session, envelope) -> str:
        """Do to a mail what the attributes say. Called by aiosmtpd, whose name for it this is."""
        message = message_from_bytes(envelope.content, policy=policy.default)
        self.arrivals.append(message.get_content().strip())
        if self.deadly_to:
            kill_child(self.deadly_to, session.peer[1])
            return "421 nobody is there to hear it"
        hang_up = self.hang_up or self.drip
        while self.drip:
            server.transport.write(b"2")
            await asyncio.sleep(0.2)
        if hang_up:
            server.transport.abort()
            return "421 nobody is there to hear it"
        await asyncio.sleep(self.before)
        answer = await super().handle_DATA(server, session, envelope)
        await asyncio.sleep(self.after)
        return answer


class Publisher:
    """Puts notices into a broker as the step does, without Django, and counts them.

    Args:
        url: The broker's address.
        mailbox: Where their mails should arrive.
        user_id: The user they are for.
        broker: A client of a broker that `url` alone doesn't lead to.
        options: More of Celery's settings.

    Attributes:
        sent: The bodies of the notices.
        refused: Those of the notices that the broker didn't take, as far as their sender knows.
    """

    def __init__(
        self, url: str, mailbox: Mailbox, user_id: int, broker: redis.Redis | None = None, **options
    ):
        self.app = Celery(broker=url, set_as_current=False)
        self.app.conf.update(options)
        self.broker = broker or redis.Redis.from_url(url)
        self.refused: list[str] = []
        self.mailbox, self.user_id = mailbox, user_id
        self.sent: list[str] = []

    def notify(self, *arguments: object, **options) -> str:
        """Queue a notice; return its body, which is unique and also the task's id.

        Args:
            arguments: More arguments for the task, after the user's id and the body, though it takes none.
            options: Those of `Celery.send_task`.
        """
        self.sent.append(body := uuid4().hex)
        task, words = "blog.tasks.send_notification_email", [self.user_id, body, *arguments]
        self.app.send_task(task, args=words, task_id=body, **options)
        return body

    def notify_many(self, count: int) -> list[str]:
        """Queue notices and return their bodies."""
        return [self.notify() for _ in range(count)]

    def try_to_notify(self) -> bool:
        """Queue a notice as the step's page does; return whether the broker took it."""
        try:
            self.notify(retry=True, retry_policy={"max_retries": 1, "interval_start": 0})
        except OperationalError:
            self.refused.append(self.sent[-1])
        return self.sent[-1] not in self.refused

    def waiting(self) -> int:
        """Return how many tasks wait in the queue."""
        return self.broker.llen("celery")

    def held(self) -> int:
        """Return how many tasks a worker has taken and not acknowledged yet."""
        return self.broker.hlen("unacked")

    def idle(self) -> bool:
        """Return whether the broker has no task, neither in the queue nor with a worker."""
        with self.broker.pipeline() as look:
            return sum(look.llen("celery").hlen("unacked").execute()) == 0

    def vanished(self) -> set[str]:
        """Return the bodies of the notices with neither a mail nor a task in the broker."""
        tasks = [json.loads(task) for task in self.broker.lrange("celery", 0, -1)]
        tasks += [json.loads(held)[0] for held in self.broker.hvals("unacked")]
        return set(self.sent) - set(self.mailbox.taken()) - {task["headers"]["id"] for task in tasks}

    def wait_until_idle(self) -> None:
        """Wait until the broker has no task, ten times in a row.

        Once is not enough: a worker takes a task first and notes it down a moment later.

        Raises:
            TimeoutError: It still has one.
        """
        looks = 0

        def idle_again() -> bool:
            nonlocal looks
            looks = looks + 1 if self.idle() else 0
            return looks == 10

        wait_until(idle_again, 60, "an empty broker")

    def account(self, refused: int = 0, doubled: int | None = 0, lost: int = 0) -> Account:
        """Return what has happened to the notices so far.

        Args:
            refused: How many of them the log names as not delivered.
            doubled: The highest number that may be doubled; None for any.
            lost: The highest number that may be lost.

        Raises:
            Unbalanced: A mail was taken that isn't one of them.
        """
        return Account.of(
            self.sent, self.mailbox.taken(), refused, allowed_doubled=doubled, allowed_lost=lost
        )

    def settle(self, refused: int = 0, doubled: int | None = 0, lost: int = 0) -> Account:
        """Wait until each notice is taken or refused and the broker holds none; return the account, checked.

        The arguments are those of `account`.

        Raises:
            TimeoutError: A notice was not taken, or the broker still holds one.
            Unbalanced: The account is not right.
        """
        wait_until(lambda: self.account().lost <= refused + lost, 60, "the mails")
        self.wait_until_idle()
        return self.account(refused, doubled, lost).check()

    def clear(self) -> None:
        """Forget every task."""
        self.broker.delete("celery", "unacked", "unacked_index", "unacked_mutex")

    def close(self) -> None:
        """Close the connections."""
        self.app.close()
        self.broker.close()


class Author:
    """Alice, who is logged in and publishes posts over HTTP as a browser would.

    Args:
        server: A running server of the step.

    Attributes:
        server: The same.
        notice: The body of the mail about each post.
        warning: What the page says when the notice may not have been queued.
    """

    notice = "記事が公開されました"
    warning = "Published, but the notice may not have been queued: the broker does not answer."

    def __init__(self, server: Server):
        self.server = server
        cookies = {"sessionid": server.site.sessions["alice"]}
        self._client = httpx.Client(base_url=server.url, cookies=cookies, timeout=120, trust_env=False)
        # The first post opens every connection and loads every module.
        self.publish("最初の記事")
        self.posts()

    def publish(self, title: str) -> tuple[float, httpx.Response]:
        """Publish a post; return the seconds until the answer, and the answer, which may be a redirect."""
        self._client.get("/blog/new/").raise_for_status()
        token = self._client.cookies["csrftoken"]
        data = {"title": title, "body": "本文です。", "csrfmiddlewaretoken": token}
        start = time.perf_counter()
        response = self._client.post("/blog/new/", data=data)
        return time.perf_counter() - start, response

    def posts(self) -> str:
        """Return the page with the posts, which shows the author's message once."""
        return self._client.get("/blog/").raise_for_status().text

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def kill_child(worker: Worker, port: int) -> None:
    """Kill the process of a worker's pool that talks from a port of 127.0.0.1."""
    for child in psutil.Process(worker.pid).children():
        if any(connection.laddr.port == port for connection in child.net_connections()):
            child.kill()
