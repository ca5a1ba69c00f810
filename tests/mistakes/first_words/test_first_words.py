"""What `tutorial check` says first: about an untouched project, and about misplaced files."""

import re
import subprocess
import sys

import pytest

from tests.mistakes.mistakes import CONSUMERS, SETTINGS, change
from tutorial.course.assignment import all_exercises, find_assignment, step_assignment
from tutorial.course.files import copy_project, write_files
from tutorial.course.steps import all_steps
from tutorial.learn.check import check
from tutorial.learn.static_checks import static_problems

LISTING = re.compile(r"^```\w+ (\S+\.\w+)$", re.MULTILINE)


@pytest.fixture
def project(tmp_path):
    """A function that copies a finished step and changes files of it."""

    def project(step, changes):
        copy = copy_project(step_assignment(str(step)).step, tmp_path / "project")
        change(copy, changes)
        return copy

    return project


@pytest.mark.long
@pytest.mark.parametrize(
    "name", [*(step.name for step in all_steps()), *(assignment.name for assignment in all_exercises())]
)
def test_an_untouched_project_fails_and_is_sent_to_the_first_file(tmp_path, name):
    """The first message names the file of the first listing, or the file that an exercise names first.

    An exercise's test fails with an assertion, not by accident.
    """
    assignment = find_assignment(name)
    write_files(assignment.beginning, tmp_path)
    verdict = check(tmp_path, assignment)
    if verdict.names("skipped"):
        pytest.skip("no Chromium or Chrome on PATH; the exercise's test needs one")
    assert verdict.problems, "nothing is missing"
    problem = verdict.problems[0]
    text = assignment.readme.read_text()
    todo = [
        name for name, content in assignment.solution.items() if assignment.beginning.get(name) != content
    ]
    if assignment.exercise:
        assert problem.requirement in assignment.requirements
        assert re.search(r": (AssertionError|Failed)$", problem.traceback), problem.traceback
        order = sorted(todo, key=lambda name: text.find(name) if name in text else len(text))
    else:
        order = [name for name in LISTING.findall(text) if name in todo]
    assert problem.file == next(name for name in order if not name.endswith(".css"))
    assert any(text in problem.hint for text in ("README.md", "The lesson", "An empty file")), problem.hint


@pytest.mark.long
def test_an_exercise_blames_the_consumer_for_its_frames(tmp_path):
    """In live_notice an impossible id is the consumer's mistake, even if the model differs too."""
    assignment = find_assignment("live_notice")
    write_files(assignment.solution, tmp_path)
    consumer, model = tmp_path / "blog/consumers.py", tmp_path / "blog/models.py"
    consumer.rename(tmp_path / "blog/live.py")
    change(tmp_path, {"chat/routing.py": ("from blog.consumers import", "from blog.live import")})
    change(tmp_path, {"blog/live.py": (" or not 0 < notice_id < 2**63", "")})
    model.write_text(f"{model.read_text()}\n\nMORE = 1\n")
    problem = check(tmp_path, assignment, only="bad_frame").problems[0]
    assert problem.file == "blog/live.py"
    assert "dismisses nothing" in problem.what
    assert problem.seen.startswith("Failed: No frame came within ")


def test_a_file_under_a_wrong_name_is_to_be_renamed(project):
    """Chat/consumer.py instead of chat/consumers.py: the hint is the command that renames it."""
    directory = project(2, {})
    (directory / CONSUMERS).rename(directory / "chat/consumer.py")
    [problem] = static_problems(directory, step_assignment("2"))
    assert (problem.file, problem.what) == (CONSUMERS, f"{CONSUMERS} is missing")
    assert problem.hint == (
        "There is chat/consumer.py. Is it chat/consumers.py? Rename it: mv chat/consumer.py chat/consumers.py"
    )


def test_apps_are_looked_at_while_files_are_missing(project):
    """A duplicate app is named before missing parts, with a forgotten one."""
    twice = ('    "channels",\n', '    "channels",\n    "channels",\n')
    directory = project(2, {SETTINGS: twice})
    (directory / CONSUMERS).unlink()
    first, second = static_problems(directory, step_assignment("2"))
    assert (first.file, first.what) == (SETTINGS, '"channels" is in INSTALLED_APPS twice')
    assert second.file == CONSUMERS
    change(directory, {SETTINGS: (twice[1], twice[0], '    "chat",\n', "")})
    problems = static_problems(directory, step_assignment("2"))
    assert {problem.file: problem.what for problem in problems} == {
        SETTINGS: '"chat" is not in INSTALLED_APPS',
        CONSUMERS: f"{CONSUMERS} is missing",
    }


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({SETTINGS: ("import os\n", "import os\n\nint('x')\n")}, True),
        ({"config/urls.py": ("from config import views\n", "from config import views\n\nint('x')\n")}, True),
        ({CONSUMERS: ("import hashlib\n", "import hashlib\n\nint('x')\n")}, False),
    ],
)
def test_manage_py_check_is_named_where_it_helps(project, changes, shown):
    """The hint says that `manage.py check` shows the same where it does, and nowhere else."""
    directory = project(2, changes)
    [problem] = check(directory, step_assignment("2")).problems
    assert problem.file == next(iter(changes))
    assert "invalid literal" in problem.what
    assert ("manage.py check" in problem.hint) == shown
    done = subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=directory, capture_output=True, text=True, timeout=600
    )
    assert ("invalid literal" in done.stderr) == shown


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (CONSUMERS, "await self.accept()", "self.log = self.accept()\n        await self.log"),
        (
            CONSUMERS,
            "    async def send(",
            "    async def resend(self):\n        pass\n\n    async def send(",
        ),
        (CONSUMERS, "class ChatConsumer", "@property\ndef own(self):\n    return 1\n\n\nclass ChatConsumer"),
    ],
)
def test_what_is_no_mistake_is_passed_over(project, file, old, new):
    """A coroutine that is awaited later, a method of your own, a decorated function with self."""
    assert not static_problems(project(2, {file: (old, new)}), step_assignment("2"))
