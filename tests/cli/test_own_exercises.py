"""`tutorial exercise new` and `lint`: your own exercise works from the start, and each fault has a name."""

import pytest

from tests.cli.conftest import replace
from tutorial.course.assignment import Assignment, all_exercises
from tutorial.course.steps import find_step
from tutorial.learn.own_exercises import faults, new_exercise, text_faults

FULL = find_step("1") / "config/settings.py"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A new exercise, outside the course."""
    monkeypatch.setenv("TUTORIAL_EXERCISES", str(tmp_path / "own"))
    return new_exercise("slow-reader", "1")


def assignment(directory):
    """Return it as an assignment, even if it can't be found."""
    return Assignment(directory.name, find_step("1"), directory)


def test_a_new_exercise_is_good_and_is_found_everywhere(tutorial, mine, tmp_path):
    """It fails unsolved and passes solved; it is in the list, can be done, hinted and solved."""
    done = tutorial("exercise", "lint")
    assert (done.exit_code, done.output) == (0, "1 looked at: good.\n")
    assert "slow_reader" in tutorial("list").output
    assert "exercise slow_reader" in tutorial("exercise", "slow_reader", tmp_path / "play").output
    assert tutorial("check", "slow_reader", tmp_path / "play").exit_code == 1
    assert "Where it goes" in tutorial("hint", "slow_reader", tmp_path / "play").output
    solved = tutorial("solve", "slow_reader", "config/settings.py", "--dir", tmp_path / "play", "--yes")
    assert solved.exit_code == 0
    assert tutorial("check", "slow_reader", tmp_path / "play").exit_code == 0


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("README.md", "minutes: 15", "minutes: 15 min", "README.md: minutes is '15 min'"),
        ("README.md", "minutes: 15", "minutes: 1", "README.md: minutes is 1. Write a whole number"),
        ("README.md", "## Why\n", "## Because\n", "README.md: the section `## Why` is missing."),
        ("README.md", "<details><summary>How it looks", "<p>", "README.md: it has 1 hints."),
        ("test_slow_reader.py", '    """The settings', '    "" or """The settings', "has no docstring"),
        (
            "solution/config/settings.add.py",
            "GREETING",
            FULL.read_text() + "GREETING",
            "lines are the step's",
        ),
    ],
)
def test_each_fault_of_the_text_is_named(mine, file, old, new, said):
    """Minutes, sections, hints, docstrings, lines of the step: a line that names the file."""
    assert list(text_faults(assignment(mine))) == []
    replace(mine, file, old, new)
    if "settings" in file:
        (mine / file).rename(mine / "solution/config/settings.py")
    [fault] = text_faults(assignment(mine))
    assert said in fault
    assert "\n" not in fault


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("README.md", "---\nstep", "step", "README.md: it must begin with `step:`"),
        ("README.md", "step: step01_setup", "step: step09", "README.md: it must begin with `step:`"),
        ("test_slow_reader.py", "def test_", "def try_", "it has no test"),
        (
            "test_slow_reader.py",
            'assert getattr(settings, "GREETING", None)',
            "assert True",
            "asks for nothing",
        ),
        ("solution/config/settings.add.py", '"hello"', '""', "With the solution it isn't done"),
    ],
)
def test_what_does_not_judge_is_named(mine, file, old, new, said):
    """No front matter, no test, a test that asks for nothing, a solution that solves nothing."""
    replace(mine, file, old, new)
    found = list(faults(mine))
    assert any(said in fault for fault in found), found


def test_a_half_written_exercise_harms_nothing_else(tutorial, mine):
    """Without its front matter it isn't in the list, and every command works; lint names the fault."""
    (mine / "README.md").write_text("nothing\n")
    assert "slow_reader" not in {each.name for each in all_exercises()}
    assert tutorial("list").exit_code == 0
    done = tutorial("exercise", "lint", "slow-reader")
    assert done.exit_code == 1
    assert done.output.startswith("slow_reader: README.md: it must begin with")
    (mine / "README.md").unlink()
    assert "slow_reader: README.md: missing." in tutorial("exercise", "lint").output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("new", "Slow Reader"), "'Slow Reader' is no name for an exercise."),
        (("new", "lint"), "'lint' is no name for an exercise."),
        (("new", "echo"), "There is an exercise echo already."),
        (("new", "slow_reader"), "There is an exercise slow_reader already."),
        (("new", "other", "--step", "9"), "There is no step '9'."),
        (("lint", "nothing"), "There is no exercise 'nothing'"),
        (("nothing",), "There is no exercise 'nothing'."),
    ],
)
def test_what_cannot_be_made_is_one_line(tutorial, mine, words, said):
    """It says what to do instead."""
    done = tutorial("exercise", *words)
    assert done.exit_code == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
