"""`tutorial dev propagate` carries a fix into the later steps and loses nothing."""

import pytest

from tests.cli.conftest import needs_git
from tutorial.course.git import git
from tutorial.course.propagate import CannotPropagate, propagate

pytestmark = needs_git


@pytest.fixture
def course(tmp_path):
    """A course of three small steps, committed."""
    text = "one\ntwo\nthree\nfour\nfive\n"
    for step, more in {"step01_a": "", "step02_b": "six\n", "step03_c": "six\nseven\n"}.items():
        (tmp_path / step).mkdir()
        (tmp_path / step / "code.py").write_text(text + more)
        (tmp_path / step / "old.py").write_text("old\n")
        (tmp_path / step / "README.md").write_text(step)
    for words in (["init"], ["add", "-A"], ["commit", "-m", "all"]):
        git(*words, cwd=tmp_path, own=True)
    return tmp_path


def read(course, name="code.py"):
    return [(course / step / name).read_text() for step in ("step01_a", "step02_b", "step03_c")]


def test_a_changed_line_travels(course):
    """A fix in step 1 arrives in steps 2 and 3, which keep what they added; a second run changes nothing."""
    with pytest.raises(CannotPropagate, match="no uncommitted change"):
        propagate(course / "step01_a", course)
    (course / "step01_a/code.py").write_text("ONE\ntwo\nthree\nfour\nfive\n")
    result = propagate(course / "step01_a", course)
    assert result.written == ["step02_b/code.py", "step03_c/code.py"]
    after = read(course)
    assert [text.splitlines()[0] for text in after] == ["ONE"] * 3
    assert [text.splitlines()[-1] for text in after] == ["five", "six", "seven"]
    assert propagate(course / "step01_a", course).written == []
    assert read(course) == after


def test_a_fix_starts_where_it_was_made(course):
    """A fix in step 2 does not touch step 1."""
    (course / "step02_b/code.py").write_text("one\nTWO\nthree\nfour\nfive\nsix\n")
    propagate(course / "step02_b", course)
    assert [text.splitlines()[1] for text in read(course)] == ["two", "TWO", "TWO"]


def test_new_and_removed_files_travel_and_lessons_do_not(course):
    """A new file appears in the later steps, a removed one disappears; a README belongs to its step."""
    (course / "step01_a/new.py").write_text("new\n")
    (course / "step01_a/old.py").unlink()
    (course / "step01_a/README.md").write_text("changed")
    propagate(course / "step01_a", course)
    assert read(course, "new.py") == ["new\n"] * 3
    assert not list(course.glob("*/old.py"))
    assert (course / "step02_b/README.md").read_text() == "step02_b"


def test_a_conflict_is_marked_and_nothing_is_lost(course):
    """If both changed the same line, the file has both versions, and a second run waits."""
    (course / "step03_c/code.py").write_text("one\ntwo\nmine\nfour\nfive\nsix\nseven\n")
    git("commit", "-qam", "step 3 has its own third line", cwd=course, own=True)
    (course / "step01_a/code.py").write_text("one\ntwo\nfixed\nfour\nfive\n")
    result = propagate(course / "step01_a", course)
    assert (result.written, result.conflicts) == (["step02_b/code.py"], ["step03_c/code.py"])
    assert "mine\n" in read(course)[2]
    assert "fixed\n" in read(course)[2]
    with pytest.raises(CannotPropagate, match="step03_c"):
        propagate(course / "step01_a", course)


def test_a_removal_does_not_throw_a_later_change_away(course):
    """A file removed in step 1 stays in a later step that changed it, and is reported."""
    (course / "step03_c/old.py").write_text("old, and more\n")
    git("commit", "-qam", "step 3 has more", cwd=course, own=True)
    (course / "step01_a/old.py").unlink()
    result = propagate(course / "step01_a", course)
    assert result.kept == ["step03_c/old.py"]
    assert (course / "step03_c/old.py").read_text() == "old, and more\n"
