"""Step 5: mail goes out in the background, and none is lost."""

import os
import re
import secrets
import signal
import subprocess
import sys
from uuid import uuid4

import httpx
import psutil
import pytest
import redis
from celery.exceptions import SoftTimeLimitExceeded
from django.db import OperationalError
from django.urls import reverse
from playwright.async_api import expect

from blog.forms import PostForm
from blog.models import Post
from blog.tasks import send_notification_email
from tutorial.services.processes import wait_until
from tutorial.testing.mail_server import MailServer
from tutorial.testing.site import Server

POST = {"title": "最初の記事", "body": "本文です。"}
NOTICE = "記事が公開されました"
PRODUCTION = {
    "DJANGO_SETTINGS_MODULE": "config.production",
    "SECRET_KEY": secrets.token_urlsafe(50),
    "ALLOWED_HOSTS": "127.0.0.1",
}


@pytest.fixture(scope="module")
def worker(site, mail_server):
    """A real worker that sends through a real SMTP server."""
    env = mail_server.env | {"EMAIL_TIMEOUT": "60", "VISIBILITY_TIMEOUT": "8"}
    return site.worker(env=env, arguments=("--without-mingle",))


@pytest.fixture
def mail(worker, mail_server):
    """The mail server, willing again whatever the last test made it do, with the worker running."""
    mail_server.reset()
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as broker:
        if not worker.running:
            broker.delete("celery", "unacked", "unacked_index")
            worker.start()
        wait_until(lambda: not broker.exists("celery", "unacked"), 20, "the end of the last test's tasks")
    mail_server.reset()
    return mail_server


@pytest.fixture
def queue(site):
    """The tasks that wait in the broker, which no worker takes; emptied before and after the test."""
    site.stop_workers()
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as broker:
        broker.delete("celery")
        yield lambda: broker.llen("celery")
        broker.delete("celery")


@pytest.fixture
def author(client, django_user_model):
    """A logged-in user with an address."""
    user = django_user_model.objects.create_user("花子", "hanako@example.com")
    client.force_login(user)
    return user


def texts(messages):
    """Return the bodies of mails."""
    return [message.get_content().strip() for message in messages]


async def publish(page, server):
    """Write a post in a browser."""
    await page.goto(f"{server.url}/blog/new/")
    await page.get_by_label("Title").fill(POST["title"])
    await page.get_by_label("Body").fill(POST["body"])
    await page.get_by_role("button", name="Publish").click()


async def test_a_post_is_published_and_a_worker_sends_the_mail(open_page, site, mail):
    """Publishing a post shows it in the list, and the notice arrives by mail from the worker."""
    server = site.shared_server("runserver")
    page = await open_page(server.url, "alice")
    await publish(page, server)
    await expect(page.get_by_role("status")).to_contain_text("Published. A notice about it is on its way")
    await expect(page.get_by_role("heading", name=POST["title"])).to_be_visible()
    [message] = mail.wait_for(1)
    assert (message["To"], message["From"]) == ("alice@example.com", "noreply@example.com")
    assert (message["Subject"], *texts([message])) == ("通知", NOTICE)


async def test_without_a_broker_the_post_is_kept_and_the_author_told(open_page, site, unused_port):
    """With the broker down the post is saved anyway, and the page says that the notice may be missing."""
    site_env, site.env = site.env, site.env | {"REDIS_URL": f"redis://127.0.0.1:{unused_port}"}
    server = site.server("runserver")
    site.env = site_env
    page = await open_page(server.url, "bob")
    await publish(page, server)
    await expect(page.get_by_role("status")).to_contain_text("the notice may not have been queued")
    await expect(page.get_by_text(f"{POST['title']} bob")).to_be_visible()


@pytest.mark.django_db
def test_the_notice_is_queued_when_the_post_is_committed(
    client, author, queue, django_capture_on_commit_callbacks
):
    """The task enters the queue after the commit, not before."""
    with django_capture_on_commit_callbacks() as callbacks:
        response = client.post(reverse("blog:create_post"), POST)
    assert response.url == reverse("blog:post_list")
    assert (len(callbacks), queue()) == (1, 0)
    callbacks[0]()
    assert queue() == 1


@pytest.mark.django_db(transaction=True)
def test_no_notice_is_queued_for_a_post_that_is_rolled_back(client, author, queue, monkeypatch):
    """When saving fails half-way there is no post, and no mail about it either."""

    def save_and_fail(form):
        form.instance.save()
        raise RuntimeError("after the post was saved")

    monkeypatch.setattr(PostForm, "save", save_and_fail)
    with pytest.raises(RuntimeError):
        client.post(reverse("blog:create_post"), POST)
    assert (Post.objects.count(), queue()) == (0, 0)


