"""`tutorial doctor` finds what is wrong with a machine, and says what to do."""

import json
import os
import platform
import re
import socket
import socketserver
import sys
import tempfile
import threading
from collections import namedtuple
from pathlib import Path

import psutil
import pytest
import redis

from tutorial.course.files import copy_project
from tutorial.services import broker, doctor, lanes
from tutorial.services.browser import CHROMIUM_NAMES, chromium
from tutorial.services.ports import free_port

BINARY = "tutorial.services.broker.server_binary"
DOCKER = "docker compose up -d broker"


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """A machine with nothing wrong: no broker, no proxy, and ports of its own instead of 8000 and 6379."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name == "REDIS_URL":
            monkeypatch.delenv(name)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(doctor, "PORT", free_port())
    port = free_port()
    monkeypatch.setattr(doctor, "DEFAULT_PORT", port)
    for module in (doctor, broker):
        monkeypatch.setattr(module, "DEFAULT_URL", f"redis://127.0.0.1:{port}")


@pytest.fixture
def listener():
    """A port whose listener never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def named(start):
    """Return the line of the check whose name starts so."""
    return doctor.examine(next(name for name in doctor.CHECKS if name.startswith(start)))


def fails(name, *words, ok=False):
    """Assert that a check fails with these words and a cure, without a password, and leaves no file."""
    line = named(name)
    assert (line.ok, bool(line.cure)) == (ok, True)
    assert [word for word in words if word not in f"{line.found} {line.cure}"] == []
    assert "secret" not in line.found
    assert [path.name for path in Path(tempfile.gettempdir()).iterdir() if "-" in path.name] == []


def test_a_good_machine_is_found_ready_and_left_as_it_was(tutorial, tmp_path):
    """With nothing wrong the exit code is 0, only a browser may be missing, and nothing is left behind."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    done = tutorial("doctor", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.output)
    assert (report["ok"], report["python"]) == (True, platform.python_version())
    assert report["seconds"] > 0
    assert len(report["checks"]) == 11
    assert all(check["ok"] for check in report["checks"])
    lacking = [] if chromium() else ["browser"]
    assert [check["name"] for check in report["checks"] if check["cure"]] == lacking
    assert {child.pid for child in psutil.Process().children(recursive=True)} == before
    assert list(tmp_path.iterdir()) == []


def test_what_fails_is_shown_with_what_to_do(tutorial, monkeypatch, listener):
    """The table has a line for each check, with the cure beside each failure, and the exit code is 1.

    A taken port is only a note: the commands can use another one.
    """
    monkeypatch.setattr(doctor, "PORT", listener)
    monkeypatch.setattr("shutil.disk_usage", lambda place: usage(9**9, 9**9, 3e8))
    monkeypatch.setenv("COLUMNS", "200")
    done = tutorial("doctor")
    assert done.exit_code == 1
    lines = {line.partition("  ")[2].strip()[:9].strip(): line for line in done.output.splitlines()}
    assert lines["disk"].startswith("FAILS")
    assert "Make room" in lines["disk"]
    assert lines["port 8000"].startswith("note")
    assert f"make run PORT={listener + 1}" in lines["port 8000"]
    assert lines["WebSocket"].startswith("good")
    assert "1 of 11 fail." in done.output


def test_no_browser(tutorial, monkeypatch, tmp_path):
    """Without a browser on the PATH the machine is still ready, and a note says what is left out."""
    monkeypatch.setattr("tutorial.services.browser.CHROMIUM_ON_MACOS", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(doctor, "CHECKS", {"browser": doctor.browser})
    done = tutorial("doctor")
    assert done.exit_code == 0
    assert re.search(r"^note +browser +no Chromium .*Browser tests are skipped", done.output, re.MULTILINE)
    assert "This machine is ready." in done.output


def no_binary():
    raise broker.NoBroker(broker.NOT_EMBEDDABLE)


usage = namedtuple("usage", "total used free")


@pytest.mark.parametrize(
    ("name", "place", "stand_in", "words"),
    [
        ("Python", "platform.python_version", lambda: "3.10.4", ["3.10.4", "make PYTHON="]),
        ("Python", "platform.python_version", lambda: "3.15.0", ["3.15.0", "make PYTHON="]),
        (
            "disk",
            "shutil.disk_usage",
            lambda place: usage(9**9, 9**9, 3e8),
            ["0.3 GB free in", "Make room: 1 GB"],
        ),
        # A check that breaks doesn't stop the others.
        ("disk", "shutil.disk_usage", lambda place: 1 / 0, ["ZeroDivisionError"]),
        ("broker", BINARY, no_binary, ["broker", DOCKER]),
        ("broker", BINARY, lambda: sys.executable, ["broker", DOCKER]),
        ("broker's version", BINARY, no_binary, ["broker", DOCKER]),
        ("broker's version", BINARY, lambda: sys.executable, ["broker", DOCKER]),
        ("worker", BINARY, no_binary, ["broker"]),
    ],
)
def test_what_a_machine_lacks_is_named(monkeypatch, name, place, stand_in, words):
    """For Python, disk space or broker, the line says what was found, and what to do."""
    monkeypatch.setattr(place, stand_in)
    fails(name, *words)


def test_packages_that_differ_from_the_lock(monkeypatch, tmp_path):
    """A missing package, or one of another version, is named; you don't need those for other systems."""
    lock = tmp_path / "requirements.txt"
    lock.write_text(
        "# made by hand\n"
        "channels==1.0 \\\n    --hash=sha256:00\n    # via nothing\n"
        "no-such-package==1.0\n"
        "not-for-us==1.0 ; sys_platform == 'amiga'\n"
    )
    monkeypatch.setattr(lanes, "LOCK", lock)
    fails("packages", "channels is 4.", "not 1.0", "no-such-package is missing", "make setup")
    assert "not-for-us" not in named("packages").found


