"""Mail servers that answer too late, hang up or drip. Step 5's own tests have those that refuse or stall."""

from tutorial.services.processes import PATIENCE


def test_an_answer_after_the_deadline_doubles_a_mail(publisher, worker, mailbox):
    """A mail server that takes a mail and says so too late gets it again: the price of losing none."""
    mailbox.after = 60
    body = publisher.notify()
    mailbox.wait_for_run(body, 2)
    mailbox.after = 0
    assert publisher.settle(doubled=None).doubled >= 1


def test_a_mail_server_that_hangs_up_gets_the_mail_later(publisher, worker, mailbox):
    """A connection that is cut in the middle of a mail leads to another attempt."""
    mailbox.hang_up = True
    body = publisher.notify()
    mailbox.wait_for_run(body, 2)
    mailbox.hang_up = False
    publisher.settle()


def test_a_mail_server_that_drips_costs_an_attempt_and_not_the_worker(publisher, make_worker, mailbox):
    """An answer of one byte now and then outlives every timeout of a socket, but not the time limit."""
    worker = make_worker(EMAIL_TIMEOUT="1").start(PATIENCE)
    mailbox.drip = True
    body = publisher.notify(soft_time_limit=1)
    worker.wait_for_output(f"exceeded for blog.tasks.send_notification_email[{body}]", PATIENCE)
    mailbox.wait_for_run(body, 2)
    mailbox.drip = False
    publisher.settle()
