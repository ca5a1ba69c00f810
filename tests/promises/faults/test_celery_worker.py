"""Workers that are killed, poisoned or too slow. Step 5's own tests have more of those that are killed."""

import psutil
import pytest

from tutorial.services.processes import PATIENCE, wait_until


def test_the_lock_of_a_worker_that_looks_for_lost_tasks_is_short(publisher, worker):
    """A worker that dies while it looks for lost tasks keeps the others from looking for 5 s at most."""
    with publisher.broker.monitor() as monitor:
        lock = next(
            words
            for words in (command["command"].split() for command in monitor.listen())
            if words[:2] == ["SET", "unacked_mutex"]
        )
    assert int(lock[lock.index("PX") + 1]) <= 5000


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="The Redis transport takes a task from the queue first and notes it down as taken afterwards: "
    "a worker that dies in between takes the task with it.",
)
def test_a_worker_killed_between_taking_and_noting_a_task_loses_no_mail(publisher, worker):
    """A worker that is killed before it has noted down what the broker handed it loses no mail."""
    process = psutil.Process(worker.pid)
    while True:
        process.suspend()
        wait_until(lambda: process.status() == psutil.STATUS_STOPPED, 60, "the worker's standstill")
        publisher.notify()
        if not publisher.waiting():
            break  # The broker has handed it to the stopped worker's socket.
        # The worker was stopped while it wasn't asking, or its question has expired.
        publisher.clear()
        publisher.sent.clear()
        process.resume()
    worker.kill()
    # Without a trace of it in the broker, no worker can find it.
    assert not publisher.idle()
    worker.start(PATIENCE)
    publisher.settle()


def test_a_mail_that_kills_its_process_each_time_is_given_up(publisher, make_worker, mailbox):
    """A poison task uses up its retries like any other, and the log says so; the worker goes on."""
    worker = make_worker().start(PATIENCE)
    mailbox.deadly_to = worker
    # As if it had been tried before, up to its last but one try.
    poison = publisher.notify(retries=19)
    mailbox.wait_for_run(poison, 2)
    worker.wait_for_output("raised error: WorkerLostError", PATIENCE)
    publisher.wait_until_idle()
    mailbox.deadly_to = None
    publisher.notify()
    publisher.settle(refused=1)


def test_a_task_longer_than_the_visibility_timeout_runs_again_and_again(publisher, make_worker, mailbox):
    """A mail that takes longer than the visibility timeout is sent more than once."""
    make_worker(VISIBILITY_TIMEOUT="1").start(PATIENCE)
    mailbox.stall.clear()
    body = publisher.notify()
    mailbox.wait_for_run(body, 2)
    mailbox.stall.set()
    assert publisher.settle(doubled=None).doubled >= 1