@pytest.mark.parametrize("name", ["django", "redis"])
def test_two_lanes_in_one_environment_are_named_at_the_start(monkeypatch, tutorial, tmp_path, name):
    """With Django or redis-py of the other lane, doctor and commands say so in a line, and what to do."""
    version = lanes.version
    monkeypatch.setattr(lanes, "version", lambda one: "99.1" if one == name else version(one))
    fails("lane", f"{lanes.APART[name]} 99.1", "make setup", "make LANE=next setup")
    assert tutorial("start", "3", str(tmp_path / "mine")).exit_code == 0
    for command in ("check", "watch", "preview", "run"):
        done = tutorial(command, str(tmp_path / "mine"))
        assert done.exit_code == 1
        [line] = done.output.splitlines()
        assert line.startswith("Two lanes are mixed: ")


def test_another_broker_takes_the_embedded_ones_place(monkeypatch):
    """If no broker can be embedded, one that answers at REDIS_URL will do."""
    with broker.Broker() as another:
        monkeypatch.setenv("REDIS_URL", another.url)
        monkeypatch.setattr(broker, "server_binary", no_binary)
        for name in ("broker", "broker's version", "worker"):
            assert named(name).ok, named(name)
        with redis.Redis.from_url(another.url) as client:
            assert list(client.scan_iter("*doctor*")) == []


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


def test_a_broker_that_will_not_do(monkeypatch):
    """A Redis that is too old is named with its version, and so is a REDIS_URL that leads nowhere."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), OldRedis) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{server.server_address[1]}")
        fails("broker's version", "Redis 4.0.14", "5.0 or newer")
        server.shutdown()
        thread.join()
    monkeypatch.setenv("REDIS_URL", f"redis://:secret@127.0.0.1:{free_port()}")
    fails("broker's version", "REDIS_URL", "unset REDIS_URL")


def test_a_port_that_is_taken(monkeypatch, listener):
    """A program on the server's or the broker's port is named; a broker there is welcome."""
    monkeypatch.setattr(doctor, "PORT", listener)
    fails("port 8000", "another program listens there", f"PORT={listener + 1}", ok=True)
    monkeypatch.setattr(doctor, "DEFAULT_PORT", listener)
    monkeypatch.setattr(doctor, "DEFAULT_URL", f"redis://127.0.0.1:{listener}")
    fails(
        "port 6379",
        "it is no broker",
        "tutorial broker",
        f"REDIS_URL=redis://127.0.0.1:{listener + 1}",
        ok=True,
    )
    with broker.Broker() as running:
        monkeypatch.setattr(doctor, "DEFAULT_URL", running.url)
        found = "a broker answers there, and will be used"
        assert named("port 6379") == doctor.Line("port 6379", True, found)


def test_a_proxy_that_swallows_this_machines_own_traffic(monkeypatch):
    """A proxy that would get requests to 127.0.0.1 is named, without its password."""
    monkeypatch.setenv("HTTP_PROXY", f"http://user:secret@127.0.0.1:{free_port()}")
    fails("WebSocket", "goes through the proxy http://127.0.0.1", "NO_PROXY=127.0.0.1,localhost")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    assert named("WebSocket") == doctor.Line("WebSocket", True, "direct")


def test_a_program_that_does_not_start(monkeypatch, tmp_path):
    """You see the last line that the worker or the browser printed."""
    step = tmp_path / "step05_celery"
    copy_project(doctor.STEP, step, "tests")
    (step / "config/celery.py").write_text("raise RuntimeError('no app today')\n")
    monkeypatch.setattr(doctor, "STEP", step)
    fails("worker", "no app today", "celery -A config worker")
    programs = tmp_path / "programs"
    programs.mkdir()
    program = programs / CHROMIUM_NAMES[0]
    program.write_text("#!/bin/sh\necho no display today >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    fails("browser", "no display today", "by hand")
