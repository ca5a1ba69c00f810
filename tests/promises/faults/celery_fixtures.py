"""What the Celery fault tests start once: a broker to kill, the site, the mail server and a worker."""

import contextlib

import pytest

from tests.promises.faults.celery_helpers import (
    ALONE,
    EMAIL_TIMEOUT,
    STEP,
    VISIBILITY_TIMEOUT,
    Mailbox,
    Publisher,
)
from tutorial.services.broker import Broker
from tutorial.testing.site import Site, Worker


@pytest.fixture(scope="session")
def frail_broker():
    """A broker of our own: tests kill and stop it, and leave it running."""
    with Broker() as broker:
        yield broker


@pytest.fixture(scope="session")
def blog_site(frail_broker):
    """Step 5 with that broker."""
    with Site(STEP, frail_broker.url) as site:
        yield site


@pytest.fixture(scope="session")
def session_mailbox():
    """The one mail server."""
    with Mailbox() as mailbox:
        yield mailbox


@pytest.fixture(scope="session")
def session_worker(blog_site, session_mailbox):
    """The worker that most tests share, not started yet."""
    env = {"EMAIL_TIMEOUT": str(EMAIL_TIMEOUT), "VISIBILITY_TIMEOUT": str(VISIBILITY_TIMEOUT)}
    with Worker(blog_site, ALONE, session_mailbox.env | env) as worker:
        yield worker


@pytest.fixture
def mailbox(session_mailbox):
    """The mail server, willing and empty whatever the last test did to it."""
    session_mailbox.reset()
    yield session_mailbox
    session_mailbox.reset()


@pytest.fixture
def publisher(frail_broker, mailbox):
    """A sender of tasks. They are forgotten at its end: what a failed test leaves must not reach the next."""
    with contextlib.closing(Publisher(frail_broker.url)) as publisher:
        yield publisher
        publisher.clear()


@pytest.fixture
def worker(session_worker, publisher):
    """The shared worker, running."""
    if not session_worker.running:
        session_worker.start(60)
    return session_worker


@pytest.fixture
def make_worker(session_worker, blog_site, publisher, mailbox):
    """Make a worker with an environment of its own, in place of the shared one; it ends with the test."""
    session_worker.kill()
    publisher.clear()
    workers = []

    def make_worker(*arguments, **env):
        env = mailbox.env | {"EMAIL_TIMEOUT": str(EMAIL_TIMEOUT)} | env
        workers.append(Worker(blog_site, (*ALONE, *arguments), env))
        return workers[-1]

    yield make_worker
    for worker in workers:
        worker.kill()
        worker.close()
