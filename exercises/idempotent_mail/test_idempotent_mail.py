"""Exercise: one notice is one mail, however often its task is delivered."""

import asyncio
import re
from inspect import signature
from uuid import uuid4

import httpx
import psutil
import pytest
import redis

from blog.tasks import send_notification_email
from tutorial.services.processes import wait_until
from tutorial.testing.mail_server import MailServer

NOTICE = "記事が公開されました"


class SlowMailServer(MailServer):
    """A mail server that can take a mail and answer late, after its client has given up.

    Attributes:
        late: Whether it answers late.
    """

    late = False

    async def handle_DATA(self, server, session, envelope):
        """Take a mail at once, and say so in 3 s if `late`."""
        answer = await super().handle_DATA(server, session, envelope)
        if self.late:
            await asyncio.sleep(3)
        return answer


@pytest.fixture(scope="module")
def mail_server():
    """A real SMTP server."""
    with SlowMailServer() as mail_server:
        yield mail_server


@pytest.fixture(scope="module")
def workers(site, mail_server):
    """Two real workers. A task that isn't finished after 2 s is delivered again, to either."""
    env = mail_server.env | {"EMAIL_TIMEOUT": "600", "VISIBILITY_TIMEOUT": "2"}
    names = [("--without-mingle", "-n", f"worker{number}@%h") for number in (1, 2)]
    workers = [site.worker(env=env, arguments=name) for name in names]
    yield workers
    for worker in workers:
        worker.stop()  # or they would take the tasks of other tests


@pytest.fixture
def mail(workers, mail_server):
    """The mail server, which takes every mail and has none yet."""
    mail_server.reset()
    mail_server.late = False
    return mail_server


@pytest.fixture
def settled(site, workers):
    """Wait until all tasks are done, so that no second mail can follow."""

    def settled(*task_ids):
        def quiet():
            outputs = "".join(worker.output for worker in workers)
            done = all(outputs.count(f"[{task}] succeeded") >= task_ids.count(task) for task in task_ids)
            return done and nothing_left(site)

        wait_until(quiet, 30, "the workers to finish")

    return settled


def nothing_left(site):
    """Return whether the broker has no task queued and none unacknowledged."""
    with redis.Redis.from_url(site.env["REDIS_URL"]) as broker:
        return not broker.llen("celery") and not broker.llen("late") and not broker.hlen("unacked")


@pytest.fixture
def publish(site):
    """Publish the task for alice, or for another user, and return its id."""

    def publish(task_id=None, notice=None, user="alice", queue="celery"):
        arguments, named = (site.user_ids[user], NOTICE), {"notice": notice} if notice else {}
        return send_notification_email.apply_async(arguments, named, task_id=task_id, queue=queue).id

    return publish


def accepts_a_notice():
    """Return whether the task takes the name of a notice."""
    return "notice" in signature(send_notification_email.run).parameters


def test_a_task_delivered_twice_sends_one_mail(mail, publish, settled):
    """The same task (by its id) twice in the queue sends one mail."""
    task_id = str(uuid4())
    settled(publish(task_id), publish(task_id))
    assert len(mail.messages) == 1


def test_a_task_longer_than_the_visibility_timeout_sends_one_mail(mail, publish, settled, workers):
    """A task that runs longer than the visibility timeout is delivered again, and sends one mail."""
    mail.stall.clear()
    task = publish()
    wait_until(lambda: mail.attempts, 20, "the first attempt")
    again = f"[{task}] received"
    wait_until(lambda: sum(w.output.count(again) for w in workers) >= 3, 30, "two more deliveries")
    mail.stall.set()
    settled(task)
    assert (len(mail.messages), mail.attempts) == (1, 1)


def test_two_tasks_about_one_notice_send_one_mail(mail, publish, settled):
    """Two tasks with the same notice="…" are one mail, even when they run at the same time."""
    assert accepts_a_notice(), "send_notification_email takes no argument `notice` yet."
    notice = f"post-{uuid4()}"
    mail.stall.clear()
    tasks = [publish(notice=notice) for _ in range(3)]
    wait_until(lambda: mail.attempts, 20, "the first attempt")
    mail.stall.set()
    settled(*tasks)
    assert len(mail.messages) == 1


def test_different_notices_and_different_users_are_mailed_each(mail, publish, settled):
    """Another notice, another user and another task with the same text each send a mail of their own."""
    assert accepts_a_notice(), "send_notification_email takes no argument `notice` yet."
    notice = f"post-{uuid4()}"
    settled(publish(notice=notice), publish(notice=notice, user="bob"), publish(notice=f"{notice}b"))
    settled(publish(), publish())
    assert len(mail.messages) == 5


def test_a_published_post_is_named_in_its_notice(mail, publish, settled, site):
    """The view publishes with notice="post-ID", so that a repeated task about that post sends no mail."""
    server = site.shared_server("daphne")
    with httpx.Client(base_url=server.url, cookies={"sessionid": site.sessions["alice"]}) as client:
        form = client.get("/blog/new/").text
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)[1]
        post = {"csrfmiddlewaretoken": token, "title": "記事", "body": "本文"}
        assert client.post("/blog/new/", data=post).status_code == 302
    mail.wait_for(1)
    post_id = site.run("-c", LAST_POST).strip()
    assert accepts_a_notice(), "send_notification_email takes no argument `notice` yet."
    settled(publish(notice=f"post-{post_id}"))
    assert len(mail.messages) == 1


LAST_POST = "import django; django.setup(); from blog.models import Post; print(Post.objects.latest('pk').pk)"


def test_a_refusal_for_now_frees_the_notice(mail, publish, settled):
    """A busy mail server gets the mail later: a failed attempt gives its claim back."""
    mail.refusal = "451 come back later"
    task = publish(str(uuid4()))
    wait_until(lambda: mail.attempts >= 2, 20, "a second attempt")
    mail.refusal = None
    settled(task)
    assert len(mail.messages) == 1


def test_the_claim_of_a_dead_process_runs_out(mail, publish, settled, workers):
    """When the process that sends is killed, another sends the mail: nothing is lost."""
    mail.stall.clear()
    task = publish()
    wait_until(lambda: mail.attempts, 20, "the first attempt")
    for child in [child for worker in workers for child in psutil.Process(worker.pid).children()]:
        if any(connection.raddr[1:] == (mail.port,) for connection in child.net_connections()):
            child.kill()
    mail.stall.set()
    settled(task)
    # Two, if the mail server hasn't noticed yet that the killed process is gone, and takes its mail as well.
    assert len({message["Message-ID"] for message in mail.messages}) == 1


def test_a_late_answer_leads_to_mails_that_a_mailbox_can_tell_are_one(site, mail, publish):
    """A server that takes a mail and answers too late gets it again, with the same Message-ID."""
    mail.late = True
    with site.worker(
        env=mail.env | {"EMAIL_TIMEOUT": "1"}, arguments=("-Q", "late", "-n", "late@%h")
    ) as impatient:
        task = publish(queue="late")
        wait_until(lambda: len(mail.messages) >= 2, 30, "the second attempt")
        mail.late = False
        wait_until(lambda: f"[{task}] succeeded" in impatient.output, 30, "the task's end")
    identities = {message["Message-ID"] for message in mail.messages}
    print(f"\nanswered late: mails {len(mail.messages)}, identities {len(identities)}")
    assert len(identities) == 1
