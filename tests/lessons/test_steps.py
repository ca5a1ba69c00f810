"""The steps differ by one feature each and stay honest copies of each other."""

import difflib
import re
import shutil
import subprocess
import sys
from itertools import pairwise

import pytest

from tutorial.course.diffs import diff_file, files, step_diff
from tutorial.course.files import copy_project
from tutorial.course.steps import all_steps, number
from tutorial.services.broker import answers

STEPS = all_steps()
TRANSITIONS = list(pairwise(STEPS))
NAMES = ["step01_setup", "step02_consumer", "step03_routing", "step04_client", "step05_celery"]

each_transition = pytest.mark.parametrize(("before", "after"), TRANSITIONS, ids=lambda step: step.name)


def removed_lines(before, after):
    """Return the lines of the earlier step that the later one does not have, the lessons aside."""
    removed = []
    for name, path in files(before).items():
        if name != "README.md" and path.suffix != ".pyc":
            old, new = path.read_text().splitlines(), (after / name).read_text().splitlines()
            changes = difflib.ndiff(old, new)
            removed += [f"{after.name}/{name}: {line[2:]}" for line in changes if line.startswith("- ")]
    return removed


def test_the_steps_have_their_names():
    """Five directories, under the names the course is known by."""
    assert [step.name for step in STEPS] == NAMES


@each_transition
def test_no_file_vanishes(before, after):
    """Everything an earlier step has, the later one has too."""
    assert set(files(before)) <= set(files(after))


def test_almost_no_line_is_rewritten():
    """At most three lines are removed over all transitions."""
    removed = [line for before, after in TRANSITIONS for line in removed_lines(before, after)]
    assert len(removed) <= 3, "\n".join(removed)


@each_transition
def test_earlier_tests_travel_unchanged(before, after):
    """The test files of a step stand in every later step, byte for byte."""
    for path in (before / "tests").glob("*.py"):
        assert path.read_bytes() == (after / "tests" / path.name).read_bytes(), path.name


@each_transition
def test_the_committed_diff_is_fresh(before, after):
    """docs/diffs has what `tutorial dev diff` shows. If not: make diffs."""
    assert diff_file(number(after)).read_text() == step_diff(number(after))


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_no_step_carries_boilerplate(step):
    """No wsgi.py, no empty models, admin or tests modules."""
    names = set(files(step))
    assert not [name for name in names if name.endswith(("wsgi.py", "admin.py", "apps.py", "/tests.py"))]
    empty = [name for name in names if (step / name).stat().st_size == 0]
    assert all(name.endswith("__init__.py") for name in empty)


@each_transition
def test_a_step_fails_the_next_steps_tests(before, after, tmp_path):
    """Without the new feature the next step's tests do not pass: they test something."""
    copy = tmp_path / before.name
    copy_project(before, copy)
    [new] = {path.name for path in (after / "tests").glob("test_*.py")} - {
        path.name for path in (before / "tests").glob("test_*.py")
    }
    shutil.copy(after / "tests" / new, copy / "tests" / new)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"tests/{new}"],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode in (1, 2), done.stdout
    assert " passed" not in done.stdout.splitlines()[-1]


def test_broken_settings_leave_no_broker_behind(tmp_path):
    """When a learner's settings cannot be read, the tests' broker ends all the same."""
    copy = tmp_path / "step"
    copy_project(STEPS[0], copy)
    (copy / "config/settings.py").write_text("import os\nprint('BROKER', os.environ['REDIS_URL'])\n1 / 0\n")
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=120)
    assert "ZeroDivisionError" in done.stderr
    [url] = re.findall(r"BROKER (\S+)", done.stdout)
    assert not answers(url)
