"""Exercise: every morning a digest of the new posts goes out by mail."""

import json
import sys
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import redis

from config.celery import app
from tutorial.services.processes import Process, wait_until
from tutorial.testing.site import Worker

TOKYO = ZoneInfo("Asia/Tokyo")
PATIENCE = 60  # seconds; the machine may be busy
WRITE = """
import sys
import django; django.setup()
from blog.models import Post
from django.contrib.auth.models import User
for name, mail, active in [("carol", "carol@example.com", False), ("dave", "", True)]:
    User.objects.get_or_create(username=name, email=mail, is_active=active)
for title in sys.argv[1:]:
    Post.objects.create(author=User.objects.get(username="alice"), title=title, body="本文")
"""


def digest():
    """Return the one line of beat's schedule."""
    entries = list(app.conf.beat_schedule.values())
    assert len(entries) == 1, f"Beat's schedule has {len(entries)} entries instead of one, the digest."
    return entries[0]


@pytest.fixture(scope="module")
def beat(site, tmp_path_factory):
    """A real beat process that calls for a digest every second, not started yet."""
    directory = tmp_path_factory.mktemp("beat")
    files = ["--schedule", str(directory / "schedule"), "--pidfile", str(directory / "pid")]
    command = [sys.executable, "-m", "celery", "-A", "config", "beat", "--loglevel", "INFO", *files]
    with Process(command, site.step, site.env | {"DIGEST_EVERY": "1"}) as beat:
        yield beat


@pytest.fixture(scope="module")
def worker(site, mail_server):
    """A real worker that sends through a real SMTP server."""
    with Worker(site, env=mail_server.env, arguments=("--without-mingle",)) as worker:
        yield worker.start(PATIENCE)


@pytest.fixture
def broker(site):
    """A connection to the broker."""
    with redis.Redis.from_url(site.env["REDIS_URL"]) as broker:
        yield broker


def test_the_digest_is_due_at_eight_in_the_morning_in_tokyo():
    """At one minute to eight in Tokyo the digest is due in 60 s, and then not until the next morning."""
    schedule = digest()["schedule"]
    last = datetime(2026, 1, 5, 8, 0, 1, tzinfo=TOKYO)
    schedule.nowfun = lambda: datetime(2026, 1, 6, 7, 59, tzinfo=TOKYO)
    assert schedule.is_due(last) == (False, 60)
    schedule.nowfun = lambda: datetime(2026, 1, 6, 8, 0, 5, tzinfo=TOKYO)
    is_due, pause = schedule.is_due(last)
    assert is_due
    assert timedelta(seconds=pause) > timedelta(hours=23)


def test_a_call_that_nobody_hears_runs_out(beat, broker):
    """A call that no worker takes expires, so that old digests don't pile up."""
    digest()
    beat.spawn()
    beat.wait_for_output("Sending due task", PATIENCE)
    [task, *_] = wait_until(lambda: broker.lrange("celery", 0, -1), PATIENCE, "a task in the queue")
    assert json.loads(task)["headers"]["expires"], "The task has no `expires`."


def test_beat_calls_and_everybody_is_mailed_once(site, mail_server, beat, worker):
    """Every active user with an address gets the new titles once; with nothing new, no mail goes out."""
    digest()
    if not beat.running:
        beat.spawn()
    site.run("-c", WRITE, "朝の記事", "<b>second</b>")
    mail_server.wait_for(2, PATIENCE)
    calls = beat.output.count("Sending due task")
    wait_until(lambda: beat.output.count("Sending due task") > calls + 2, PATIENCE, "three more calls")
    beat.stop()
    assert sorted(mail["To"] for mail in mail_server.messages) == ["alice@example.com", "bob@example.com"]
    for mail in mail_server.messages:
        lines = [line.strip() for line in mail.get_content().split("\n") if line.strip()]
        assert lines == ["朝の記事 (alice)", "<b>second</b> (alice)"]


def test_calls_at_the_same_time_make_one_digest(site, mail_server, worker, broker):
    """With two beats, or a task delivered twice, one digest goes out, with the new posts."""
    task = digest()["task"]
    mail_server.messages.clear()
    site.run("-c", WRITE, "third")
    for call in [app.send_task(task) for _ in range(6)]:
        worker.wait_for_output(f"{call.id}] succeeded", PATIENCE)
    mail_server.wait_for(2, PATIENCE)
    wait_until(lambda: not broker.llen("celery") and not broker.hlen("unacked"), PATIENCE, "an empty queue")
    texts = [mail.get_content().strip() for mail in mail_server.messages]
    assert texts == ["third (alice)"] * 2
