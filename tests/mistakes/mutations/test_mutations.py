"""Each of many typical mistakes is caught by `tutorial check`, and its first line names the file it is in."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.mistakes.mistakes import MISTAKES, SAYS, TABLE, change
from tutorial.course.assignment import step_assignment
from tutorial.course.files import copy_project
from tutorial.learn.check import check
from tutorial.learn.render import problem_text


@pytest.fixture(scope="module")
def verdicts(request, tmp_path_factory):
    """What `check` says about each selected mistake, two at a time.

    The last come first: some show only when a wait times out, and the others use that time.
    No test waits for long, as on an idle machine: what would come late then has failed as well.
    """

    directory = tmp_path_factory.mktemp("mistakes")

    def judge(number, name):
        mistake = MISTAKES[name]
        assignment = step_assignment(str(mistake.step))
        project = copy_project(assignment.step, directory / str(number))
        change(project, mistake.changes)
        return project, check(project, assignment, go_on="hardened", only=mistake.test)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as lanes:
        patch.setenv("TUTORIAL_PATIENCE", "2")
        selected = [
            item.callspec.params["name"]
            for item in request.session.items
            if item.module is request.module and "[" in item.name
        ]
        yield {name: lanes.submit(judge, number, name) for number, name in enumerate(selected)}


@pytest.mark.parametrize("name", [*reversed(MISTAKES)])
def test_a_mistake_is_caught_and_its_file_named(verdicts, name):
    """The check fails in the right place, and its first line begins with the mistake's file."""
    (project, verdict), mistake = verdicts[name].result(), MISTAKES[name]
    assert verdict.problems, "not caught"
    problem = verdict.problems[0]
    first_line = problem_text(problem, verbose=False).renderables[0].plain
    assert first_line.startswith(next(iter(mistake.changes))), first_line
    assert bool(problem.requirement) == bool(mistake.test)
    assert not problem.requirement or mistake.test in problem.requirement.name
    if name in SAYS:
        text, says, hint = SAYS[name]
        assert f": {says}" in first_line
        assert hint in problem.hint
        lines = (project / problem.file).read_text().splitlines()
        assert text in lines[problem.line - 1] if text else not problem.line


def test_there_are_many_mistakes_and_no_name_twice():
    """At least 60, in each of the five steps, each with a name of its own."""
    assert len(MISTAKES) == sum(map(len, TABLE.values())) >= 60
    assert {mistake.step for mistake in MISTAKES.values()} == {1, 2, 3, 4, 5}
