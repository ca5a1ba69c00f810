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

from tests.cli.conftest import needs_git, replace
from tutorial.cli.run import find_project
from tutorial.course.steps import ROOT, find_step
from tutorial.services.broker import answers
from tutorial.services.ports import another_port, free_port
from tutorial.services.processes import Process, wait_until


def alone(env):
    """Return the environment of a machine on which no broker runs, with more variables."""
    inherited = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    return inherited | {"TUTORIAL_BROKER_PORT": str(free_port())} | env


@pytest.fixture
def run(tmp_path):
    """Start the command with a database of its own, and end whatever is left of it."""
    started = []

    def run(*arguments, cwd=ROOT, **env):
        environment = alone(env) | {"DATABASE_PATH": str(tmp_path / "db.sqlite3")}
        process = Process([sys.executable, "-m", "tutorial", *arguments], cwd, environment)
        started.append(process)
        process.spawn()
        return process

    yield run
    for process in started:
        process.close()


def refusal(*arguments, code=1, **env):
    """Run a command that fails at once and return what it says."""
    command = [sys.executable, "-m", "tutorial", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=alone(env), capture_output=True, text=True, timeout=600)
    assert done.returncode == code
    assert done.stderr.count("\n") <= 2
    return done.stderr.rstrip("\n")


def end(process, number):
    """End a command with a signal, and wait until it and everything it has started is gone."""
    family = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, number)
    wait_until(lambda: not process.running, what="the end of the command")
    wait_until(lambda: not any(child.is_running() for child in family), what="the end of its processes")
    return family


def test_the_finished_app_starts_and_stops(run):
    """Page, addresses and passwords appear; after Ctrl-C everything is gone."""
    port = free_port()
    process = run("run", "--port", str(port))
    process.wait_for_output("Ctrl-C stops everything.", timeout=60)
    process.wait_for_output(" ready.", timeout=60)
    assert re.search(rf"step05_celery is ready: +http://localhost:{port}/", process.output)
    assert "log in as alice with alice-demo-pass" in process.output
    assert "log in as bob with bob-demo-pass" in process.output
    assert "Broker: embedded" in process.output
    assert "The channel layer works" in httpx.get(f"http://localhost:{port}/").text
    assert len(end(process, signal.SIGINT)) >= 3


@pytest.mark.long
def test_your_own_project_runs_as_you_saved_it(run, project):
    """Inside a project you need no name. The saved task runs, and broken code ends nothing."""
    mine = project(5)
    process = run("run", "--port", str(free_port()), cwd=mine / "chat")
    process.wait_for_output("Ctrl-C stops everything.", timeout=60)
    process.wait_for_output(" ready.", timeout=60)
    assert f"{mine.name} is ready:" in process.output
    assert "log in as alice with alice-demo-pass" in process.output
    env = os.environ | {"REDIS_URL": re.search(r"Broker: embedded at (\S+)", process.output)[1]}

    def call_the_task():
        call = "from blog.tasks import probe; probe.delay()"
        subprocess.run([sys.executable, "manage.py", "shell", "-c", call], cwd=mine, env=env, check=True)

    tasks = mine / "blog/tasks.py"
    task = '\n\n@shared_task\ndef probe():\n    print("the first version")\n'
    tasks.write_text(tasks.read_text() + task)
    wait_until(lambda: process.output.count(" ready.") == 2, 60, "the worker with the task")
    call_the_task()
    process.wait_for_output("] the first version")
    replace(mine, "blog/tasks.py", 'print("the first', 'print(("the first')
    process.wait_for_output("SyntaxError", timeout=60)
    replace(mine, "blog/tasks.py", 'print(("the first version")', 'print("the second version, now right")')
    wait_until(lambda: process.output.count(" ready.") >= 3, 60, "the worker with the change")
    call_the_task()
    process.wait_for_output("] the second version")
    assert process.output.count("] the first version") == 1
    end(process, signal.SIGINT)


@pytest.mark.long
def test_your_project_gets_its_worker_when_it_has_one(run, project):
    """A project at step 4 that runs gets a worker as soon as you save config/celery.py."""
    mine = project(4)
    process = run("run", str(mine), "--port", str(free_port()))
    process.wait_for_output("Ctrl-C stops everything.", timeout=60)
    settings = mine / "config/settings.py"
    settings.write_text(f"{settings.read_text()}\nCELERY_BROKER_URL = REDIS_URL\n")
    process.wait_for_output("Saved: settings.py", timeout=60)
    assert not re.search(r"worker.*(Saved|Error)", process.output)
    (mine / "config/celery.py").write_bytes((find_step("5") / "config/celery.py").read_bytes())
    process.wait_for_output(" ready.", timeout=60)
    end(process, signal.SIGINT)


@pytest.mark.long
def test_behind_a_pipe_that_nobody_reads_all_ends(tmp_path):
    """After `tutorial run | head -1` neither the command nor a server is left."""
    env = alone({"DATABASE_PATH": str(tmp_path / "db.sqlite3")})
    command = [sys.executable, "-m", "tutorial", "run", "3", "--port", str(free_port())]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as process:
        while "server started" not in process.stdout.readline():
            pass
        family = psutil.Process(process.pid).children(recursive=True)
        process.stdout.close()
        process.wait(600)
    wait_until(lambda: not any(child.is_running() for child in family), what="the end of its processes")


def test_what_is_run(project, tmp_path, monkeypatch):
    """A step by its name, a project by its directory; without a name where you are, else the finished app."""
    mine = project(4)
    monkeypatch.chdir(mine / "chat")
    assert find_project(None) == mine
    assert find_project("3") == ROOT / "step03_routing"
    monkeypatch.chdir(tmp_path)
    assert find_project(None) == ROOT / "step05_celery"
    assert find_project("./4") == mine


