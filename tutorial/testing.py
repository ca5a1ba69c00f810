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

from tutorial.steps import ROOT, all_steps

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
    """Run pytest in a directory and return what came of it."""
    env = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    start = time.monotonic()
    with tempfile.TemporaryFile() as output:
        code = subprocess.call(  # noqa: S603
            [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *arguments],
            cwd=directory,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        output.seek(0)
        text = output.read().decode(errors="replace")
    name = "tests" if directory == ROOT else directory.name
    return Outcome(name, code, text, time.monotonic() - start)


def run_suites(steps: Sequence[Path], course: bool, arguments: Sequence[str]) -> int:
    """Run the suites of steps, three at a time, and print a line for each as it ends.

    Args:
        steps: The directories of the steps.
        course: Whether the tests of the course as a whole run too.
        arguments: More words for pytest's command line.

    Returns:
        0 when every suite passed, 1 otherwise, 5 when no test was selected.
    """
    console = Console(highlight=False, soft_wrap=True)
    # The longest first, so that the lanes end at about the same time.
    directories = [*([ROOT] if course else []), *reversed(steps)]
    console.print(f"Testing {', '.join('tests' if d == ROOT else d.name for d in directories)} ...")
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


def suites(step: Path | None) -> tuple[list[Path], bool]:
    """Return the steps to test, and whether the course as a whole is meant too."""
    return ([step], False) if step else (all_steps(), True)
