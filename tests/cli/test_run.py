"""`tutorial run` brings a step up whole and takes it down whole."""

import os
import re
import signal
import socket
import subprocess
import sys

import httpx
import psutil
import pytest

from tutorial.course.steps import ROOT
from tutorial.services.broker import answers
from tutorial.services.ports import free_port
from tutorial.services.processes import Process, wait_until


def alone(env):
    """Return the environment of a machine on which no broker runs, with more variables."""
    inherited = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    return inherited | {"TUTORIAL_BROKER_PORT": str(free_port())} | env


@pytest.fixture
def run(tmp_path):
    """Start the command with a database of its own, and end what is left of it."""
    started = []

    def run(*arguments, **env):
        environment = alone(env) | {"DATABASE_PATH": str(tmp_path / "db.sqlite3")}
        process = Process([sys.executable, "-m", "tutorial", *arguments], ROOT, environment)
        started.append(process)
        process.spawn()
        return process

    yield run
    for process in started:
        process.close()


def tutorial(*arguments, **env):
    """Run the command to its end and return what came of it."""
    command = [sys.executable, "-m", "tutorial", *arguments]
    return subprocess.run(command, cwd=ROOT, env=alone(env), capture_output=True, text=True, timeout=60)


def test_the_finished_app_starts_and_stops(run):
    """Page, addresses and passwords appear; after Ctrl-C everything is gone within 5 seconds."""
    port = free_port()
    process = run("run", "--port", str(port))
    process.wait_for_output("Ctrl-C stops everything.", timeout=60)
    process.wait_for_output(" ready.", timeout=60)
    assert re.search(rf"step05_celery is ready: +http://localhost:{port}/", process.output)
    assert "log in as alice with alice-demo-pass" in process.output
    assert "log in as bob with bob-demo-pass" in process.output
    assert "Broker: embedded" in process.output
    assert "The channel layer works" in httpx.get(f"http://localhost:{port}/").text
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 3
    os.kill(process.pid, signal.SIGINT)
    wait_until(lambda: not process.running, what="the end of the command")
    wait_until(lambda: not any(child.is_running() for child in family), what="the end of its processes")


def test_a_closed_terminal_ends_everything(run):
    """When the terminal window is closed no process stays behind."""
    process = run("run", "1", "--port", str(free_port()))
    process.wait_for_output("Ctrl-C stops everything.", timeout=60)
    assert "log in as" not in process.output
    family = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGHUP)
    wait_until(lambda: not process.running, what="the end of the command")
    wait_until(lambda: not any(child.is_running() for child in family), what="the end of its processes")


def test_a_taken_port_is_one_line():
    """A port that is in use is named, with what to do."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = tutorial("run", "--port", str(port))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"Cannot listen on 127.0.0.1 port {port}: another program listens there. "
        f"Try another: make run PORT={port + 1}"
    ]


@pytest.mark.parametrize("content", ["", "no database"])
def test_a_database_that_cannot_be_used_is_one_line(tmp_path, content):
    """A database that is broken, or in a directory that is not there, stops everything with one line."""
    path = tmp_path / ("db.sqlite3" if content else "missing/db.sqlite3")
    if content:
        path.write_text(content * 100)
    done = tutorial("run", "--port", str(free_port()), DATABASE_PATH=str(path))
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("Preparing step05_celery failed: ")
    assert "database" in line


def test_a_broker_that_is_not_there_is_one_line():
    """A REDIS_URL where nothing answers is named, without its password."""
    url = f"redis://:secret@127.0.0.1:{free_port()}"
    done = tutorial("run", "1", "--port", str(free_port()), REDIS_URL=url)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "Nothing answers at REDIS_URL" in done.stderr
    assert "secret" not in done.stderr


def test_a_broker_that_is_there_is_used(run):
    """What answers at REDIS_URL is used instead of an embedded broker, and left running."""
    process = run("run", "1", "--port", str(free_port()), REDIS_URL=os.environ["REDIS_URL"])
    process.wait_for_output("Broker: found")
    process.wait_for_output("Ctrl-C stops everything.", timeout=60)
    process.stop()
    assert answers(os.environ["REDIS_URL"])


def test_the_broker_alone(run):
    """`tutorial broker` starts a broker for servers that are started by hand, and Ctrl-C stops it."""
    port = str(free_port())
    process = run("broker", TUTORIAL_BROKER_PORT=port)
    process.wait_for_output("The broker answers at")
    assert answers(f"redis://127.0.0.1:{port}")
    again = tutorial("broker", TUTORIAL_BROKER_PORT=port)
    assert (again.returncode, len(again.stderr.splitlines())) == (1, 1)
    os.kill(process.pid, signal.SIGINT)
    wait_until(lambda: not process.running, what="the end of the command")
    assert not answers(f"redis://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("name", "answer"),
    [("6", "There is no step '6'"), ("routin", "Did you mean routing?"), ("", "There is no step ''")],
)
def test_an_unknown_step_is_one_line(name, answer):
    """A step that does not exist is answered with those that do, and exit code 2."""
    done = tutorial("run", name)
    assert done.returncode == 2
    assert answer in done.stderr
    assert "step05_celery" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["3", "03", "step03", "routing", "step03_routing", "step03_routing/"])
def test_a_step_has_many_names(name):
    """Whatever a person calls a step finds it."""
    assert "chat/routing.py" in tutorial("dev", "diff", "--stat", name).stdout


def test_the_first_step_has_nothing_to_compare_with():
    """`tutorial dev diff 1` says so."""
    done = tutorial("dev", "diff", "1")
    assert done.returncode == 2
    assert "no step before it" in done.stderr


def test_make_names_a_python_that_is_too_old(tmp_path):
    """Without Python 3.11 or newer, make says in one line what is missing."""
    makefile = tmp_path / "Makefile"
    makefile.write_text((ROOT / "Makefile").read_text())
    (tmp_path / "requirements.txt").touch()
    done = subprocess.run(["make", "-s", "run", "PYTHON="], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "No Python 3.11 or newer was found" in done.stdout