@pytest.mark.django_db
@pytest.mark.parametrize(("address", "says"), [("a@example.com", "on its way"), ("", "has no address")])
def test_the_page_promises_a_mail_only_to_an_address(client, author, queue, address, says):
    """An author whose account has no address reads that no notice is sent."""
    author.email = address
    author.save()
    assert says in client.post(reverse("blog:create_post"), POST, follow=True).text


@pytest.mark.django_db
@pytest.mark.parametrize("fault", [{"title": ""}, {"body": " "}, {"title": "x" * 201}])
def test_an_invalid_post_is_explained_and_kept_in_the_form(client, author, fault):
    """The form comes back with the reason and with what was typed."""
    response = client.post(reverse("blog:create_post"), POST | fault)
    assert response.status_code == 200
    assert "errorlist" in response.text
    assert (POST["title"] in response.text) or ("title" in fault)
    assert not Post.objects.exists()


def test_writing_needs_a_login(client):
    """A visitor who isn't logged in is sent to the login page."""
    assert client.get(reverse("blog:create_post")).url == "/login/?next=/blog/new/"


@pytest.mark.django_db
def test_markup_in_a_post_stays_text(client, author):
    """HTML in a title or body is escaped."""
    Post.objects.create(author=author, title="<script>1</script>", body="<b>2</b>")
    page = client.get(reverse("blog:post_list")).text
    assert "&lt;script&gt;1" in page
    assert "<b>2" not in page


def test_a_mail_server_that_is_busy_gets_the_mail_later(site, mail, worker):
    """A refusal for now (4xx) leads to another attempt, and the mail arrives."""
    text = f"{NOTICE} {uuid4()}"
    mail.refusal = "451 come back later"
    task = send_notification_email.delay(site.user_ids["alice"], text)
    ended = ("raised", "succeeded")
    wait_until(lambda: mail.attempts >= 2 or worker.end_of(task.id) in ended, what="a second attempt")
    assert mail.attempts >= 2
    mail.refusal = None
    mail.wait_for(1)
    assert texts(mail.messages) == [text]


def test_a_mail_server_that_stalls_does_not_block_the_worker(site, mail, worker):
    """A mail server that takes a mail and never answers costs one attempt, not the worker."""
    worker.stop()
    with site.worker(env=mail.env | {"EMAIL_TIMEOUT": "1"}, arguments=("--without-mingle",)):
        mail.stall.clear()
        send_notification_email.delay(site.user_ids["alice"], "first")
        wait_until(lambda: mail.attempts >= 2, what="a second attempt")
        mail.stall.set()
        mail.wait_for(1)
    assert set(texts(mail.messages)) == {"first"}


def test_a_mail_server_that_is_not_there_yet_gets_the_mail_later(site, worker, unused_port):
    """While nothing listens on the mail server's port the task is tried again, and the mail arrives."""
    worker.stop()
    env = {"EMAIL_HOST": "127.0.0.1", "EMAIL_PORT": str(unused_port)}
    with site.worker(env=env, arguments=("--without-mingle",)) as early_worker:
        send_notification_email.delay(site.user_ids["bob"], NOTICE)
        early_worker.wait_for_output("Retry in")
        with MailServer(unused_port) as late_server:
            [message] = late_server.wait_for(1)
    assert message["To"] == "bob@example.com"


@pytest.mark.parametrize("refusal", ["refusal", "recipient_refusal"])
def test_a_final_refusal_is_logged_and_not_tried_again(site, mail, worker, refusal):
    """A refusal for good (5xx), of the mail or its recipient, ends the task with a line in the log."""
    setattr(mail, refusal, "550 no such mailbox")
    task = send_notification_email.delay(site.user_ids["alice"], NOTICE)
    assert wait_until(lambda: worker.end_of(task.id), what="the task's end") == "succeeded"
    assert "the mail server refuses it" in worker.output
    assert mail.attempts == 1


def test_a_user_who_is_gone_is_logged_and_not_tried_again(site, mail, worker):
    """A deleted user ends the task with a line in the log, not with an exception."""
    task = send_notification_email.delay(999_999, NOTICE)
    assert wait_until(lambda: worker.end_of(task.id), what="the task's end") == "succeeded"
    assert "No notice for user 999999" in worker.output


@pytest.mark.django_db
def test_a_user_without_an_address_gets_no_mail(django_user_model, caplog, mailoutbox):
    """A user without an address ends the task with a line in the log."""
    user = django_user_model.objects.create_user("no-address")
    send_notification_email(user.pk, NOTICE)
    assert f"No notice for user {user.pk}" in caplog.text
    assert mailoutbox == []