def test_what_cannot_be_run_is_one_line(project, tmp_path):
    """A directory without a project, a name of nothing, and code that is broken: where, and what to do."""
    (tmp_path / "empty").mkdir()
    assert "tutorial start" in refusal("run", str(tmp_path / "empty"), code=2)
    assert "There is no step 'nothing'" in refusal("run", "nothing", code=2)
    mine = project(4)
    (mine / "config/settings.py").write_text("DEBUG = (\n")
    assert refusal("run", str(mine), "--port", str(free_port())) == (
        "Preparing 4 failed: config/settings.py, line 1: SyntaxError: '(' was never closed"
    )


@pytest.mark.long
def test_a_closed_terminal_ends_everything_but_a_broker_that_was_there(run):
    """A broker that answers at REDIS_URL is used and left running; no process of the command stays behind."""
    process = run("run", "1", "--port", str(free_port()), REDIS_URL=os.environ["REDIS_URL"])
    process.wait_for_output("Broker: found")
    process.wait_for_output("Ctrl-C stops everything.", timeout=60)
    assert "log in as" not in process.output
    end(process, signal.SIGHUP)
    assert answers(os.environ["REDIS_URL"])


def test_a_taken_port_is_named(project):
    """A port that is in use is named, and in a line of its own, which no terminal breaks, what to do."""
    mine = str(project(1))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        said = f"Cannot listen on 127.0.0.1 port {port}: another program listens there.\nTry another: "
        for level, command in (("1", "make run PORT="), ("", "tutorial run --port ")):
            for words in ("run",), ("run", mine):
                line = refusal(*words, "--port", str(port), MAKELEVEL=level)
                assert line == f"{said}{command}{port + 1}"
    assert another_port(8000) == 8080  # not 8001, where `tutorial preview` listens


@pytest.mark.long
@pytest.mark.parametrize("content", ["", "no database"])
def test_a_database_that_cannot_be_used_is_one_line(tmp_path, content):
    """A broken database, or one in a missing directory, stops everything with one line."""
    path = tmp_path / ("db.sqlite3" if content else "missing/db.sqlite3")
    if content:
        path.write_text(content * 100)
    line = refusal("run", "--port", str(free_port()), DATABASE_PATH=str(path))
    assert line.startswith("Preparing step05_celery failed: ")
    assert "database" in line


def test_a_broker_that_is_not_there_is_one_line():
    """A REDIS_URL where nothing answers is named, without its password."""
    url = f"redis://:secret@127.0.0.1:{free_port()}"
    line = refusal("run", "1", "--port", str(free_port()), REDIS_URL=url)
    assert "Nothing answers at REDIS_URL" in line
    assert "secret" not in line


def test_the_broker_alone(run):
    """`tutorial broker` starts a broker for servers that are started by hand, and Ctrl-C stops it."""
    port = str(free_port())
    process = run("broker", TUTORIAL_BROKER_PORT=port)
    process.wait_for_output("The broker answers at")
    assert answers(f"redis://127.0.0.1:{port}")
    assert "answers at" in refusal("broker", TUTORIAL_BROKER_PORT=port)
    end(process, signal.SIGINT)
    assert not answers(f"redis://127.0.0.1:{port}")


def test_the_broker_listens_where_redis_url_says(run):
    """With a REDIS_URL on this machine, `tutorial broker` takes its port."""
    port = free_port()
    process = run("broker", REDIS_URL=f"redis://localhost:{port}/1")
    process.wait_for_output("REDIS_URL")
    said = "The broker answers at redis://127.0.0.1:{}. It is the one that REDIS_URL names."
    assert said.format(port) in process.output
    assert answers(f"redis://localhost:{port}/1")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://example.com:6380", "names example.com, and this broker listens on 127.0.0.1 only"),
        ("redis://:secret@127.0.0.1:6380", "has a password, and this broker has none"),
        ("rediss://127.0.0.1:6380", "begins with rediss:, not redis:"),
        ("redis://127.0.0.1:none", "is no address"),
    ],
)
def test_the_broker_says_why_it_is_not_where_redis_url_says(run, url, why):
    """A REDIS_URL that cannot lead to this broker is named, with the reason and the way out."""
    port = free_port()
    process = run("broker", REDIS_URL=url, TUTORIAL_BROKER_PORT=str(port))
    process.wait_for_output("Ctrl-C stops it.")
    assert f"answers at redis://127.0.0.1:{port}. REDIS_URL {why}" in process.output
    assert "to use this broker, unset REDIS_URL." in process.output
    assert "secret" not in process.output


@pytest.mark.parametrize("name", ["3", "03", "step03", "routing", "step03_routing", "step03_routing/"])
def test_a_step_has_many_names(name):
    """You can call a step by its number or any of its names."""
    assert find_step(name) == ROOT / "step03_routing"


@needs_git
def test_the_diff_of_a_step(tutorial):
    """`tutorial dev diff` shows what a step adds, or how many lines in each file."""
    assert "chat/routing.py" in tutorial("dev", "diff", "--stat", "3").output
    assert "+websocket_urlpatterns = [" in tutorial("dev", "diff", "3").output


def test_make_names_a_python_that_is_too_old(tmp_path):
    """Without a Python that is new enough, make says in one line what is missing."""
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "requirements.txt").touch()
    done = subprocess.run(["make", "-s", "run", "PYTHON="], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert re.search(r"^No Python 3\.1[12] or newer was found", done.stdout)
