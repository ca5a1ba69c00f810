import contextlib
import os

import pytest

from tests.promises.faults.celery_helpers import ALONE, STEP, Mailbox, Publisher
from tutorial.testing.site import Server, Site, Worker

# Seconds until a killed worker's task runs again; the step's own value is 120.
VISIBILITY_TIMEOUT = 8
# Seconds for a process to start on a busy machine.
PATIENCE = 60


@pytest.fixture(scope="session")
def site():
    """The finished app with one database and one broker for all its processes."""
    with Site(STEP, os.environ["REDIS_URL"]) as site:
        yield site


@pytest.fixture(scope="session")
def servers(site):
    """Two web processes, as in production. What kills one needs `balancer`, which starts it again."""
    with Server(site, "uvicorn") as first, Server(site, "uvicorn") as second:
        yield [first.start(PATIENCE), second.start(PATIENCE)]


@pytest.fixture(scope="module")
def mailbox():
    """The mail server of both workers."""
    with Mailbox() as mailbox:
        yield mailbox


@pytest.fixture(scope="module")
def workers(site, mailbox):
    """Two workers. Tests must leave them running."""
    # A mail in a worker's hand stays there for as long as a test needs.
    env = mailbox.env | {"EMAIL_TIMEOUT": "60", "VISIBILITY_TIMEOUT": str(VISIBILITY_TIMEOUT)}
    first, second = (Worker(site, (*ALONE, "-n", f"{name}@%h"), env) for name in ("first", "second"))
    with first, second:
        yield [first.start(PATIENCE), second.start(PATIENCE)]


@pytest.fixture
def publisher(site):
    """A sender of tasks. They are forgotten at its end: what a failed test leaves must not reach the next."""
    with contextlib.closing(Publisher(site.env["REDIS_URL"])) as publisher:
        yield publisher
        publisher.clear()
