"""The steps differ by one feature each and stay honest copies of each other."""

import difflib
import re
import shutil
import subprocess
import sys
from itertools import pairwise

import pytest

from tests.lessons.playground import contents
from tutorial.course.diffs import diff_file, step_diff
from tutorial.course.files import copy_project, project_files
from tutorial.course.steps import all_steps, number
from tutorial.services.broker import answers

STEPS = all_steps()
NAMES = ["step01_setup", "step02_consumer", "step03_routing", "step04_client", "step05_celery"]
TRANSITIONS = list(pairwise(STEPS))

each_transition = pytest.mark.parametrize(("before", "after"), TRANSITIONS, ids=lambda step: step.name)


def test_the_steps_have_their_names():
    """Five directories, under the names the course is known by."""
    assert [step.name for step in STEPS] == NAMES


@each_transition
def test_no_file_vanishes_and_earlier_tests_travel_unchanged(before, after):
    """Everything an earlier step has, the later one has too; its tests byte for byte."""
    had, has = contents(before), contents(after)
    assert set(had) <= set(has)
    assert [name for name in had if name.startswith("tests/") and had[name] != has[name]] == []


def test_almost_no_line_is_rewritten_and_the_lessons_quote_each():
    """At most three lines are removed over all transitions. Their lessons quote them; others say none is."""
    count = 0
    for before, after in TRANSITIONS:
        has, lesson = contents(after), (after / "README.md").read_text()
        lines = [
            line
            for name, text in contents(before).items()
            for line in difflib.ndiff(text.splitlines(), has[name].splitlines())
        ]
        removed = [line[2:] for line in lines if line.startswith("- ")]
        assert all(f"`{line}`" in lesson for line in removed if line)
        none = f"This step rewrites no line of step {number(before)}."
        assert (none in lesson) == (not removed)
        count += len(removed)
    assert count <= 3


@pytest.mark.skipif(not shutil.which("git"), reason="git isn't installed; it makes the diffs")
@each_transition
def test_the_committed_diff_is_fresh(before, after):
    """docs/diffs has what `tutorial dev diff` shows. If not: make diffs."""
    assert diff_file(number(after)).read_text() == step_diff(number(after))


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_no_step_carries_boilerplate(step):
    """No wsgi.py, no empty models, admin or tests modules."""
    files = project_files(step)
    assert not [name for name in files if name.endswith(("wsgi.py", "admin.py", "apps.py", "/tests.py"))]
    empty = [name for name, path in files.items() if path.stat().st_size == 0]
    assert all(name.endswith("__init__.py") for name in empty)


def test_broken_settings_leave_no_broker_behind(tmp_path):
    """When a learner's settings can't be read, the tests' broker still ends."""
    copy = copy_project(STEPS[0], tmp_path / "step")
    (copy / "config/settings.py").write_text("import os\nprint('BROKER', os.environ['REDIS_URL'])\n1 / 0\n")
    command = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, timeout=600)
    assert "ZeroDivisionError" in done.stderr
    [url] = re.findall(r"BROKER (\S+)", done.stdout)
    assert not answers(url)
