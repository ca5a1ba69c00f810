"""`tutorial exercise new` and `lint`: your own exercise works from the start, and each fault has a name."""

import pytest

from tests.cli.conftest import replace
from tutorial.course.assignment import all_exercises
from tutorial.course.steps import find_step
from tutorial.learn.own_exercises import faults, new_exercise

FULL = find_step("1") / "config/settings.py"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A new exercise, outside the course."""
    monkeypatch.setenv("TUTORIAL_EXERCISES", str(tmp_path / "own"))
    return new_exercise("slow-reader", "1")


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


TEST, SETTINGS = "test_slow_reader.py", "solution/config/settings.add.py"


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("README.md", "minutes: 15", "minutes: 15 min", "README.md: minutes is '15 min'"),
        ("README.md", "minutes: 15", "minutes: 1", "README.md: minutes is 1. Write a whole number"),
        ("README.md", "## Why\n", "## Because\n", "README.md: the section `## Why` is missing."),
        ("README.md", "<details><summary>How it looks", "<p>", "README.md: it has 1 hints."),
        (TEST, '    """The settings', '    "" or """The settings', "has no docstring"),
        (SETTINGS, "GREETING", FULL.read_text() + "GREETING", "lines are the step's"),
        ("README.md", "---\nstep", "step", "README.md: it must begin with `step:`"),
        ("README.md", "step: step01_setup", "step: step09", "README.md: it must begin with `step:`"),
        ("README.md", "minutes: 15", "minutes: [15", "README.md: it must begin with `step:`"),
        (TEST, "def test_", "def try_", f"{TEST}: it has no test"),
        (TEST, "def test_", "def test ", f"{TEST}: Python can't read it"),
        (TEST, 'assert getattr(settings, "GREETING", None)', "assert True", f"{TEST}: without the solution"),
        (SETTINGS, '"hello"', '""', "With the solution it isn't done: config/settings.py"),
    ],
)
def test_each_fault_is_named(mine, file, old, new, said):
    """A text, a test or a solution that won't do is one line, and other commands go on."""
    replace(mine, file, old, new)
    if "lines are the step's" in said:
        (mine / file).rename(mine / "solution/config/settings.py")
    fault = next(faults(mine))
    assert said in fault
    assert "\n" not in fault
    all_exercises()


def test_a_half_written_exercise_harms_nothing_else(tutorial, mine):
    """Without its front matter it isn't in the list, and every command works; lint names the fault."""
    (mine / "solution/picture.png").write_bytes(b"\xff")
    assert tutorial("exercise", "lint").output == "1 looked at: good.\n"
    for content in (b"---\nstep: 1\nminutes: x\n---\n", b"\xff", b"nothing\n"):
        (mine / "README.md").write_bytes(content)
        assert tutorial("list").exit_code == 0
    assert "slow_reader" not in {each.name for each in all_exercises()}
    done = tutorial("exercise", "lint", "slow-reader")
    assert done.exit_code == 1
    assert done.output.startswith("slow_reader: README.md: it must begin with")
    (mine / "README.md").unlink()
    (mine.parent / ".git").mkdir()
    assert tutorial("exercise", "lint").output.startswith("slow_reader: README.md: missing.")


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
