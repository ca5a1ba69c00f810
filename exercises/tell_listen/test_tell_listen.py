"""Exercise: two commands in two terminals talk through the channel layer."""

import os
import signal
import subprocess
import sys
from uuid import uuid4

import pytest
import redis

from tutorial.services.processes import NotStarted, Process, patience, wait_until

PATIENCE = 20  # seconds, more on a busy machine


@pytest.fixture
def group():
    """A group that no other test uses."""
    return f"news.{uuid4()}"


@pytest.fixture
def manage(pytestconfig):
    """Run manage.py to its end and return the result."""

    def manage(*words, **env):
        return subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=pytestconfig.rootpath,
            env=os.environ | env,
            capture_output=True,
            text=True,
            timeout=patience(PATIENCE),
        )

    return manage


@pytest.fixture
def listen(pytestconfig):
    """Start `manage.py listen GROUP` in the background and wait for its greeting."""
    started = []

    def listen(group):
        command = [sys.executable, "manage.py", "listen", group]
        process = Process(command, pytestconfig.rootpath, os.environ | {"PYTHONUNBUFFERED": "1"})
        started.append(process)
        process.spawn()
        try:
            process.wait_for_output(f"Listening to {group}. Ctrl-C stops it.\n", PATIENCE)
        except NotStarted as error:
            pytest.fail(f"`manage.py listen {group}` does not listen. {error}")
        return process

    yield listen
    for process in started:
        process.close()


@pytest.fixture
def members(group):
    """Count the group's members, in the broker itself."""
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as broker:
        yield lambda: broker.zcard(f"asgi:group:{group}")


def heard(process):
    """Return the lines that a listener has printed after its greeting."""
    return process.output.splitlines()[1:]


def test_every_listener_hears_what_is_told(manage, listen, group):
    """Every `listen` of the group prints what `tell` sends, line by line and in order."""
    first, second = listen(group), listen(group)
    for text in ["こんにちは!", "again"]:
        done = manage("tell", group, text)
        assert (done.returncode, done.stderr) == (0, "")
    for process in (first, second):
        process.wait_for_output("again\n", PATIENCE)
        assert heard(process) == ["こんにちは!", "again"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_listener_leaves_the_group(listen, group, members, number):
    """Ctrl-C and SIGTERM end a listener without a traceback, and it leaves the group first."""
    process = listen(group)
    assert members() == 1
    os.kill(process.pid, number)
    wait_until(lambda: not process.running, PATIENCE, "the end of the listener")
    assert members() == 0, "The listener is gone, and its channel is still in the group."
    assert heard(process) == []
    assert process.stop() == 0


def test_nobody_listens(manage, group):
    """`tell` to a group without members isn't an error: nobody hears it, and nothing is kept."""
    done = manage("tell", group, "is anybody there?")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words", [["tell", "日本語", "text"], ["listen", "日本語"]], ids=["tell", "listen"])
def test_a_group_name_that_is_not_allowed(manage, words):
    """A name that the layer refuses ends in one line that says which names it takes."""
    done = manage(*words)
    assert done.returncode == 1
    assert done.stderr.startswith("CommandError:")
    assert len(done.stderr.splitlines()) == 1
    assert "ASCII" in done.stderr


@pytest.mark.parametrize("words", [["tell", "news", "text"], ["listen", "news"]], ids=["tell", "listen"])
def test_without_a_broker(manage, words, unused_port):
    """Without a broker each command ends in one line that says so."""
    done = manage(*words, REDIS_URL=f"redis://127.0.0.1:{unused_port}")
    assert done.returncode == 1
    assert done.stderr.startswith("CommandError: The broker does not answer")
    assert len(done.stderr.splitlines()) == 1
