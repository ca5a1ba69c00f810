"""`tutorial doctor` finds what is wrong with a machine, and says what to do."""

import json
import os
import platform
import re
import shutil
import socket
import socketserver
import tempfile
import threading
from collections import namedtuple
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from tutorial.cli import app
from tutorial.course.files import copy_project
from tutorial.services import broker, doctor
from tutorial.services.browser import chromium
from tutorial.services.ports import free_port


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """A machine with nothing wrong: no broker, no proxy, and ports of its own instead of 8000 and 6379."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name == "REDIS_URL":
            monkeypatch.delenv(name)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    port = free_port()
    url = f"redis://127.0.0.1:{port}"
    monkeypatch.setattr(doctor, "PORT", free_port())
    monkeypatch.setattr(doctor, "DEFAULT_PORT", port)
    monkeypatch.setattr(doctor, "DEFAULT_URL", url)
    monkeypatch.setattr(broker, "DEFAULT_URL", url)


@pytest.fixture
def listener():
    """A port on which something listens that never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def run(*arguments):
    """Run the command and return what came of it."""
    return CliRunner().invoke(app, ["doctor", *arguments])


def named(start):
    """Return the line of the check whose name starts so."""
    return doctor.examine(next(name for name in doctor.CHECKS if name.startswith(start)))


def fails(name, *words):
    """Assert that a check fails, that its line has the words, and that it names a cure."""
    line = named(name)
    assert not line.ok
    assert line.cure
    for word in words:
        assert word in f"{line.found} {line.cure}"
    left = [path.name for path in Path(tempfile.gettempdir()).iterdir() if "-" in path.name]
    assert left == []


def test_a_good_machine_is_found_ready_and_left_as_it_was(tmp_path):
    """With nothing wrong every line is good, the exit code 0, and neither process nor file is left."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    done = run("--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.output)
    assert report["ok"]
    assert report["seconds"] > 0
    assert len(report["checks"]) == 10
    lacking = [] if chromium() else ["browser"]
    assert [check["name"] for check in report["checks"] if check["cure"]] == lacking
    assert report["python"] == platform.python_version()
    after = {child.pid for child in psutil.Process().children(recursive=True)}
    assert after == before
    assert list(tmp_path.iterdir()) == []


def test_what_fails_is_shown_with_what_to_do(monkeypatch, listener):
    """A table has a line for each check, the cure beside what fails, and the exit code is 1."""
    monkeypatch.setattr(doctor, "PORT", listener)
    monkeypatch.setenv("COLUMNS", "200")
    done = run()
    assert done.exit_code == 1
    lines = {line.partition("  ")[2].strip()[:9]: line for line in done.output.splitlines()}
    assert lines["port 8000"].startswith("FAILS")
    assert f"make run PORT={listener + 1}" in lines["port 8000"]
    assert lines["WebSocket"].startswith("good")
    assert "1 of 10 fail." in done.output


def test_a_check_that_breaks_does_not_take_the_others_with_it(monkeypatch):
    """Whatever a check runs into is a line of its own."""
    monkeypatch.setitem(doctor.CHECKS, "disk", lambda: 1 / 0)
    fails("disk", "ZeroDivisionError")


@pytest.mark.parametrize("version", ["3.10.4", "3.15.0"])
def test_a_python_that_does_not_fit(monkeypatch, version):
    """A Python too old, or newer than any the course was tried with, is named."""
    monkeypatch.setattr(platform, "python_version", lambda: version)
    fails("Python", version, "make PYTHON=")


def test_packages_that_differ_from_the_lock(monkeypatch, tmp_path):
    """A package that is missing or of another version is named; one for other systems is not asked for."""
    lock = tmp_path / "requirements.txt"
    lock.write_text(
        "# made by hand\n"
        "channels==1.0 \\\n    --hash=sha256:00\n    # via nothing\n"
        "no-such-package==1.0\n"
        "not-for-us==1.0 ; sys_platform == 'amiga'\n"
    )
    monkeypatch.setattr(doctor, "LOCK", lock)
    fails("packages", "channels is 4.", "not 1.0", "no-such-package is missing", "make setup")
    assert "not-for-us" not in named("packages").found


@pytest.mark.parametrize("reason", ["no binary", "a binary that does not start"])
def test_a_broker_that_cannot_be_embedded(monkeypatch, reason):
    """Without an embedded broker or another the lines say how to get one."""

    def binary():
        if reason == "no binary":
            raise broker.NoBroker(broker.NOT_EMBEDDABLE)
        return shutil.which("false")

    monkeypatch.setattr(broker, "server_binary", binary)
    fails("broker", "broker", "docker compose up -d broker")
    fails("broker's version", "broker", "docker compose up -d broker")
    fails("worker", "broker")


def test_another_broker_takes_the_embedded_ones_place(monkeypatch):
    """Where no broker can be embedded, one that answers at REDIS_URL will do."""
    with broker.Broker() as another:
        monkeypatch.setenv("REDIS_URL", another.url)
        monkeypatch.setattr(broker, "server_binary", lambda: shutil.which("false"))
        for name in ("broker", "broker's version", "worker"):
            assert named(name).ok, named(name)
        with doctor.redis.Redis.from_url(another.url) as client:
            assert list(client.scan_iter("*doctor*")) == []


def test_a_redis_url_where_nothing_answers(monkeypatch):
    """A REDIS_URL that leads nowhere is named, without its password."""
    monkeypatch.setenv("REDIS_URL", f"redis://:secret@127.0.0.1:{free_port()}")
    fails("broker's version", "REDIS_URL", "unset REDIS_URL")
    assert "secret" not in named("broker's version").found


class OldRedis(socketserver.StreamRequestHandler):
    """Answers as Redis 4 does to what the doctor asks."""

    def handle(self):
        about = b"redis_version:4.0.14\r\n"
        while header := self.rfile.readline():
            words = []
            for _ in range(int(header[1:])):
                words.append(self.rfile.read(int(self.rfile.readline()[1:]) + 2).strip().upper())
            known = {b"PING": b"+PONG\r\n", b"INFO": b"$%d\r\n%b\r\n" % (len(about), about)}
            self.wfile.write(known.get(words[0], b"-ERR unknown command\r\n"))


@contextmanager
def served(handler):
    """Serve with a handler on a port of this machine."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_broker_that_is_too_old(monkeypatch):
    """A Redis without the commands of the channel layer is named with its version."""
    with served(OldRedis) as port:
        monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{port}")
        fails("broker's version", "Redis 4.0.14", "5.0 or newer")


