"""A solution is only what it adds to its step, and a fix in the step reaches it by itself."""

import shutil
import subprocess
import sys

import pytest

from tutorial.course.assignment import all_exercises, exercise_assignment
from tutorial.course.compose import DoesNotFit, compose, target_of
from tutorial.course.files import copy_project, project_files, write_files
from tutorial.course.steps import ROOT
from tutorial.learn.own_exercises import repeated

each = pytest.mark.parametrize("assignment", all_exercises(), ids=lambda assignment: assignment.name)


def added(assignment):
    return project_files(assignment.exercise / "solution")


def test_solutions_hardly_repeat_their_steps():
    """Of all lines in the solutions at most a tenth is in the steps, context and removed lines included."""
    own, again = 0, {}
    for assignment in all_exercises():
        for name, path in added(assignment).items():
            text = path.read_text()
            own += sum(bool(line.strip()) for line in text.splitlines())
            again[f"{assignment.name}: {name}"] = repeated(name, text, assignment.step)
    most = sorted(again.items(), key=lambda item: -item[1])[:5]
    assert sum(again.values()) <= own / 10, f"{sum(again.values())} of {own} lines, most in {most}"


@each
def test_a_fix_in_the_step_reaches_the_exercise(assignment, tmp_path):
    """New lines at the top of a step's files are in the composed ones, and nothing else changes."""
    step = copy_project(assignment.step, tmp_path / assignment.step.name)
    fixed = project_files(step)
    for path in fixed.values():
        path.write_bytes(b"new\n\n" + path.read_bytes())
    before = compose(assignment.step, assignment.exercise / "solution")
    after = {name: b"new\n\n" * (name in fixed) + content for name, content in before.items()}
    assert compose(step, assignment.exercise / "solution") == after


@pytest.fixture
def rate_limit(tmp_path):
    """The exercise rate_limit: its solution, a copy of its step, and the file of the copy that it patches."""
    assignment = exercise_assignment("rate_limit")
    step = copy_project(assignment.step, tmp_path / assignment.step.name)
    return assignment.exercise / "solution", step, step / "chat/consumers.py"


def test_a_changed_line_of_the_step_is_in_the_exercise(rate_limit):
    """A constant that changed in the step, and moved further down, has its new value in the exercise."""
    solution, step, consumers = rate_limit
    text = consumers.read_text().replace("MAX_ROOM_NAME = 100", "\nOTHER = 1\n\nMAX_ROOM_NAME = 50")
    consumers.write_text(text)
    composed = compose(step, solution)["chat/consumers.py"].decode()
    assert "OTHER = 1\n\nMAX_ROOM_NAME = 50" in composed
    assert [line for line in text.splitlines() if line not in composed.splitlines()] == []
    assert "self.bucket.take()" in composed


@pytest.mark.parametrize(
    ("old", "new", "seen"),
    [
        ("MAX_MESSAGE = 4096  #", "LONGEST = 4096  #", "not there"),
        ("import hashlib\n", "import hashlib\nimport hashlib\n", "there more than once"),
        ("import hashlib\n", "", "not there"),
    ],
)
def test_a_patch_that_no_longer_fits_says_where_and_what_to_do(rate_limit, old, new, seen):
    """The error names the exercise, the file, the hunk with its lines, and what to do about it."""
    solution, step, consumers = rate_limit
    hunks = (solution / "chat/consumers.py.patch").read_text().split("\n@@")[1:]
    number = next(count for count, hunk in enumerate(hunks, 1) if old.split()[0] in hunk)
    consumers.write_text(consumers.read_text().replace(old, new))
    with pytest.raises(DoesNotFit) as caught:
        compose(step, solution)
    text = str(caught.value)
    head = f"Exercise rate_limit, solution/chat/consumers.py.patch, hunk {number}: "
    assert text.startswith(
        f"{head}these lines of step05_celery/chat/consumers.py are {seen}:\n    {old[:11]}"
    )
    assert "Write in the patch what the step has now" in text


def test_hunks_in_another_order_and_additions_to_nothing_are_refused(rate_limit):
    """A hunk above the one before it doesn't fit, and neither does an addition to a missing file."""
    solution, step, consumers = rate_limit
    text = consumers.read_text()
    consumers.write_text(text.replace("import hashlib\n", "") + "import hashlib\n")
    with pytest.raises(DoesNotFit, match=r"hunk 2: .* above those of the hunk before"):
        compose(step, solution)
    consumers.unlink()
    with pytest.raises(DoesNotFit, match=r"step05_celery has no chat/consumers\.py to add to"):
        compose(step, solution)


def test_composed_files_are_as_tidy_as_the_steps(tmp_path):
    """Formatting and style are judged on the code a reader gets: the step with the solution in it."""
    for assignment in all_exercises():
        names = {target_of(name) for name in added(assignment)}
        files = {name: assignment.solution[name] for name in names}
        write_files(files, tmp_path / assignment.name / assignment.step.name)
        shutil.copy(ROOT / "pyproject.toml", tmp_path / assignment.name)
    for words in (["format", "--check"], ["check"]):
        command = [sys.executable, "-m", "ruff", *words, "--no-cache", "."]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@each
def test_a_solution_is_readable(assignment):
    """A composed file is a screen or two and unlike the step's; settings are only added to, at the end."""
    for name in map(target_of, added(assignment)):
        text, old = assignment.solution[name].decode(), assignment.step / name
        assert len(text.splitlines()) <= 190, name
        if old.exists():
            assert text != old.read_text(), name
            assert name != "config/settings.py" or text.startswith(old.read_text()), name
