"""Run the steps' tests side by side, each step in a process of its own."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tutorial.course.steps import ROOT, all_steps

TESTS = ROOT / "tests"
# Suites that take long and change seldom: `tutorial test --long` runs them.
LONG = {"exercises", "mutations"}
# More than two cores need, because the tests often wait for a process or a deadline.
LANES = 3
# pytest's exit code when nothing was collected or selected.
NO_TESTS = 5


@dataclass
class Outcome:
    """What came of one suite.

    Attributes:
        name: The directory it stands in.
        code: pytest's exit code.
        output: Everything it printed.
        seconds: How long it took.
    """

    name: str
    code: int
    output: str
    seconds: float

    @property
    def summary(self) -> str:
        """The last line that pytest printed, such as `84 passed in 8.40s`."""
        lines = self.output.strip().splitlines() or ["no output"]
        return lines[-1].strip("= ")


def run_suite(directory: Path, arguments: Sequence[str]) -> Outcome:
    """Run pytest for a step or a directory of `tests/` and return what came of it."""
    in_course = TESTS in (directory, *directory.parents)
    # tests/ alone means the files in it; each directory inside is a suite of its own.
    chosen = sorted(map(str, directory.glob("test_*.py"))) if in_course else []
    env = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    start = time.monotonic()
    with tempfile.TemporaryFile() as output:
        code = subprocess.call(  # noqa: S603
            [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *chosen, *arguments],
            cwd=ROOT if in_course else directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        output.seek(0)
        text = output.read().decode(errors="replace")
    return Outcome(str(directory.relative_to(ROOT)), code, text, time.monotonic() - start)


def run_suites(directories: Sequence[Path], arguments: Sequence[str]) -> int:
    """Run suites, three at a time, and print a line for each as it ends.

    Args:
        directories: Steps, or directories of `tests/`. The longest should come first.
        arguments: More words for pytest's command line.

    Returns:
        0 when every suite passed, 1 otherwise, 5 when no test was selected.
    """
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"Testing {', '.join(str(path.relative_to(ROOT)) for path in directories)} ...")
    failed, ran = [], False
    with ThreadPoolExecutor(max_workers=LANES) as lanes:
        suites = [lanes.submit(run_suite, directory, arguments) for directory in directories]
        for suite in as_completed(suites):
            outcome = suite.result()
            passed = outcome.code in (0, NO_TESTS)
            ran = ran or outcome.code != NO_TESTS
            mark = "[green]passed[/]" if passed else "[red]FAILED[/]"
            console.print(f"{mark}  {outcome.name:16} {outcome.seconds:6.1f} s  {outcome.summary}")
            for line in outcome.output.splitlines():
                if line.startswith("SKIPPED"):
                    console.print(f"        {line}", markup=False)
            if not passed:
                failed.append(outcome)
    for outcome in failed:
        console.rule(outcome.name)
        console.print(outcome.output, markup=False)
    if not ran:
        console.print("No test was selected.")
        return NO_TESTS
    if failed:
        names = ", ".join(outcome.name for outcome in failed)
        console.print(
            f"[red]Failed:[/] {names}. To see one alone: tutorial test {failed[0].name.removeprefix('step')}"
        )
    return 1 if failed else 0


def all_suites(long: bool = False) -> list[Path]:
    """Return the directories of all suites: the course's, then the steps', the longest first.

    Args:
        long: Those of `LONG` instead.
    """
    suites = sorted(path.parent for path in TESTS.rglob("__init__.py"))
    if long:
        return [suite for suite in suites if suite.name in LONG]
    suites = [suite for suite in suites if list(suite.glob("test_*.py"))]
    return [*(suite for suite in suites if suite.name not in LONG), *reversed(all_steps())]
