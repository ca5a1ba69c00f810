"""What the Celery fault tests share: a mail server that misbehaves, a sender of tasks, and the account."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from email import message_from_bytes, policy
from uuid import uuid4

import httpx
import psutil
import redis
from celery import Celery

from tests.promises.faults.account import Account
from tutorial.course.steps import ROOT
from tutorial.services.processes import wait_until
from tutorial.testing.mail_server import MailServer
from tutorial.testing.site import Server, Worker

STEP = ROOT / "step05_celery"
TASK = "blog.tasks.send_notification_email"
# A worker alone need not look for others, which saves a second at its start.
ALONE = ("--without-mingle", "--without-gossip")
# Seconds. Of the worker that most tests share; the step's own values are 120 and 10.
VISIBILITY_TIMEOUT = 8
EMAIL_TIMEOUT = 1
# What is promised: a killed worker's task runs again within VISIBILITY_TIMEOUT and this many seconds.
REDELIVERY_MARGIN = 5


class Mailbox(MailServer):
    """A mail server that can also be slow, late, deadly, or gone in mid-conversation.

    Attributes:
        arrivals: The bodies of the mails that were brought, taken or not, oldest first.
        before: Seconds between the arrival of a mail and its being taken.
        after: Seconds between a mail's being taken and the answer that says so.
        hang_up: Whether it cuts the connection instead of answering a mail.
        drip: Whether it answers a mail with one byte every 0.2 s, for ever.
        deadly_to: A worker; of it, the process that brings a mail is killed before the mail is taken.
    """

    def __init__(self, port: int | None = None):
        super().__init__(port)
        self.reset()

    def reset(self) -> None:
        """Be willing again, and forget every mail."""
        self.refusal = self.recipient_refusal = None
        self.before = self.after = 0.0
        self.hang_up = self.drip = False
        self.deadly_to: Worker | None = None
        self.stall.set()
        self.attempts = 0
        self.messages, self.arrivals = [], []

    def runs(self, body: str) -> int:
        """Return how often a mail was brought, taken or not."""
        return self.arrivals.count(body)

    def copies(self, body: str) -> int:
        """Return how often a mail was taken."""
        return Counter(self._bodies())[body]

    def account(self, sent: Iterable[str], refused: int = 0) -> Account:
        """Return what became of mails.

        Args:
            sent: Their bodies, each used once.
            refused: How many of them the sender was told of, or the log names, as not delivered.
        """
        copies = Counter(self._bodies())
        counts = [copies[body] for body in sent]
        delivered = sum(1 for count in counts if count)
        return Account(
            sent=len(counts),
            delivered=delivered,
            refused=refused,
            doubled=sum(counts) - delivered,
            lost=len(counts) - delivered - refused,
            # A task runs at least once, so its mail may go out more than once.
            allowed_doubled=None,
        )

    async def handle_DATA(self, server, session, envelope) -> str:
        """Do to a mail what the attributes say. Called by aiosmtpd, whose name for it this is."""
        self.arrivals.append(body_of(envelope.content))
        if self.deadly_to:
            kill_child(self.deadly_to, session.peer[1])
            return "421 nobody is there to hear it"
        if self.hang_up:
            server.transport.abort()
            return "421 nobody is there to hear it"
        while self.drip:
            server.transport.write(b"2")
            await asyncio.sleep(0.2)
            if not self.drip:
                server.transport.abort()
                return "421 nobody is there to hear it"
        await asyncio.sleep(self.before)
        answer = await super().handle_DATA(server, session, envelope)
        await asyncio.sleep(self.after)
        return answer

    def _bodies(self) -> list[str]:
        return [message.get_content().strip() for message in self.messages]


class Publisher:
    """Puts notices into a broker as the step does, from this process and without Django.

    Args:
        url: The broker's address.
    """

    def __init__(self, url: str):
        self.app = Celery(broker=url, set_as_current=False)
        self.broker = redis.Redis.from_url(url)

    def notify(self, user_id: int, body: str | None = None, **options) -> tuple[str, str]:
        """Queue a notice; return its body, one of a kind if not given, and the task's id.

        Args:
            user_id: Whom it is for.
            body: Its text.
            options: Those of `Celery.send_task`.
        """
        body = body or uuid4().hex
        return body, self.app.send_task(TASK, args=[user_id, body], **options).id

    def notify_many(self, user_id: int, count: int) -> list[str]:
        """Queue notices and return their bodies."""
        return [self.notify(user_id)[0] for _ in range(count)]

    def waiting(self) -> int:
        """Return how many tasks wait in the queue."""
        return self.broker.llen("celery")

    def held(self) -> int:
        """Return how many tasks a worker has taken and not acknowledged yet."""
        return self.broker.hlen("unacked")

    def idle(self) -> bool:
        """Tell whether the broker holds no task, neither in the queue nor in a worker's hand."""
        with self.broker.pipeline() as look:
            return sum(look.llen("celery").hlen("unacked").execute()) == 0

    def wait_until_idle(self, timeout: float = 60) -> None:
        """Wait until the broker holds no task, ten times in a row.

        Once is not enough: a worker takes a task first and notes it down a moment later.

        Args:
            timeout: Seconds to wait.

        Raises:
            TimeoutError: It still holds one.
        """
        looks = 0

        def idle_again() -> bool:
            nonlocal looks
            looks = looks + 1 if self.idle() else 0
            return looks == 10

        wait_until(idle_again, timeout, "an empty broker")

    def clear(self) -> None:
        """Forget every task."""
        self.broker.delete("celery", "unacked", "unacked_index", "unacked_mutex")

    def close(self) -> None:
        """Close the connections."""
        self.app.close()
        self.broker.close()


class Author:
    """Somebody logged in who publishes posts over HTTP, as a browser would.

    Args:
        server: A running server of the step.
        user: A demo user.
    """

    def __init__(self, server: Server, user: str = "alice"):
        cookies = {"sessionid": server.site.sessions[user]}
        self._client = httpx.Client(base_url=server.url, cookies=cookies, timeout=60, trust_env=False)

    def publish(self, title: str) -> tuple[float, httpx.Response]:
        """Publish a post; return the seconds until the answer, and the answer, which may be a redirect."""
        self._client.get("/blog/new/").raise_for_status()
        token = self._client.cookies["csrftoken"]
        data = {"title": title, "body": "本文です。", "csrfmiddlewaretoken": token}
        start = time.perf_counter()
        response = self._client.post("/blog/new/", data=data)
        return time.perf_counter() - start, response

    def posts(self) -> str:
        """Return the page with the posts, which also shows once what the author is told."""
        return self._client.get("/blog/").raise_for_status().text

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def body_of(content: bytes) -> str:
    """Return the text of a mail as it came over the wire."""
    return message_from_bytes(content, policy=policy.default).get_content().strip()


def kill_child(worker: Worker, port: int) -> None:
    """Kill the process of a worker's pool that talks from a port of 127.0.0.1."""
    for child in psutil.Process(worker.pid).children():
        if any(connection.laddr.port == port for connection in child.net_connections()):
            child.kill()


def check(account: Account, expected: Account) -> None:
    """Fail unless an account is as expected and nothing in it is lost."""
    assert str(account) == str(expected), f"{account}; expected: {expected}"
    account.check()
