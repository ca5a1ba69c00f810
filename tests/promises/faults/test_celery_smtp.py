"""Mail servers that refuse, stall, answer too late, hang up or drip."""

import pytest

from tests.promises.faults.account import Account
from tests.promises.faults.celery_helpers import EMAIL_TIMEOUT, check
from tutorial.services.processes import wait_until

pytest_plugins = ["tests.promises.faults.celery_fixtures"]

ONE_DELIVERED = Account(sent=1, delivered=1)


def runs(mailbox, body, count):
    """Wait until a mail has been brought so many times."""
    wait_until(lambda: mailbox.runs(body) >= count, 30, f"run {count} of the task")


def test_a_refusal_for_now_delays_a_mail(blog_site, publisher, worker, mailbox):
    """A mail server that says 451 is asked again, and the mail arrives once."""
    mailbox.refusal = "451 come back later"
    body, _ = publisher.notify(blog_site.user_ids["alice"])
    runs(mailbox, body, 2)
    mailbox.refusal = None
    mailbox.wait_for(1)
    publisher.wait_until_idle()
    check(mailbox.account([body]), ONE_DELIVERED)


@pytest.mark.parametrize("refusal", ["refusal", "recipient_refusal"])
def test_a_refusal_for_good_is_logged_and_ends_the_task(blog_site, publisher, worker, mailbox, refusal):
    """A mail server that says 550 is not asked again, and the log names the user."""
    setattr(mailbox, refusal, "550 no such mailbox")
    body, task = publisher.notify(blog_site.user_ids["bob"])
    worker.wait_for_output(f"{task}] succeeded", 30)
    publisher.wait_until_idle()
    assert f"No notice for user {blog_site.user_ids['bob']}: the mail server refuses it" in worker.output
    assert mailbox.attempts == 1
    check(mailbox.account([body], refused=1), Account(sent=1, refused=1))


def test_a_mail_server_that_stalls_costs_an_attempt_and_no_other_mail(blog_site, publisher, worker, mailbox):
    """While a mail server is silent the tasks wait; afterwards every mail arrives."""
    mailbox.stall.clear()
    bodies = publisher.notify_many(blog_site.user_ids["alice"], 3)
    wait_until(lambda: set(mailbox.arrivals) == set(bodies), 30, "an attempt for each, with two processes")
    mailbox.stall.set()
    wait_until(lambda: not mailbox.account(bodies).lost, 60, "the mails")
    publisher.wait_until_idle()
    check(mailbox.account(bodies), Account(sent=3, delivered=3))


def test_an_answer_after_the_deadline_doubles_a_mail(blog_site, publisher, worker, mailbox):
    """A mail server that takes a mail and says so too late is sent it again: the price of losing none."""
    mailbox.after = EMAIL_TIMEOUT + 10
    body, _ = publisher.notify(blog_site.user_ids["alice"])
    runs(mailbox, body, 2)
    mailbox.after = 0
    publisher.wait_until_idle()
    again = mailbox.runs(body) - 1
    assert again >= 1
    check(mailbox.account([body]), Account(sent=1, delivered=1, doubled=again))


def test_a_mail_server_that_hangs_up_gets_the_mail_later(blog_site, publisher, worker, mailbox):
    """A connection that is cut in the middle of a mail leads to another attempt."""
    mailbox.hang_up = True
    body, _ = publisher.notify(blog_site.user_ids["alice"])
    runs(mailbox, body, 2)
    mailbox.hang_up = False
    mailbox.wait_for(1)
    publisher.wait_until_idle()
    check(mailbox.account([body]), ONE_DELIVERED)


def test_a_mail_server_that_drips_costs_an_attempt_and_not_the_worker(
    blog_site, publisher, make_worker, mailbox
):
    """An answer of one byte now and then outlives every timeout of a socket, but not the time limit."""
    worker = make_worker(VISIBILITY_TIMEOUT="60").start(60)
    mailbox.drip = True
    body, task = publisher.notify(blog_site.user_ids["alice"], soft_time_limit=1)
    worker.wait_for_output(f"exceeded for blog.tasks.send_notification_email[{task}]", 30)
    wait_until(lambda: mailbox.runs(body) >= 2, 6, "the second run of the task")
    mailbox.drip = False
    mailbox.wait_for(1, 30)
    publisher.wait_until_idle()
    check(mailbox.account([body]), ONE_DELIVERED)
