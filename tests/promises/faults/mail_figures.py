"""What is counted and timed in posts and mails while the broker, the worker or its process is away.

Every figure starts all it needs around the finished app. The short form is for the tests, the full one
for `make faults`, which also holds what it times against the promise.
"""

import random
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import psutil

from tests.promises.faults.account import Account, promised
from tests.promises.faults.chat import STEP
from tests.promises.faults.mail import ALONE, Author, Mailbox, Publisher
from tutorial.services.broker import Broker
from tutorial.services.processes import PATIENCE, wait_until
from tutorial.testing.site import PRODUCTION, Site, Worker

SEED = 20
# Seconds; the step's own is 120. A mail takes long enough for a kill to hit it, and no longer than this.
VISIBILITY_TIMEOUT = 4
BEFORE, AFTER, LONGEST_RUN = 0.2, 0.05, 1.0


@contextmanager
def post_office(workers: int = 1) -> Iterator[tuple[Site, Broker, Publisher, list[Worker]]]:
    """Run a broker and a mail server; yield what a figure needs, with workers not started yet."""
    with Broker() as broker, Mailbox() as mailbox, Site(STEP, broker.url, PRODUCTION) as site:
        # A worker's current mail stays there for as long as a figure needs.
        env = mailbox.env | {"EMAIL_TIMEOUT": "60", "VISIBILITY_TIMEOUT": str(VISIBILITY_TIMEOUT)}
        publisher = Publisher(broker.url, mailbox, site.user_ids["alice"])
        with ExitStack() as stack:
            stack.callback(publisher.close)
            processes = [Worker(site, (*ALONE, "-n", f"{number}@%h"), env) for number in range(workers)]
            yield site, broker, publisher, [stack.enter_context(worker) for worker in processes]


def kill_workers(full: bool) -> Account:
    """A worker is killed at random moments while it sends mail.

    The whole worker, with the processes of its pool, gets SIGKILL between 0 and 1 s after it begins to
    send. Another is started at once.
    """
    kills, mails = (20, 200) if full else (3, 30)
    moments = random.Random(SEED)  # noqa: S311 - a stated seed makes the moments the same in each run
    in_hand = 0
    with post_office() as (_, _, publisher, [worker]):
        mailbox = publisher.mailbox
        mailbox.before, mailbox.after = BEFORE, AFTER
        publisher.notify_many(mails)
        for _ in range(kills):
            arrived = len(mailbox.arrivals)
            worker.spawn()
            mailbox.wait_for_arrivals(arrived + 1)
            time.sleep(moments.uniform(0, LONGEST_RUN))
            worker.kill()
            in_hand += publisher.held()
        # The known gap: a worker that dies in the instant between taking a task and noting it down.
        gap = len(publisher.vanished())
        worker.spawn()
        mailbox.before = mailbox.after = 0
        account = publisher.settle(doubled=None, lost=gap)
        account.note = f"{kills} kills met {in_hand} tasks in hand, and {gap} in the known gap"
    return account


def redelivery(full: bool) -> Account:
    """One of two workers is killed in the middle of its mails, and the other one sends them."""
    waits = []
    with post_office(workers=2) as (_, _, publisher, workers):
        mailbox = publisher.mailbox
        for worker in workers:
            worker.start(PATIENCE)
        for victim in workers * (3 if full else 1):
            mailbox.arrivals.clear()
            mailbox.stall.clear()
            publisher.notify_many(8)
            # Each of the four processes is in the middle of a mail.
            in_hand = mailbox.wait_for_arrivals(4)
            taken = time.monotonic()
            victim.kill()
            mailbox.stall.set()

            def came_again(in_hand=in_hand) -> bool:
                return sum(mailbox.runs(body) >= 2 for body in in_hand) >= 2

            wait_until(came_again, PATIENCE, "the killed worker's two mails from the other")
            waits.append(time.monotonic() - taken - VISIBILITY_TIMEOUT)
            account = publisher.settle(doubled=None)
            victim.start(PATIENCE)
    account.note = f"{promised(max(waits), 5, 's', full)}, after the visibility timeout"
    return account


def broker_down(full: bool) -> Account:
    """Posts are published while the broker is down."""
    titles = [f"broker down {number}" for number in range(20 if full else 3)]
    seconds, told = [], 0
    with (
        post_office() as (site, broker, publisher, _),
        closing(Author(site.shared_server("uvicorn"))) as author,
    ):
        publisher.clear()
        broker.kill()
        for title in titles:
            took, response = author.publish(title)
            seconds.append(took)
            page = author.posts()
            told += response.status_code == 302 and author.warning in page and title in page
        broker.start()
        assert publisher.idle()
    note = f"kept, and the author told, after {promised(statistics.median(seconds), 0.2, 's', full)}"
    return Account(sent=len(titles), refused=told, lost=len(titles) - told, note=note)


def broker_hangs(full: bool) -> Account:
    """Posts are published while the broker hangs; it goes on, finds them in its socket, and mails go out."""
    seconds = []
    with (
        post_office() as (site, broker, publisher, [worker]),
        closing(Author(site.shared_server("uvicorn"))) as author,
    ):
        worker.start(PATIENCE)
        mailbox = publisher.mailbox
        process = psutil.Process(broker.pid)
        for number in range(3 if full else 1):
            author.publish("a connection to the broker that works")
            author.posts()
            mailbox.wait_for(2 if not number else 1, PATIENCE)
            publisher.wait_until_idle()
            mailbox.reset()
            process.suspend()
            took, response = author.publish("broker hangs")
            # The answer comes before the broker goes on, and the page says so.
            assert process.status() == psutil.STATUS_STOPPED
            process.resume()
            page = author.posts()
            assert (response.status_code, author.warning in page, "broker hangs" in page) == (302, True, True)
            seconds.append(took)
            mailbox.wait_for(1, PATIENCE)
            publisher.wait_until_idle()
            mailbox.reset()
    note = f"kept, and the author told, after {promised(max(seconds), 5, 's', full)}"
    return Account(sent=len(seconds), delivered=len(seconds), note=note)


FIGURES = [kill_workers, redelivery, broker_down, broker_hangs]
