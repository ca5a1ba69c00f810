import contextlib
import os

import pytest
from playwright.async_api import expect

from tests.promises.faults.mail import Mailbox, Publisher
from tutorial.course.steps import find_step
from tutorial.services.processes import PATIENCE
from tutorial.testing.postgres import NoPostgres, Postgres
from tutorial.testing.site import PRODUCTION, Site

# Milliseconds. A test run shares its cores with others: this isn't a promise.
expect.set_options(timeout=PATIENCE * 1000)


@pytest.fixture(scope="session")
def session_postgres():
    """The PostgreSQL server of the run, or the reason why there is none."""
    try:
        postgres = Postgres()
    except NoPostgres as reason:
        yield reason
        return
    with postgres:
        yield postgres


@pytest.fixture
def postgres(session_postgres):
    """The PostgreSQL server of the run. Tests must leave it running."""
    if isinstance(session_postgres, NoPostgres):
        pytest.skip(str(session_postgres))
    return session_postgres


@pytest.fixture(scope="session")
def production_env(session_postgres):
    """The variables of the finished app in production, with a database on PostgreSQL if that runs here."""
    if isinstance(session_postgres, NoPostgres):
        return PRODUCTION
    return PRODUCTION | {"DATABASE_URL": session_postgres.create("site")}


@pytest.fixture(scope="session")
def site(production_env):
    """The finished app as in production, with its own database and two demo users, alice and bob."""
    with Site(find_step("5"), os.environ["REDIS_URL"], production_env) as site:
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
