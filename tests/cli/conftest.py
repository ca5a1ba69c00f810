"""What the tests of the learner's commands share."""

import shutil

import pytest
from typer.testing import CliRunner

from tutorial.cli import app
from tutorial.course.files import copy_project
from tutorial.course.steps import find_step

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git isn't installed")


@pytest.fixture
def tutorial(monkeypatch):
    """Run the command in this process, as a terminal of 100 columns without colours would."""
    monkeypatch.setenv("COLUMNS", "100")

    def tutorial(*words, answer=None):
        return CliRunner().invoke(app, [str(word) for word in words], input=answer, catch_exceptions=False)

    return tutorial


@pytest.fixture
def project(tmp_path):
    """A function that copies a finished step and returns the copy."""
    return lambda step: copy_project(find_step(str(step)), tmp_path / f"{step}")


def replace(directory, name, old, new):
    """Replace a text in a file of a project, which must have it."""
    path = directory / name
    text = path.read_text()
    assert old in text, f"{name} has no {old!r}"
    path.write_text(text.replace(old, new))


def contents(directory):
    """Return the content of all files below a directory, git's own aside."""
    files = (path for path in directory.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}