def test_the_web_servers_port_is_taken(monkeypatch, listener):
    """A program on the server's port is told of, with another port to choose."""
    monkeypatch.setattr(doctor, "PORT", listener)
    fails("port 8000", "another program listens there", f"PORT={listener + 1}")


def test_the_brokers_port_is_taken_by_something_else(monkeypatch, listener):
    """A program on the broker's port that is no broker is told of."""
    monkeypatch.setattr(doctor, "DEFAULT_PORT", listener)
    monkeypatch.setattr(doctor, "DEFAULT_URL", f"redis://127.0.0.1:{listener}")
    fails("port 6379", "it is no broker", "REDIS_URL")


def test_a_broker_on_the_brokers_port_is_welcome(monkeypatch):
    """A broker that runs already is good."""
    with broker.Broker() as running:
        monkeypatch.setattr(doctor, "DEFAULT_URL", running.url)
        assert named("port 6379") == doctor.Line(
            "port 6379", True, "a broker answers there, and will be used"
        )


def test_a_proxy_that_swallows_this_machines_own_traffic(monkeypatch):
    """A proxy that would get what is meant for 127.0.0.1 is named, without its password."""
    monkeypatch.setenv("HTTP_PROXY", f"http://user:secret@127.0.0.1:{free_port()}")
    fails("WebSocket", "goes through the proxy http://127.0.0.1", "NO_PROXY=127.0.0.1,localhost")
    assert "secret" not in named("WebSocket").found
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    assert named("WebSocket") == doctor.Line("WebSocket", True, "direct")


def test_a_worker_that_does_not_start(monkeypatch, tmp_path):
    """The last line of what the worker said is shown."""
    step = tmp_path / "step05_celery"
    copy_project(doctor.STEP, step, "tests")
    (step / "config/celery.py").write_text("raise RuntimeError('no app today')\n")
    monkeypatch.setattr(doctor, "STEP", step)
    fails("worker", "no app today", "celery -A config worker")


def test_no_browser(monkeypatch, tmp_path):
    """Without a browser on the PATH the machine is ready all the same, and a note says what is left out."""
    monkeypatch.setattr("tutorial.services.browser.CHROMIUM_ON_MACOS", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert named("browser").ok
    assert "Browser tests are skipped" in named("browser").cure
    monkeypatch.setattr(doctor, "CHECKS", {"browser": doctor.browser})
    done = run()
    assert done.exit_code == 0
    assert re.search(r"^note +browser ", done.output, re.MULTILINE)
    assert "This machine is ready." in done.output


def test_a_browser_that_does_not_start(monkeypatch, tmp_path):
    """What the browser says instead of showing a page is in the line."""
    program = tmp_path / "chromium"
    program.write_text("#!/bin/sh\necho no display today >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    fails("browser", "no display today", "by hand")


def test_a_full_disk(monkeypatch):
    """Too little room for environment and databases is told with the place."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(10**12, 10**12, 3 * 10**8))
    fails("disk", "0.3 GB free in", "Make room: 1 GB")


def test_its_help_says_what_it_is_for():
    """The help tells what the command looks at, and what --json is good for."""
    text = " ".join(run("--help").output.split())
    assert "See whether this machine is ready for the course" in text
    assert "for an instructor who collects them" in text
