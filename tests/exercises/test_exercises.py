"""Every exercise is done with its solution, which breaks nothing else, and its README has what is needed."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tutorial.course.assignment import all_exercises
from tutorial.course.files import copy_project, write_files
from tutorial.course.steps import ROOT, find_step, number
from tutorial.learn.check import check

each = pytest.mark.parametrize("exercise", all_exercises(), ids=lambda exercise: exercise.name)


@pytest.fixture(scope="module")
def verdicts(request, tmp_path_factory):
    """What `check` says about the selected solutions, two at a time, because most of its time is waiting."""

    directory = tmp_path_factory.mktemp("solved")

    def judge(exercise):
        project = copy_project(exercise.step, directory / exercise.name)
        write_files(exercise.solution, project)
        return check(project, exercise)

    selected = [
        item.callspec.params["exercise"] for item in request.session.items if "verdicts" in item.fixturenames
    ]
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as lanes:
        for limit in ("LIMIT", "LOAD_LIMIT"):  # only what hangs takes as long, however busy the machine gets
            patch.setattr(f"tutorial.learn.check.{limit}", 600)
        # The longest first.
        selected.sort(key=lambda exercise: exercise.name != "recovery")
        yield {exercise: lanes.submit(judge, exercise) for exercise in selected}


@each
def test_it_is_done_with_its_solution(verdicts, exercise):
    """With the solution over the step, the exercise's tests pass, and so do the step's that it concerns."""
    verdict = verdicts[exercise].result()
    assert not verdict.problems, verdict.problems[0].traceback
    if skipped := verdict.names("skipped"):
        pytest.skip(f"no Chromium or Chrome on PATH; {', '.join(skipped)} need one")
    assert verdict.good


@each
def test_its_readme_has_what_the_command_needs(exercise):
    """The README names the exercise's step and minutes, and has graded hints."""
    text, about = exercise.readme.read_text(), exercise.about
    assert find_step(about["step"]).name == about["step"]
    assert 5 <= about["minutes"] <= 120
    assert all((exercise.step / f"tests/{name}.py").exists() for name in about.get("concerns", {}))
    assert text.count("<details>") == text.count("</details>") >= 2
    for heading in ("## What to do", "## Why", "## At the end", "## Hints", "## What the solution costs"):
        assert f"\n{heading}\n" in text, heading
    title = re.search(r"^# (.*)$", text, re.MULTILINE)[1]
    where = f"[{title}]({exercise.name}/README.md), `{exercise.name}`"
    row = f"| {where} | {number(exercise.step)} | {about['minutes']} |"
    assert row in (ROOT / "exercises/README.md").read_text()
