"""Posts whose commit is late or fails. The figures have a broker that is down or hangs."""

import contextlib
import copy
import sqlite3
import threading

import pytest

from tests.promises.faults.mail import Author
from tutorial.services.processes import NotStarted, wait_until

# A commit waits for a reader for as long as it takes; Django's own limit is 5 s.
PATIENT = 'from config.production import *\nDATABASES["default"]["OPTIONS"] = {"timeout": 600}\n'


@pytest.fixture
def author(site, publisher, worker, mailbox, tmp_path):
    """Alice, whose first post is on its way by mail."""
    (tmp_path / "patient.py").write_text(PATIENT)
    patient = copy.copy(site)
    patient.env = site.env | {"DJANGO_SETTINGS_MODULE": "patient", "PYTHONPATH": str(tmp_path)}
    with patient.server("uvicorn") as server, contextlib.closing(Author(server)) as author:
        mailbox.wait_for(1, 60)
        publisher.wait_until_idle()
        mailbox.reset()
        yield author


@pytest.fixture
def database(site):
    """The site's database, opened beside it."""
    with contextlib.closing(sqlite3.connect(site.env["DATABASE_PATH"], isolation_level=None)) as database:
        yield database


def commit_waits(site):
    """Return whether a commit waits for a reader: SQLite then lets no new reader in."""
    # In a process of its own, because SQLite doesn't lock out a process that is already reading.
    read = "sqlite3.connect(os.environ['DATABASE_PATH'], timeout=0).execute('SELECT id FROM blog_post')"
    try:
        site.run("-c", f"import os, sqlite3; {read}")
    except NotStarted as error:
        return "database is locked" in str(error)
    return False


def test_a_notice_waits_for_a_late_commit(author, site, database, publisher, mailbox):
    """While a post's commit waits for the database there is no task; afterwards the mail arrives."""
    publishing = threading.Thread(target=author.publish, args=["late commit"])
    # A reader in mid-transaction holds up every commit.
    database.execute("BEGIN")
    database.execute("SELECT count(*) FROM blog_post").fetchall()
    publishing.start()
    try:
        wait_until(lambda: commit_waits(site), 60, "the server's commit")
        assert (publisher.idle(), mailbox.arrivals) == (True, [])
    finally:
        database.execute("COMMIT")
        publishing.join()
    publisher.sent.append(author.notice)
    publisher.settle()
    assert "late commit" in author.posts()


def test_a_post_that_is_rolled_back_sends_no_mail(author, database, publisher):
    """If a post's commit fails, there is no post and no mail about it."""
    # The foreign key is checked at the commit, after the task was registered for it.
    database.executescript(
        """
        CREATE TRIGGER unknown_author AFTER INSERT ON blog_post WHEN NEW.title = 'rolled back'
        BEGIN UPDATE blog_post SET author_id = 999999 WHERE id = NEW.id; END;
        """
    )
    _, response = author.publish("rolled back")
    assert response.status_code == 500
    author.server.wait_for_output("FOREIGN KEY constraint failed")
    assert "rolled back" not in author.posts()
    author.publish("committed")
    publisher.sent.append(author.notice)
    publisher.settle()
