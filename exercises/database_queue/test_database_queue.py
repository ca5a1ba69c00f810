"""Exercise: the notice waits in the database, as one of Django's own tasks."""

import os
import signal
import socket
import sqlite3
import sys
from contextlib import closing

import httpx
import pytest
from django.db import DatabaseError
from django.utils import timezone

from blog.models import Post
from blog.tasks import send_notification_email
from tutorial.services.ports import free_port
from tutorial.services.processes import Process, patience, wait_until
from tutorial.testing.site import Server

PATIENCE = 30  # seconds, more on a busy machine
WORKER = ["manage.py", "db_worker", "--interval", "0.1", "--no-startup-delay", "--no-reload"]
ENQUEUE = """
import sys
import django; django.setup()
from datetime import timedelta
from django.utils import timezone
from blog.tasks import send_notification_email as task
if seconds := float(sys.argv[2]):
    task = task.using(run_after=timezone.now() + timedelta(seconds=seconds))
print(task.enqueue(int(sys.argv[1]), "記事が公開されました").id)
"""
RESULT = """
import sys
import django; django.setup()
from blog.tasks import send_notification_email
result = send_notification_email.get_result(sys.argv[1])
print(result.status.value, [error.exception_class_path for error in result.errors])
"""


@pytest.fixture
def enqueue(site):
    """Queue a notice for alice, for now or for later; return the task's id."""
    return lambda seconds=0: site.run("-c", ENQUEUE, str(site.user_ids["alice"]), str(seconds)).strip()


@pytest.fixture
def states(site):
    """Return the states of all tasks in the database."""

    def states():
        with closing(sqlite3.connect(site.env["DATABASE_PATH"])) as database:
            rows = database.execute(
                "SELECT status FROM django_tasks_database_dbtaskresult ORDER BY enqueued_at"
            )
            return [state for (state,) in rows]

    return states


@pytest.fixture(autouse=True)
def empty(site):
    """Start with no task in the database."""
    with closing(sqlite3.connect(site.env["DATABASE_PATH"])) as database, database:
        found = database.execute(
            "SELECT name FROM sqlite_master WHERE name = 'django_tasks_database_dbtaskresult'"
        )
        assert found.fetchone(), "The database has no table for tasks: is django_tasks_db in INSTALLED_APPS?"
        database.execute("DELETE FROM django_tasks_database_dbtaskresult")


@pytest.fixture
def mail(mail_server):
    """The mail server, which takes every mail and has none yet."""
    mail_server.reset()
    return mail_server


@pytest.fixture
def worker(site, mail):
    """Start workers that take tasks from the database, and mail to the mail server or to another port."""
    started = []

    def worker(port=mail.port):
        env = site.env | mail.env | {"EMAIL_PORT": str(port)}
        started.append(Process([sys.executable, *WORKER], site.step, env))
        started[-1].spawn()
        return started[-1]

    yield worker
    for process in started:
        process.close()


def publish(server):
    """Publish a post as alice, and return the page that follows."""
    with httpx.Client(base_url=server.url, timeout=patience(PATIENCE), follow_redirects=True) as client:
        client.cookies.set("sessionid", server.site.sessions["alice"])
        token = {
            "csrfmiddlewaretoken": client.get("/blog/new/").text.split('name="csrfmiddlewaretoken" value="')[
                1
            ][:64]
        }
        answer = client.post("/blog/new/", data=token | {"title": "記事", "body": "本文"})
    assert answer.status_code == 200
    return answer.text


def test_a_post_queues_its_notice_in_the_database(site, states):
    """Publishing a post puts one task into the database, where it waits for a worker."""
    page = publish(site.shared_server("daphne"))
    assert "A notice about it is on its way to you by mail." in page
    assert states() == ["READY"]


def test_a_worker_mails_it(enqueue, worker, mail, site):
    """`db_worker` sends the notice, and any process can ask how the task ended."""
    task = enqueue()
    worker()
    [notice] = mail.wait_for(1, PATIENCE)
    assert (notice["To"], notice.get_content().strip()) == ("alice@example.com", "記事が公開されました")
    wait_until(lambda: "SUCCESSFUL []" in site.run("-c", RESULT, task), PATIENCE, "the task's result")


@pytest.mark.django_db(transaction=True)
def test_post_and_task_are_one_transaction(client, django_user_model, monkeypatch):
    """If the task can't be queued, the post isn't published either."""

    def fail(*args, **kwargs):
        raise DatabaseError("no room left")

    monkeypatch.setattr("django_tasks_db.backend.DatabaseBackend.enqueue", fail)
    client.raise_request_exception = False
    client.force_login(django_user_model.objects.create_user("carol", "carol@example.com"))
    assert client.post("/blog/new/", {"title": "記事", "body": "本文"}).status_code == 500
    assert not Post.objects.exists(), "The post was saved. Enqueue inside the transaction, not on commit."


