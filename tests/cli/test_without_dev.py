"""The learner's commands without `make setup`, when only the steps' own packages are installed."""

import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
from subprocess import PIPE

import pytest

from tutorial.course.assignment import exercise_assignment, step_assignment
from tutorial.course.steps import ROOT
from tutorial.learn import playground
from tutorial.services.ports import free_port

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
    """Return the names of the packages in a lock."""
    return {found.lower() for found in re.findall(r"^([\w.-]+)==", (ROOT / name).read_text(), re.MULTILINE)}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Where the commands run: beside a playground for step 3 and one for an exercise."""
    place = tmp_path_factory.mktemp("place")
    playground.start(step_assignment("3"), place / "mine")
    playground.start(exercise_assignment("echo"), place / "echo")
    return place


@pytest.fixture(scope="module")
def start(place, tmp_path_factory):
    """Start a command with no broker running and all test packages missing."""
    extra = distributions("requirements-dev.txt") - distributions("requirements.txt")
    hidden = [
        name
        for name, owners in importlib.metadata.packages_distributions().items()
        if {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners} <= extra
    ]
    assert {"pytest", "playwright", "sphinx"} <= set(hidden)
    directory = tmp_path_factory.mktemp("hidden")
    (directory / "sitecustomize.py").write_text(HIDE.format(hidden=hidden))
    env = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    env |= {"PYTHONPATH": str(directory), "TUTORIAL_BROKER_PORT": str(free_port())}
    env |= {"DATABASE_PATH": str(directory / "db.sqlite3")}

    def start(words):
        command = [sys.executable, "-m", "tutorial", *words.format(port=free_port()).split()]
        return subprocess.Popen(command, cwd=place, env=env, stdout=PIPE, stderr=PIPE, text=True)

    return start


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        # Commands that only lay out or show files need no more than the steps do.
        ("start 3 new", 0, ""),
        ("start 4 mine --keep", 0, ""),
        ("exercise echo new", 0, ""),
        ("list mine", 0, ""),
        ("compare 3 mine", 1, ""),
        ("solve 3 chat/routing.py --dir mine --yes", 0, ""),
        ("solve echo chat/routing.py --dir echo --yes", 0, ""),
        ("hint 3 mine", 2, "No problem is known"),
        # Commands that run tests say what to do, in one line.
        ("check 3 mine", 2, "make setup"),
        ("check echo echo", 2, "make setup"),
        ("watch mine", 2, "make setup"),
        ("test 3", 2, "make setup"),
        ("test", 2, "make setup"),
    ],
)
def test_a_command_works_or_says_what_to_do(start, words, code, says):
    """Beside a playground for step 3 and one for an exercise, each command ends as it should."""
    process = start(words)
    _, errors = process.communicate(timeout=600)
    assert (process.returncode, len(errors.splitlines())) == (code, 1 if says else 0)
    assert says in errors


def test_the_doctor_examines_the_machine(start):
    """The doctor can make all its checks."""
    checks = json.loads(start("doctor --json").communicate(timeout=600)[0])["checks"]
    wrong = [check for check in checks if not check["ok"]]
    assert wrong == []


@pytest.mark.parametrize(
    ("words", "ready"),
    [("run 1 --port {port}", "Ctrl-C stops everything."), ("broker", "The broker answers at")],
)
def test_what_runs_until_it_is_stopped(start, words, ready):
    """A step and the broker start and end."""
    process = start(words)
    assert any(ready in line for line in process.stdout), process.communicate()[1]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=600)
