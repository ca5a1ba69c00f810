"""Tasks that make no sense."""

import pytest

from tutorial.services.processes import PATIENCE, wait_until


@pytest.fixture
def same_worker(publisher, worker):
    """The shared worker; at the end, the same process sends a mail queued after the nonsense."""
    pid = worker.pid
    yield worker
    refused = len(publisher.sent)
    publisher.notify()
    publisher.settle(refused)
    assert (worker.running, worker.pid) == (True, pid)


def test_an_unknown_task_is_discarded(publisher, same_worker):
    """A task that no worker knows is logged and discarded, and the worker goes on."""
    publisher.app.send_task("blog.tasks.send_notification_emial", args=[1, "nonsense"])
    unknown = "Received unregistered task of type 'blog.tasks.send_notification_emial'"
    same_worker.wait_for_output(unknown, PATIENCE)


@pytest.mark.parametrize("arguments", [[], [1], [1, "nonsense", "more"]], ids=["none", "few", "many"])
def test_a_task_with_wrong_arguments_is_discarded(publisher, same_worker, arguments):
    """A task with too few or too many arguments is logged as a TypeError and discarded."""
    task = publisher.app.send_task("blog.tasks.send_notification_email", args=arguments)
    same_worker.wait_for_output(f"{task.id}] raised unexpected: TypeError", PATIENCE)


def test_json_that_is_no_task_is_dropped(publisher, same_worker):
    """An object without a task's fields costs the worker its connection, and it connects again."""
    publisher.broker.lpush("celery", b"{}")
    same_worker.wait_for_output("Connection to broker lost", PATIENCE)


def test_bytes_that_are_no_json_stop_the_worker_and_not_the_queue(publisher, worker):
    """Anyone with write access to the broker can stop a worker; the next one runs the rest of the queue."""
    publisher.broker.lpush("celery", b"\xff\xfe")
    publisher.notify()
    wait_until(lambda: not worker.running, 60, "the worker's end")
    # The bytes are gone, and only the log of the first worker names them.
    assert "Unrecoverable error: JSONDecodeError" in worker.output
    assert (publisher.waiting(), publisher.held()) == (1, 0)
    worker.start(PATIENCE)
    publisher.settle()