def test_a_mail_survives_the_death_of_the_process_that_sends_it(site, mail, worker):
    """When the worker's child process is killed in mid-task, the task is queued and run again."""
    mail.stall.clear()
    task = send_notification_email.delay(site.user_ids["alice"], NOTICE)
    wait_until(lambda: mail.attempts, what="the first attempt")
    for child in psutil.Process(worker.pid).children():
        if any(connection.raddr[1:] == (mail.port,) for connection in child.net_connections()):
            child.kill()
    mail.stall.set()
    # A worker looks for dead children every 5 s. What it queues then, it receives before a later task.
    worker.wait_for_output("WorkerLostError")
    later = send_notification_email.delay(site.user_ids["alice"], "Later")
    wait_until(lambda: worker.end_of(later.id), what="the end of a later task")
    times = worker.output.count(f"{task.id}] received")
    assert times >= 2, "the task of the killed process did not run again"
    assert NOTICE in texts(mail.wait_for(2))


def test_a_mail_survives_the_death_of_the_whole_worker(site, mail, worker):
    """When the whole worker is killed, the next one runs its task after the visibility timeout."""
    mail.stall.clear()
    send_notification_email.delay(site.user_ids["alice"], NOTICE)
    wait_until(lambda: mail.attempts, what="the first attempt")
    worker.kill()
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as broker:
        not_acknowledged = broker.hlen("unacked")
    assert not_acknowledged == 1
    mail.stall.set()
    worker.start()
    wait_until(lambda: mail.attempts >= 2, what="the task's second run", timeout=20)
    assert NOTICE in texts(mail.wait_for(1))


def test_a_worker_that_is_asked_to_stop_finishes_its_task(site, mail, worker):
    """After SIGTERM a worker finishes what it has begun, and then ends."""
    mail.stall.clear()
    send_notification_email.delay(site.user_ids["bob"], NOTICE)
    wait_until(lambda: mail.attempts, what="the first attempt")
    os.kill(worker.pid, signal.SIGTERM)
    worker.wait_for_output("Warm shutdown")
    mail.stall.set()
    mail.wait_for(1)
    wait_until(lambda: not worker.running, what="the worker's end")
    assert texts(mail.messages) == [NOTICE]


def test_the_first_page_leads_to_chat_and_blog(client):
    """Every page has links to the chat and to the blog."""
    page = client.get("/").text
    assert re.findall(r'<a href="(/\w+/)">', page)[:2] == ["/chat/", "/blog/"]


@pytest.fixture
def fail_once(monkeypatch):
    """Let the first attempt of a mail fail with an error; return the list of attempts."""

    def fail_once(error):
        attempts = []

        def send_mail(*arguments):
            attempts.append(arguments)
            if len(attempts) == 1:
                raise error

        monkeypatch.setattr("blog.tasks.send_mail", send_mail)
        return attempts

    return fail_once


@pytest.mark.django_db
def test_a_mail_that_meets_a_time_limit_is_tried_again(author, fail_once):
    """A mail that meets the time limit of config.production is tried again."""
    attempts = fail_once(SoftTimeLimitExceeded)
    send_notification_email.apply((author.pk, NOTICE))
    assert len(attempts) == 2


@pytest.mark.django_db
def test_a_mail_that_meets_a_restart_of_the_database_is_tried_again(author, fail_once):
    """A mail whose task meets a database that restarts is tried again."""
    attempts = fail_once(OperationalError)
    send_notification_email.apply((author.pk, NOTICE))
    assert len(attempts) == 2


@pytest.fixture
def manage(pytestconfig):
    """Run a command of manage.py with the production settings."""

    def manage(*arguments, **env):
        command = [sys.executable, "manage.py", *arguments]
        env = os.environ | PRODUCTION | env
        root = pytestconfig.rootpath
        return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=600)

    return manage


@pytest.mark.parametrize(
    ("name", "value"), [("SECRET_KEY", ""), ("ALLOWED_HOSTS", ""), ("ALLOWED_HOSTS", "*")]
)
def test_production_needs_a_key_and_hosts(manage, name, value):
    """config.production starts only with a SECRET_KEY and named ALLOWED_HOSTS, and says so."""
    done = manage("check", **{name: value})
    assert done.returncode != 0
    assert name in done.stderr.splitlines()[-1]


def test_the_deployment_check_is_clean(manage):
    """With config.production, `check --deploy` finds nothing."""
    done = manage("check", "--deploy", "--fail-level", "WARNING", EMAIL_HOST="mail.example.com")
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


def test_production_serves_its_own_scripts_and_allows_no_others(site):
    """With config.production any ASGI server serves room.js, and no page may run another site's script."""
    with Server(site, "daphne", env=PRODUCTION | {"HTTPS": "0"}).start() as server:
        response = httpx.get(f"{server.url}/static/chat/room.js")
        policy = httpx.get(f"{server.url}/login/").headers["Content-Security-Policy"]
    assert "new WebSocket" in response.text
    assert "default-src 'self'" in policy
    assert "unsafe-inline" not in policy
