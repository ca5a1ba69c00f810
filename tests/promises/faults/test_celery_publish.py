"""Publishing while the broker is down or hangs, and publishing that comes to nothing."""

import contextlib
import os
import signal
import sqlite3
import threading

import pytest

from tests.promises.faults.account import Account
from tests.promises.faults.celery_helpers import Author, Publisher, check
from tutorial.services.processes import NotStarted, wait_until

pytest_plugins = ["tests.promises.faults.celery_fixtures"]

NOTICE = "記事が公開されました"
TOLD = "Published, but the notice may not have been queued: the broker does not answer."
# Promised, in seconds from the form's submission to the answer.
WHILE_DOWN = 0.2
WHILE_HUNG = 5.0


@pytest.fixture(scope="module")
def author(blog_site, frail_broker):
    """Alice, who has published a first post, so that every connection is open and every module imported."""
    with contextlib.closing(Author(blog_site.server("uvicorn"))) as author:
        author.publish("最初の記事")
        author.posts()
        with contextlib.closing(Publisher(frail_broker.url)) as publisher:
            publisher.clear()
        yield author


def commit_waits(site):
    """Tell whether a commit waits for somebody who reads: SQLite then lets no new reader in."""
    # In a process of its own, because SQLite does not lock a process out that reads already.
    read = "sqlite3.connect(os.environ['DATABASE_PATH'], timeout=0).execute('SELECT id FROM blog_post')"
    try:
        site.run("-c", f"import os, sqlite3; {read}")
    except NotStarted as error:
        return "database is locked" in str(error)
    return False


@pytest.fixture
def database(blog_site):
    """The site's database, opened beside it."""
    with contextlib.closing(
        sqlite3.connect(blog_site.env["DATABASE_PATH"], isolation_level=None)
    ) as database:
        yield database


def test_while_the_broker_refuses_a_post_is_kept_and_the_author_told_at_once(author, frail_broker, publisher):
    """With the broker down publishing answers within 0.2 s, keeps the post, and says what is missing."""
    frail_broker.kill()
    try:
        titles = [f"broker down {number}" for number in range(5)]
        seconds, told = [], 0
        for title in titles:
            took, response = author.publish(title)
            seconds.append(took)
            page = author.posts()
            told += response.status_code == 302 and TOLD in page and title in page
    finally:
        frail_broker.start()
    # The margin: the fastest of five counts. A busy machine delays some, a wait in the code delays all.
    assert min(seconds) <= WHILE_DOWN, seconds
    assert publisher.idle()
    check(Account(sent=5, refused=told, lost=5 - told), Account(sent=5, refused=5))


def test_while_the_broker_hangs_a_post_is_kept_and_the_author_told(
    author, frail_broker, publisher, worker, mailbox
):
    """With the broker hung publishing answers within 5 s; what it was sent arrives when it goes on."""
    author.publish("a connection to the broker that works")
    author.posts()
    mailbox.wait_for(1, 30)
    publisher.wait_until_idle()
    mailbox.reset()
    os.kill(frail_broker.pid, signal.SIGSTOP)
    try:
        seconds, response = author.publish("broker hangs")
    finally:
        os.kill(frail_broker.pid, signal.SIGCONT)
    page = author.posts()
    assert (response.status_code, TOLD in page, "broker hangs" in page) == (302, True, True)
    assert seconds <= WHILE_HUNG
    # The broker finds the task in its socket, and the author gets the mail all the same.
    mailbox.wait_for(1, 30)
    body, _ = publisher.notify(1)
    mailbox.wait_for(2, 30)
    publisher.wait_until_idle()
    check(mailbox.account([NOTICE, body]), Account(sent=2, delivered=2))


def test_a_notice_waits_for_a_late_commit(author, blog_site, database, publisher, worker, mailbox):
    """While the commit of a post waits for the database there is no task; afterwards the mail arrives."""
    answers = []
    publishing = threading.Thread(target=lambda: answers.append(author.publish("late commit")))
    # A reader in mid-transaction holds every commit up, for as long as Django waits for SQLite: 5 s.
    database.execute("BEGIN")
    database.execute("SELECT count(*) FROM blog_post").fetchall()
    publishing.start()
    try:
        wait_until(lambda: commit_waits(blog_site), 30, "the server's commit")
        assert (publisher.idle(), mailbox.arrivals) == (True, [])
    finally:
        database.execute("COMMIT")
        publishing.join(30)
    mailbox.wait_for(1, 30)
    publisher.wait_until_idle()
    assert "late commit" in author.posts()
    check(mailbox.account([NOTICE]), Account(sent=1, delivered=1))


def test_a_post_that_is_rolled_back_sends_no_mail(author, database, publisher, worker, mailbox):
    """When the commit of a post fails there is no post and no mail about it."""
    # The foreign key is looked at when the transaction commits, after the task was handed to the database.
    database.executescript(
        """
        CREATE TRIGGER unknown_author AFTER INSERT ON blog_post WHEN NEW.title = 'rolled back'
        BEGIN UPDATE blog_post SET author_id = 999999 WHERE id = NEW.id; END;
        """
    )
    _, response = author.publish("rolled back")
    assert response.status_code == 500
    assert "FOREIGN KEY constraint failed" in response.text
    assert "rolled back" not in author.posts()
    author.publish("committed")
    mailbox.wait_for(1, 30)
    publisher.wait_until_idle()
    check(mailbox.account([NOTICE]), Account(sent=1, delivered=1))
