"""Figures of the worker under fault."""

import contextlib
import random
import time
from collections.abc import Callable

from tests.promises.faults.account import Account
from tests.promises.faults.celery_helpers import ALONE, STEP, Mailbox, Publisher
from tutorial.services.broker import Broker
from tutorial.services.processes import wait_until
from tutorial.testing.site import Site, Worker

SEED = 20
# Seconds. A mail lasts long enough to be met by a kill, and not longer than its visibility timeout.
BEFORE, AFTER = 0.2, 0.05
VISIBILITY_TIMEOUT = 4
LONGEST_RUN = 1.0


def kill_workers(full: bool, report: Callable[[str], None]) -> Account:
    """A worker is killed at random moments while it sends mail, 20 times over 200 mails.

    The whole worker, with the processes of its pool, gets SIGKILL between 0 and 1 s after it has begun
    to send. Another is started at once.

    Args:
        full: Whether to kill 20 times over 200 mails; else it is 3 times over 30.
        report: Is given each line of the report.
    """
    kills, mails = (20, 200) if full else (3, 30)
    moments = random.Random(SEED)  # noqa: S311 - a stated seed makes the moments the same in each run
    start = time.monotonic()
    in_hand = 0
    with Broker() as broker, Mailbox() as mailbox, Site(STEP, broker.url) as site:
        publisher = Publisher(broker.url)
        env = mailbox.env | {"EMAIL_TIMEOUT": "2", "VISIBILITY_TIMEOUT": str(VISIBILITY_TIMEOUT)}
        with Worker(site, ALONE, env) as worker:
            mailbox.before, mailbox.after = BEFORE, AFTER
            bodies = publisher.notify_many(site.user_ids["alice"], mails)
            for _ in range(kills):
                arrived = len(mailbox.arrivals)
                worker.spawn()
                wait_until(lambda arrived=arrived: len(mailbox.arrivals) > arrived, 60, "a mail")
                time.sleep(moments.uniform(0, LONGEST_RUN))
                worker.kill()
                in_hand += publisher.held()
            worker.spawn()
            mailbox.before = mailbox.after = 0
            with contextlib.suppress(TimeoutError):
                wait_until(lambda: not mailbox.account(bodies).lost, 60, "the mails")
            publisher.wait_until_idle()
        publisher.close()
        account = mailbox.account(bodies)
    report(
        f"seed {SEED}: {kills} kills, {in_hand} tasks in hand when it struck; "
        f"{len(mailbox.arrivals)} attempts for {mails} mails in {time.monotonic() - start:.0f} s"
    )
    return account


FIGURES = [kill_workers]
