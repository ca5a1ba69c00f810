"""The learner's commands where only what runs the steps is installed, without `make setup`."""

import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys

import pytest

from tutorial.course.assignment import exercise_assignment, step_assignment
from tutorial.course.steps import ROOT
from tutorial.learn.playground import start
from tutorial.services.ports import free_port
from tutorial.services.processes import Process, wait_until

pytestmark = pytest.mark.long

# Python loads it in each process, those that a command starts too.
HIDE = """
from importlib.machinery import PathFinder
hidden, find = frozenset({hidden}), PathFinder.find_spec
def find_others(name, path=None, target=None):
    return None if name.partition(".")[0] in hidden else find(name, path, target)
PathFinder.find_spec = find_others
"""


def distributions(name):
    """Return the names of what a lock installs."""
    return {found.lower() for found in re.findall(r"^([\w.-]+)==", (ROOT / name).read_text(), re.MULTILINE)}


@pytest.fixture
def env(tmp_path):
    """The environment of a machine on which no broker runs and every package of the tests is missing."""
    extra = distributions("requirements-dev.txt") - distributions("requirements.txt")
    hidden = [
        name
        for name, owners in importlib.metadata.packages_distributions().items()
        if {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners} <= extra
    ]
    assert {"pytest", "playwright", "sphinx"} <= set(hidden)
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/sitecustomize.py").write_text(HIDE.format(hidden=hidden))
    others = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    return others | {
        "PYTHONPATH": str(tmp_path / "hidden"),
        "TUTORIAL_BROKER_PORT": str(free_port()),
        "DATABASE_PATH": str(tmp_path / "db.sqlite3"),
    }


@pytest.fixture
def tutorial(env, tmp_path):
    """Run a command to its end, beside a playground for step 3 and one for an exercise."""
    start(step_assignment("3"), tmp_path / "mine")
    start(exercise_assignment("echo"), tmp_path / "echo")

    def tutorial(*words):
        return subprocess.run(
            [sys.executable, "-m", "tutorial", *words],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return tutorial


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("start 3 new", 0),
        ("start 4 mine --keep", 0),
        ("exercise echo new", 0),
        ("list mine", 0),
        ("compare 3 mine", 1),
        ("solve 3 chat/routing.py --dir mine --yes", 0),
        ("solve echo chat/routing.py --dir echo --yes", 0),
    ],
)
def test_a_command_that_runs_no_test_works(tutorial, words, code):
    """What only lays files out or shows them needs no more than the steps do."""
    done = tutorial(*words.split())
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.parametrize("words", ["check 3 mine", "check echo echo", "watch mine", "test 3", "test"])
def test_a_command_that_runs_tests_says_what_to_do(tutorial, words):
    """It answers in one line, with exit code 2."""
    done = tutorial(*words.split())
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "make setup" in line


def test_a_hint_needs_a_check_first(tutorial):
    """`tutorial hint` says so without them too."""
    done = tutorial("hint", "3", "mine")
    assert done.returncode == 2
    assert "tutorial check" in done.stderr


def test_the_doctor_examines_the_machine(tutorial):
    """All it looks at can be looked at; ports may be taken."""
    checks = json.loads(tutorial("doctor", "--json").stdout)["checks"]
    assert [
        check["name"] for check in checks if not check["ok"] and not check["name"].startswith("port ")
    ] == []


@pytest.mark.parametrize(
    ("words", "ready"),
    [("run 1 --port {port}", "Ctrl-C stops everything."), ("broker", "The broker answers at")],
)
def test_what_runs_until_it_is_stopped(env, tmp_path, words, ready):
    """A step and the broker start and end."""
    command = [sys.executable, "-m", "tutorial", *words.format(port=free_port()).split()]
    with Process(command, tmp_path, env) as process:
        process.spawn()
        process.wait_for_output(ready, timeout=60)
        os.kill(process.pid, signal.SIGINT)
        wait_until(lambda: not process.running, 60, "the end of the command")
