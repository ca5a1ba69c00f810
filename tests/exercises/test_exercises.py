"""Every exercise fails on its step and passes with its solution, which breaks nothing else."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tutorial.course.assignment import Assignment, all_exercises
from tutorial.course.files import copy_project, write_files
from tutorial.course.steps import ROOT, find_step, number
from tutorial.services.processes import patience

LIMIT = 600  # seconds for one run of pytest, more on a busy machine
# On the bare step, a test file ends at its first failure.
LEAVE_AT_FAILURE = """
import pytest

failed = set()

def pytest_runtest_logreport(report):
    if report.failed:
        failed.add(report.nodeid.split("::")[0])

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    if item.nodeid.split("::")[0] in failed:
        pytest.skip("a test before it has failed")
"""


@dataclass
class Run:
    """The result of a run of pytest: module, outcome and message of each test that didn't pass."""

    code: int
    output: str
    outcomes: list[tuple[str, str, str]]

    def of(self, exercise: Assignment) -> list[tuple[str, str]]:
        """Return outcome and message of each of an exercise's own tests that didn't pass."""
        return [outcome for module, *outcome in self.outcomes if module == exercise.test_file.stem]


def run_pytest(copy: Path, *arguments: str) -> Run:
    """Run pytest in a copy of a step."""
    report = copy.with_suffix(".xml")
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in ("DJANGO_SETTINGS_MODULE", "REDIS_URL")
    }
    words = [
        "-q",
        "-s",
        "-p",
        "no:cacheprovider",
        f"--junitxml={report}",
        "-o",
        "junit_logging=no",
        *arguments,
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=copy,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patience(LIMIT),
    )
    outcomes = []
    for case in ElementTree.parse(report).iter("testcase") if report.exists() else []:  # noqa: S314 - our own
        for outcome in case:
            if outcome.tag in ("failure", "error", "skipped"):
                module = (case.get("classname") or case.get("name", "")).split(".")[-1]
                outcomes.append((module, outcome.tag, outcome.get("message", "")))
    return Run(done.returncode, done.stdout + done.stderr, outcomes)


def run_solved(exercise: Assignment, directory: Path) -> Run:
    """Run an exercise's tests, and those of the step that it concerns, with the solution over the step."""
    copy = copy_project(exercise.step, directory / exercise.name)
    write_files(exercise.solution, copy)
    shutil.copy(exercise.test_file, copy / "tests")
    files, expression = exercise.selection()
    return run_pytest(copy, *files, "-k", expression)


def run_unsolved(step: Path, exercises: Sequence[Assignment], directory: Path) -> Run:
    """Run the tests of all exercises on one bare step."""
    copy = copy_project(step, directory / step.name)
    (copy / "conftest.py").write_text(LEAVE_AT_FAILURE)
    files = [shutil.copy(exercise.test_file, copy / "tests") for exercise in exercises]
    return run_pytest(copy, "--continue-on-collection-errors", *files)


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """The runs for the selected tests, begun together, because most of their time is waiting."""
    directory = tmp_path_factory.mktemp("exercises")
    solved, unsolved = (
        [
            item.callspec.params["exercise"]
            for item in request.session.items
            if item.originalname == test.__name__
        ]
        for test in (test_it_passes_solved, test_it_fails_unsolved)
    )
    with ThreadPoolExecutor(max_workers=2) as lanes:
        started = {}
        # The longest first: the exercises on the last step, recovery before all others.
        for exercise in sorted(solved, key=lambda exercise: exercise.name != "recovery"):
            started[exercise, True] = lanes.submit(run_solved, exercise, directory)
        for step, exercises in groupby(unsolved, lambda exercise: exercise.step):
            exercises = list(exercises)
            run = lanes.submit(run_unsolved, step, exercises, directory)
            started |= {(exercise, False): run for exercise in exercises}
        yield started


def skip_what_was_skipped(outcomes: list) -> None:
    """Skip if nothing failed and something was skipped, for the same reason: there is no browser."""
    if outcomes and all(outcome == "skipped" for outcome, _ in outcomes):
        pytest.skip(outcomes[0][1])


each = pytest.mark.parametrize("exercise", all_exercises(), ids=lambda exercise: exercise.name)


@each
def test_it_fails_unsolved(runs, exercise):
    """On the bare step the exercise's test fails with an assertion, not by accident."""
    run = runs[exercise, False].result()
    outcomes = run.of(exercise)
    skip_what_was_skipped(outcomes)
    [(outcome, message)] = [found for found in outcomes if found[0] != "skipped"] or [("pass", "")]
    assert outcome == "failure", run.output
    assert re.match(r"(AssertionError|assert|Failed:)", message), message


@each
def test_it_passes_solved(runs, exercise):
    """With the solution over the step the exercise's test passes, and so do the step's own."""
    run = runs[exercise, True].result()
    accounts = [line for line in run.output.splitlines() if re.search(r"\b(sent|heard|mails) \d+", line)]
    print("", *accounts, run.output.splitlines()[-1], sep="\n")
    if run.code == 0:
        skip_what_was_skipped([found[1:] for found in run.outcomes])
    assert run.code == 0, run.output
    assert run.outcomes == []


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