def test_no_broker_is_needed(site, worker, mail):
    """With the broker down, a post is published and its notice goes out."""
    worker()
    with Server(site, "daphne", env={"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}) as server:
        server.start()
        assert "on its way" in publish(server)
    mail.wait_for(1, PATIENCE)


def test_a_busy_mail_server_gets_the_mail_later(enqueue, worker, mail, states):
    """A refusal for now (4xx) is tried again, each time as a new task with a time to wait."""
    mail.refusal = "451 come back later"
    enqueue()
    worker()
    wait_until(lambda: mail.attempts >= 2, PATIENCE, "a second attempt")
    mail.refusal = None
    mail.wait_for(1, PATIENCE)
    wait_until(lambda: set(states()) == {"SUCCESSFUL"}, PATIENCE, "the end of all tasks")
    assert len(mail.messages) == 1


@pytest.fixture
def attempt(django_user_model, monkeypatch):
    """Run the task in this process, with no mail server there, for a user with an address."""

    def refuse(*args, **kwargs):
        raise ConnectionRefusedError

    monkeypatch.setattr("django.core.mail.EmailMessage.send", refuse)
    user = django_user_model.objects.create_user("carol", "carol@example.com")
    return lambda number: send_notification_email.call(user.id, "記事が公開されました", number)


@pytest.mark.django_db
@pytest.mark.parametrize(("number", "seconds"), [(1, 1), (3, 4), (10, 60)])
def test_each_wait_is_twice_as_long(attempt, number, seconds):
    """A mail server that isn't there gets the mail later, after 1 s, 2 s, 4 s and so on, at most 60 s."""
    from django_tasks_db.models import DBTaskResult

    before = timezone.now()
    attempt(number)
    took = (timezone.now() - before).total_seconds()
    [again] = DBTaskResult.objects.all()
    waits = (again.run_after - before).total_seconds()
    assert waits >= seconds
    assert waits <= seconds + took


@pytest.mark.django_db
def test_the_last_error_fails_the_task(attempt):
    """After 20 attempts the error ends the task."""
    with pytest.raises(ConnectionRefusedError):
        attempt(20)


def test_a_final_refusal_is_not_tried_again(enqueue, worker, mail, states, site):
    """A refusal for good (5xx) ends the task as failed, and its row keeps the error."""
    mail.refusal = "550 no such mailbox"
    task = enqueue()
    worker()
    wait_until(lambda: {*states()} & {"FAILED", "SUCCESSFUL"}, PATIENCE, "the end of the task")
    assert states() == ["FAILED"], "Let the error out of the task."
    assert "smtplib.SMTPDataError" in site.run("-c", RESULT, task)
    assert mail.attempts == 1


def test_a_killed_worker_takes_its_task_with_it_until_it_is_put_back(enqueue, worker, mail, states, site):
    """A killed worker's task stays RUNNING forever; `return_tasks --after SECONDS` puts it back."""
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a mail server that never says a word
        enqueue()
        victim = worker(silent.getsockname()[1])
        wait_until(lambda: states() == ["RUNNING"], PATIENCE, "a running task")
        victim.kill()
    worker()
    enqueue()
    mail.wait_for(1, PATIENCE)
    wait_until(lambda: states() == ["RUNNING", "SUCCESSFUL"], PATIENCE, "the end of the second task")
    assert "Tasks put back: 0" in site.run("manage.py", "return_tasks", "--after", "600")
    assert "Tasks put back: 1" in site.run("manage.py", "return_tasks", "--after", "0")
    wait_until(lambda: states() == ["SUCCESSFUL", "SUCCESSFUL"], PATIENCE, "the end of the first task")
    assert len(mail.messages) == 2


def test_a_worker_that_is_asked_to_stop_finishes_its_task(enqueue, worker, mail, states):
    """After SIGTERM a worker ends its task, and takes no other."""
    mail.stall.clear()
    enqueue()
    leaving = worker()
    wait_until(lambda: mail.attempts, PATIENCE, "the first attempt")
    enqueue()
    os.kill(leaving.pid, signal.SIGTERM)
    leaving.wait_for_output("shutting down", PATIENCE)
    mail.stall.set()
    wait_until(lambda: not leaving.running, PATIENCE, "the worker's end")
    assert states() == ["SUCCESSFUL", "READY"]


def test_a_task_can_wait_for_its_time(enqueue, worker, mail, states):
    """A task with `run_after` waits, and one that comes after it goes first."""
    enqueue(seconds=3600)
    enqueue()
    worker()
    mail.wait_for(1, PATIENCE)
    wait_until(lambda: states() == ["READY", "SUCCESSFUL"], PATIENCE, "the end of the second task")
