"""Every exercise fails on its step and passes with its solution, which breaks nothing else."""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tutorial.course.assignment import all_exercises
from tutorial.course.files import copy_project, write_files
from tutorial.course.steps import ROOT, find_step
from tutorial.services.processes import patience

LIMIT = 300  # seconds for one run of pytest, more on a busy machine


@dataclass
class Run:
    """What came of a run of pytest: its exit code and output, and each test's outcome with its message."""

    code: int
    output: str
    outcomes: list[tuple[str, str]]


def lay_out(exercise, directory: Path, solved: bool) -> Path:
    """Copy the exercise's step, lay its test over it and, if wanted, its solution."""
    copy = copy_project(exercise.step, directory / f"{exercise.name}-{'solved' if solved else 'unsolved'}")
    shutil.copy(exercise.test_file, copy / "tests")
    if solved:
        write_files(exercise.solution, copy)
    return copy


def run_pytest(copy: Path, *arguments: str) -> Run:
    """Run pytest in a copy of a step, in a session of its own, so that nothing of it can stay behind."""
    report = copy.with_suffix(".xml")
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in ("DJANGO_SETTINGS_MODULE", "REDIS_URL")
    }
    words = ["-q", "-p", "no:cacheprovider", f"--junitxml={report}", "-o", "junit_logging=no", *arguments]
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
                outcomes.append((outcome.tag, outcome.get("message", "")))
    return Run(done.returncode, done.stdout + done.stderr, outcomes)


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """The runs that the selected tests ask for, begun together, because most of their time is waiting."""
    directory = tmp_path_factory.mktemp("exercises")
    wanted = {test_it_passes_solved.__name__: True, test_it_fails_unsolved.__name__: False}
    chosen = {
        (item.callspec.params["exercise"], wanted[item.originalname])
        for item in request.session.items
        if item.originalname in wanted
    }
    with ThreadPoolExecutor(max_workers=3) as lanes:
        started = {}
        # The longest first: recovery, then the others with their solutions.
        for exercise, solved in sorted(
            chosen, key=lambda run: (run[0].name != "recovery", not run[1], run[0].name)
        ):
            copy = lay_out(exercise, directory, solved)
            files, expression = exercise.selection()
            words = [*files, "-k", expression, "-s"] if solved else [files[0], "-x"]
            started[exercise, solved] = lanes.submit(run_pytest, copy, *words)
        yield started


def skip_what_was_skipped(run: Run) -> None:
    """Skip where nothing failed and something was skipped, for the same reason: there is no browser."""
    if run.code == 0 and run.outcomes:
        pytest.skip(run.outcomes[0][1])


each = pytest.mark.parametrize("exercise", all_exercises(), ids=lambda exercise: exercise.name)


@each
def test_it_fails_unsolved(runs, exercise):
    """On the bare step the exercise's test fails, by an assertion and not by an accident."""
    run = runs[exercise, False].result()
    skip_what_was_skipped(run)
    assert run.code == 1, run.output
    [(kind, message)] = [outcome for outcome in run.outcomes if outcome[0] != "skipped"]
    assert kind == "failure", run.output
    assert re.match(r"(AssertionError|assert|Failed:)", message), message


@each
def test_it_passes_solved(runs, exercise):
    """With the solution over the step the exercise's test passes, and so do the step's own."""
    run = runs[exercise, True].result()
    accounts = [line for line in run.output.splitlines() if re.search(r"\b(sent|heard|mails) \d+", line)]
    print("", *accounts, run.output.splitlines()[-1], sep="\n")
    skip_what_was_skipped(run)
    assert run.code == 0, run.output
    assert run.outcomes == []


@each
def test_its_readme_has_what_the_command_needs(exercise):
    """The README says on which step the exercise builds and how long it takes, and has graded hints."""
    text, about = exercise.readme.read_text(), exercise.about
    assert find_step(about["step"]).name == about["step"]
    assert 5 <= about["minutes"] <= 120
    assert all((exercise.step / f"tests/{name}.py").exists() for name in about.get("concerns", {}))
    assert text.count("<details>") == text.count("</details>") >= 2
    for heading in ("## Task", "## Why", "## At the end", "## Hints", "## What the solution costs"):
        assert f"\n{heading}\n" in text, heading
    row = f"| [{exercise.name}]({exercise.name}/README.md) | {about['step']} | {about['minutes']} |"
    assert row in (ROOT / "exercises/README.md").read_text()
