"""A broker that isn't there yet, or dies and comes back."""

from collections import Counter

import pytest

from tutorial.services.processes import PATIENCE


def test_a_worker_that_starts_before_its_broker_waits_for_it(frail_broker, publisher, make_worker):
    """With the broker down a worker keeps trying, and works when the broker is there."""
    worker = make_worker()
    frail_broker.kill()
    worker.spawn()
    worker.wait_for_output("Cannot connect to redis", PATIENCE)
    frail_broker.start()
    publisher.notify()
    worker.wait_for_output(" ready.", PATIENCE)
    publisher.settle()


def test_the_queue_survives_the_death_of_the_broker(frail_broker, publisher, make_worker):
    """Five tasks that wait when the broker is killed still wait when it is back, and then run."""
    publisher.notify_many(5)
    assert publisher.waiting() == 5
    frail_broker.kill()
    frail_broker.start()
    assert publisher.waiting() == 5
    make_worker().start(PATIENCE)
    publisher.settle()


def test_a_worker_survives_the_death_of_the_broker(frail_broker, publisher, make_worker, mailbox):
    """When the broker is killed, mails in work and in the queue are sent; only those in work may double."""
    worker = make_worker(VISIBILITY_TIMEOUT="8").start(PATIENCE)
    mailbox.stall.clear()
    publisher.notify_many(6)
    in_hand = mailbox.wait_for_arrivals(2)
    frail_broker.kill()
    mailbox.stall.set()
    worker.wait_for_output("Trying again", PATIENCE)
    frail_broker.start()
    publisher.notify_many(2)
    publisher.settle(doubled=None)
    assert {body for body, copies in Counter(mailbox.taken()).items() if copies > 1} <= set(in_hand)


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="Celery rejects a task whose retry the broker does not take, and does not put it back",
)
def test_a_retry_that_the_broker_refuses_is_not_the_end_of_a_mail(publisher, make_worker, mailbox):
    """The mail server is busy, and the broker is full: when both have room again, the mail goes out."""
    worker = make_worker().start(PATIENCE)
    mailbox.refusal = "451 later"
    mailbox.stall.clear()
    publisher.notify()
    mailbox.wait_for_arrivals(1)
    publisher.broker.config_set("maxmemory", 1)  # from now on it takes no task
    try:
        mailbox.stall.set()
        worker.wait_for_output("command not allowed", PATIENCE)
    finally:
        mailbox.refusal = None
        publisher.broker.config_set("maxmemory", 0)
    publisher.wait_until_idle()
    assert not publisher.vanished()
