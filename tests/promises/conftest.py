import contextlib
import os

import pytest
from playwright.async_api import expect

from tests.promises.faults.mail import Mailbox, Publisher
from tutorial.course.steps import find_step
from tutorial.services.processes import PATIENCE
from tutorial.testing.site import PRODUCTION, Site

# Milliseconds. A test run shares its cores with others: this isn't a promise.
expect.set_options(timeout=PATIENCE * 1000)


@pytest.fixture(scope="session")
def site():
    """The finished app as in production, with its own database and two demo users, alice and bob."""
    with Site(find_step("5"), os.environ["REDIS_URL"], PRODUCTION) as site:
        yield site


@pytest.fixture(scope="session")
def session_mailbox():
    """The one mail server."""
    with Mailbox() as mailbox:
        yield mailbox


@pytest.fixture
def mailbox(session_mailbox):
    """The mail server, which takes every mail and has none, whatever the last test did."""
    session_mailbox.reset()
    yield session_mailbox
    session_mailbox.reset()


@pytest.fixture
def publisher(site, mailbox):
    """A sender of notices. At its end they're forgotten, so that a failed test's don't reach others."""
    queue = Publisher(site.env["REDIS_URL"], mailbox, site.user_ids["alice"])
    with contextlib.closing(queue) as publisher:
        yield publisher
        publisher.clear()
