"""Posts whose commit is late or fails. The figures have a broker that is down or hangs."""

import contextlib
import threading

import psycopg
import pytest

from tests.promises.faults.mail import Author
from tutorial.services.processes import wait_until

# Called at the commit: a transaction with such a post waits for a lock, as for a slow disk.
LATE = """
CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON blog_post DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.title = 'late commit') EXECUTE FUNCTION late();
"""
# The foreign key is checked at the commit, after the task was registered for it.
UNKNOWN_AUTHOR = """
CREATE FUNCTION unknown_author() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.author_id = 999999; RETURN NEW; END $$;
CREATE TRIGGER unknown_author BEFORE INSERT ON blog_post
    FOR EACH ROW WHEN (NEW.title = 'rolled back') EXECUTE FUNCTION unknown_author();
"""


@pytest.fixture
def author(site, publisher, worker, mailbox):
    """Alice, whose first post is on its way by mail."""
    with contextlib.closing(Author(site.shared_server("uvicorn"))) as author:
        mailbox.wait_for(1, 60)
        publisher.wait_until_idle()
        mailbox.reset()
        yield author


@pytest.fixture
def database(postgres):
    """The site's database, opened beside it. What a test makes in it is dropped."""
    with psycopg.connect(postgres.url("site"), autocommit=True) as database:
        yield database
        database.execute("DROP FUNCTION IF EXISTS late, unknown_author CASCADE")


def test_a_notice_waits_for_a_late_commit(database, author, publisher, mailbox):
    """While a post's commit waits for the database there is no task; afterwards the mail arrives."""
    database.execute(LATE)
    publishing = threading.Thread(target=author.publish, args=["late commit"])
    database.execute("SELECT pg_advisory_lock(1)")
    publishing.start()
    try:
        waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        wait_until(lambda: database.execute(waits).fetchall(), 60, "the server's commit")
        assert (publisher.idle(), mailbox.arrivals) == (True, [])
    finally:
        database.execute("SELECT pg_advisory_unlock(1)")
        publishing.join()
    publisher.sent.append(author.notice)
    publisher.settle()
    assert "late commit" in author.posts()


def test_a_post_that_is_rolled_back_sends_no_mail(database, author, publisher):
    """If a post's commit fails, there is no post and no mail about it."""
    database.execute(UNKNOWN_AUTHOR)
    _, response = author.publish("rolled back")
    assert response.status_code == 500
    author.server.wait_for_output("violates foreign key constraint")
    assert "rolled back" not in author.posts()
    author.publish("committed")
    publisher.sent.append(author.notice)
    publisher.settle()
