"""A broker that is not there yet, dies and comes back, or is handed nonsense."""

from tests.promises.faults.account import Account
from tests.promises.faults.celery_helpers import check
from tutorial.services.processes import wait_until

pytest_plugins = ["tests.promises.faults.celery_fixtures"]


def test_a_worker_that_starts_before_its_broker_waits_for_it(
    blog_site, frail_broker, publisher, make_worker, mailbox
):
    """With the broker down a worker tries again, and works when the broker is there."""
    worker = make_worker()
    frail_broker.kill()
    try:
        worker.spawn()
        worker.wait_for_output("Cannot connect to redis", 60)
    finally:
        frail_broker.start()
    body, _ = publisher.notify(blog_site.user_ids["alice"])
    worker.wait_for_output(" ready.", 60)
    mailbox.wait_for(1, 30)
    publisher.wait_until_idle()
    check(mailbox.account([body]), Account(sent=1, delivered=1))


def test_the_queue_survives_the_death_of_the_broker(blog_site, frail_broker, publisher, make_worker, mailbox):
    """Five tasks that wait when the broker is killed still wait when it is back, and are worked off."""
    bodies = publisher.notify_many(blog_site.user_ids["alice"], 5)
    assert publisher.waiting() == 5
    frail_broker.kill()
    frail_broker.start()
    assert publisher.waiting() == 5
    make_worker().start(60)
    mailbox.wait_for(5, 30)
    publisher.wait_until_idle()
    check(mailbox.account(bodies), Account(sent=5, delivered=5))


def test_a_worker_survives_the_death_of_the_broker(blog_site, frail_broker, publisher, worker, mailbox):
    """Mails in hand and in the queue when the broker is killed are sent; those in hand may double."""
    mailbox.stall.clear()
    bodies = publisher.notify_many(blog_site.user_ids["alice"], 6)
    wait_until(lambda: len(mailbox.arrivals) >= 2, 30, "two mails in hand")
    frail_broker.kill()
    mailbox.stall.set()
    worker.wait_for_output("Trying again", 30)
    frail_broker.start()
    bodies += publisher.notify_many(blog_site.user_ids["bob"], 2)
    wait_until(lambda: not mailbox.account(bodies).lost, 60, "the mails")
    publisher.wait_until_idle()
    account = mailbox.account(bodies)
    check(account, Account(sent=8, delivered=8, doubled=account.doubled))
    assert account.doubled <= 2
