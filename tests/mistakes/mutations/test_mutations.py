"""Each of many typical mistakes is caught by `tutorial check`, and its first line names the file it is in."""

import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.mistakes.mutations.mistakes import MISTAKES
from tutorial.course.assignment import step_assignment
from tutorial.course.files import copy_project
from tutorial.course.steps import ROOT
from tutorial.learn.check import check
from tutorial.learn.render import problem_text

# A server and a browser may be at work in each.
LANES = 2


def names(mistake):
    """Return what a mistake is called in the list of tests."""
    return f"{mistake.step}-{mistake.name}"


def make(mistake, directory):
    """Copy the finished step and make the mistake in the copy."""
    project = copy_project(ROOT / mistake.step, directory / mistake.step)
    edits = [(mistake.file, edit) for edit in mistake.edits] + list(mistake.also.items())
    for file, (old, new) in edits:
        path = project / file
        text = path.read_text()
        assert old in text, f"{mistake.step}/{file} has no {old!r}"
        path.write_text(text.replace(old, new))
    return project


@pytest.fixture(scope="module")
def verdicts(request, tmp_path_factory):
    """What `check` says about each mistake that was selected, two at a time."""
    directory = tmp_path_factory.mktemp("mutations")

    def judge(index, mistake):
        project = make(mistake, directory / str(index))
        try:
            return check(project, step_assignment(mistake.step), only=mistake.only)
        finally:
            shutil.rmtree(project)

    with ThreadPoolExecutor(LANES) as lanes:
        selected = [item.callspec.params["mistake"] for item in request.session.items if "[" in item.name]
        yield {
            mistake.name: lanes.submit(judge, *pair) for pair in enumerate(selected) for mistake in pair[1:]
        }


@pytest.mark.parametrize("mistake", MISTAKES, ids=names)
def test_a_mistake_is_caught_and_its_file_named(verdicts, mistake):
    """A check is not content, and the first line that it shows begins with the file of the mistake."""
    verdict = verdicts[mistake.name].result()
    assert verdict.problems, "not caught"
    first_line = problem_text(verdict.problems[0], verbose=False).renderables[0].plain
    assert first_line.startswith(mistake.file), first_line


def test_there_are_many_mistakes_and_no_name_twice():
    """At least 25, in each of the five steps, each with a name of its own."""
    assert len(MISTAKES) >= 25
    assert len({mistake.step for mistake in MISTAKES}) == 5
    assert [name for name, count in Counter(mistake.name for mistake in MISTAKES).items() if count > 1] == []
