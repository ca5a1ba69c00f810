"""Tasks that make no sense, and users who cannot be written to."""

import pytest

from tests.promises.faults.account import Account
from tests.promises.faults.celery_helpers import check
from tutorial.services.processes import wait_until

pytest_plugins = ["tests.promises.faults.celery_fixtures"]

NONSENSE = "nonsense"
MAKE_USERS = """
import django
django.setup()
from django.contrib.auth.models import User
gone = User.objects.create_user("gone", "gone@example.com")
print(gone.pk)
gone.delete()
print(User.objects.create_user("no-address").pk)
"""


@pytest.fixture(scope="module")
def unreachable(blog_site):
    """The ids of a user who is deleted and of one without an address."""
    gone, no_address = map(int, blog_site.run("-c", MAKE_USERS).split())
    return {"gone": gone, "no-address": no_address}


@pytest.fixture
def check_life(blog_site, publisher, worker, mailbox):
    """Check that a mail queued after the nonsense arrives from the same worker, and the nonsense not."""
    pid = worker.pid

    def check_life():
        body, _ = publisher.notify(blog_site.user_ids["alice"])
        mailbox.wait_for(1, 30)
        publisher.wait_until_idle()
        assert (worker.running, worker.pid) == (True, pid)
        check(mailbox.account([body, NONSENSE], refused=1), Account(sent=2, delivered=1, refused=1))

    return check_life


@pytest.mark.parametrize("who", ["gone", "no-address"])
def test_a_user_who_cannot_be_written_to_is_logged(unreachable, publisher, worker, check_life, who):
    """A notice for a user who is deleted, or has no address, ends with a line in the log."""
    _, task = publisher.notify(unreachable[who], NONSENSE)
    worker.wait_for_output(f"{task}] succeeded", 30)
    assert f"No notice for user {unreachable[who]}: deleted, or without an address." in worker.output
    check_life()


def test_an_unknown_task_is_discarded(publisher, worker, check_life):
    """A task that no worker knows is logged and discarded, and the worker goes on."""
    publisher.app.send_task("blog.tasks.send_notification_emial", args=[1, NONSENSE])
    worker.wait_for_output("Received unregistered task of type 'blog.tasks.send_notification_emial'", 30)
    check_life()


@pytest.mark.parametrize("arguments", [[], [1], [1, NONSENSE, "more"]], ids=["none", "few", "many"])
def test_a_task_with_wrong_arguments_is_discarded(publisher, worker, check_life, arguments):
    """A task with too few or too many arguments is logged as a TypeError and discarded."""
    task = publisher.app.send_task("blog.tasks.send_notification_email", args=arguments)
    worker.wait_for_output(f"{task.id}] raised unexpected: TypeError", 30)
    check_life()


def test_bytes_that_are_no_json_stop_the_worker_and_not_the_queue(blog_site, publisher, worker, mailbox):
    """Whoever can write into the broker can stop a worker; the next one works the rest of the queue off."""
    publisher.broker.lpush("celery", b"\xff\xfe")
    body, _ = publisher.notify(blog_site.user_ids["alice"])
    wait_until(lambda: not worker.running, 30, "the worker's end")
    assert "Unrecoverable error: JSONDecodeError" in worker.output
    assert (publisher.waiting(), publisher.held()) == (1, 0)
    worker.start(60)
    mailbox.wait_for(1, 30)
    publisher.wait_until_idle()
    # The bytes are gone, and the log of the first worker names them.
    check(mailbox.account([body, NONSENSE], refused=1), Account(sent=2, delivered=1, refused=1))


def test_json_that_is_no_task_is_dropped(publisher, worker, check_life):
    """An object without the fields of a task costs the worker its connection, which it makes anew."""
    publisher.broker.lpush("celery", b"{}")
    worker.wait_for_output("Connection to broker lost", 30)
    check_life()
