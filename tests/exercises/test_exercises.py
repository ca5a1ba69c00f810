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

from tutorial.course.front_matter import front_matter
from tutorial.course.steps import ROOT, find_step

EXERCISES = sorted(path.parent for path in (ROOT / "exercises").glob("*/README.md"))
LIMIT = 300  # seconds for one run of pytest; the machine may be busy


@dataclass
class Run:
    """What came of a run of pytest: its exit code and output, and each test's outcome with its message."""

    code: int
    output: str
    outcomes: list[tuple[str, str]]


def lay_out(exercise: Path, directory: Path, solved: bool) -> Path:
    """Copy the exercise's step, lay its test over it and, if wanted, its solution."""
    copy = directory / f"{exercise.name}-{'solved' if solved else 'unsolved'}"
    ignored = shutil.ignore_patterns("__pycache__", "db.sqlite3*", ".pytest_cache")
    shutil.copytree(find_step(front_matter(exercise / "README.md")["step"]), copy, ignore=ignored)
    shutil.copy(exercise / f"test_{exercise.name}.py", copy / "tests")
    if solved:
        shutil.copytree(exercise / "solution", copy, ignore=ignored, dirs_exist_ok=True)
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
        timeout=LIMIT,
    )
    outcomes = []
    for case in ElementTree.parse(report).iter("testcase") if report.exists() else []:  # noqa: S314 - our own
        for outcome in case:
            if outcome.tag in ("failure", "error", "skipped"):
                outcomes.append((outcome.tag, outcome.get("message", "")))
    return Run(done.returncode, done.stdout + done.stderr, outcomes)


def selection(exercise: Path) -> tuple[str, ...]:
    """Return the words that select the exercise's test and what it concerns of the steps' tests.

    The README's front matter names these as `concerns`: modules, and an expression that selects their tests.
    """
    concerned = front_matter(exercise / "README.md").get("concerns", {})
    files = [f"tests/{name}.py" for name in (f"test_{exercise.name}", *concerned)]
    chosen = [
        f"test_{exercise.name}",
        *(f"({name} and ({only}))" if only else name for name, only in concerned.items()),
    ]
    return (*files, "-k", " or ".join(chosen), "-s")


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
            words = selection(exercise) if solved else (f"tests/test_{exercise.name}.py", "-x")
            started[exercise, solved] = lanes.submit(run_pytest, copy, *words)
        yield started


def skip_what_was_skipped(run: Run) -> None:
    """Skip where nothing failed and something was skipped, for the same reason: there is no browser."""
    if run.code == 0 and run.outcomes:
        pytest.skip(run.outcomes[0][1])


each = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.name)


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
    text = (exercise / "README.md").read_text()
    front = front_matter(exercise / "README.md")
    assert find_step(front["step"]).name == front["step"]
    assert 5 <= front["minutes"] <= 120
    assert all((find_step(front["step"]) / f"tests/{name}.py").exists() for name in front.get("concerns", {}))
    assert text.count("<details>") == text.count("</details>") >= 2
    for heading in ("## Task", "## Why", "## At the end", "## Hints", "## What the solution costs"):
        assert f"\n{heading}\n" in text, heading
    row = f"| [{exercise.name}]({exercise.name}/README.md) | {front['step']} | {front['minutes']} |"
    assert row in (ROOT / "exercises/README.md").read_text()


@each
def test_its_solution_is_readable(exercise):
    """A solution has files of a screen or two, unlike the step's, and its settings only add to them."""
    step = find_step(front_matter(exercise / "README.md")["step"])
    for path in (
        path for path in (exercise / "solution").rglob("*") if path.suffix in (".py", ".js", ".html")
    ):
        text = path.read_text()
        of_the_step = step / path.relative_to(exercise / "solution")
        assert len(text.splitlines()) <= 190, path
        if of_the_step.exists():
            assert text != of_the_step.read_text(), path
            if path.name == "settings.py":
                assert text.startswith(of_the_step.read_text()), path
