"""Run the tests of the steps and of the course side by side, each suite in a pytest of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from tutorial.course.steps import ROOT, all_steps, find_step
from tutorial.services.processes import end_tree, guard_children
from tutorial.services.signals import ended_by_signals, uninterrupted

TESTS = ROOT / "tests"
# `make test` runs the steps and these, without tests marked as long.
SHORT = ("tests/lessons", "tests/cli", "tests/cli/learn", "tests/cli/classroom")
# The rough cost of a suite on two cores: the dearest begins first. With two lanes it counts twice, and what
# mostly waits for more than its seconds, so that neither is alone in the end.
COSTS = {
    "tests/exercises": 540,
    "tests/mistakes/mutations": 530,
    "tests/promises/faults": 520,
    "tests/mistakes/symptoms": 500,
    "tests/lessons": 480,
    "tests/site": 260,
    "tests/cli": 220,
    "tests/cli/learn": 200,
    "tests/mistakes/first_words": 110,
    "step05_celery": 100,
    "tests/cli/classroom": 75,
    "tests/promises/board": 70,
    "tests/site/notebooks": 60,
    "tests/promises/scale": 60,
    "step04_client": 50,
    "tests/promises/lab": 50,
    "tests/promises/services": 15,
}
# More than two cores need, because the tests often wait for a process or a deadline. Four take as long.
LANES = 3
# These run two processes of their own at a time. With more, waits for a failure get longer.
WIDE = ("tests/exercises", "tests/mistakes/mutations", "tests/mistakes/symptoms")
# Plugins that come with other packages. No test uses them, and they double the time in which a pytest starts.
NOT_LOADED = " ".join(f"-p no:{name}" for name in ("hypothesispytest", "anyio", "valkey", "platformdirs"))
# pytest's exit code when nothing was collected or selected.
NO_TESTS = 5
# Seconds after which a test hangs: pytest then says where, and gives up.
HANG = 900
# Seconds that pytest has after Ctrl-C to end everything it started; then it is killed.
GRACE = 3
# Seconds between two lines of progress, without a terminal.
PLAIN = 20


@dataclass
class Suite:
    """One directory of tests and its result so far.

    Attributes:
        directory: A step, or a directory in `tests/`.
        arguments: Words for pytest's command line.
        total: The number of its tests, or 0 before they are known.
        done: How many have ended.
        outcomes: How often a test was skipped, failed or failed as expected.
        reasons: For each reason, how many tests were skipped.
        failures: The tests that failed.
        code: pytest's exit code, once it has ended.
        seconds: How long it has run.
    """

    directory: Path
    arguments: Sequence[str] = ()
    total: int = 0
    done: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    code: int | None = None
    seconds: float = 0
    _popen: subprocess.Popen[bytes] | None = None
    _start: float = 0
    _read: int = 0

    @property
    def name(self) -> str:
        """Its directory, as seen from the top of the course."""
        inside = self.directory.is_relative_to(ROOT)
        return self.directory.relative_to(ROOT).as_posix() if inside else self.directory.name

    @property
    def cost(self) -> int:
        """Roughly how many seconds it takes."""
        return COSTS.get(self.name, 10)

    @property
    def width(self) -> int:
        """The lanes it takes."""
        return 2 if self.name in WIDE else 1

    @property
    def part(self) -> float:
        """The part of it that is done, from 0 to 1."""
        return 1 if self.code is not None else self.done / self.total if self.total else 0

    @property
    def runs(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._popen is not None and self.code is None

    @property
    def passed(self) -> bool:
        """Whether it has ended, without a failure."""
        return self.code in (0, NO_TESTS)

    @property
    def state(self) -> str:
        """Its state or outcome in a word, with rich's markup."""
        if self.code is not None:
            return "[green]passed[/]" if self.passed else "[red]FAILED[/]"
        return ("[red]failing[/]" if self.failures else "running") if self.runs else "[dim]waiting[/]"

    @property
    def result(self) -> str:
        """How many tests passed, failed and were skipped."""
        passed = self.done - self.outcomes.total()
        words = [f"{passed} passed", *(f"{n} {name}" for name, n in sorted(self.outcomes.items()))]
        return ", ".join(words) + ("" if self.code is not None or not self.total else f" of {self.total}")

    def start(self, scratch: Path) -> None:
        """Start pytest, which keeps its temporary files, its output and its events in a directory.

        Args:
            scratch: The directory. It must exist.
        """
        in_course = self.directory.is_relative_to(TESTS)
        # A directory of tests/ means the files in it; each directory inside is a suite of its own.
        chosen = sorted(map(str, self.directory.glob("test_*.py"))) if in_course else []
        self._scratch = Path(tempfile.mkdtemp(dir=scratch))
        env = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        # Through the environment: suites start more of them.
        env["PYTEST_ADDOPTS"] = f"{NOT_LOADED} {env.get('PYTEST_ADDOPTS', '')}"
        options = ["-o", f"faulthandler_timeout={HANG}", "-o", "faulthandler_exit_on_timeout=true"]
        plugins = ["-p", "no:cacheprovider", "-p", "tutorial.testing.tell"]
        self._start = time.monotonic()
        with (self._scratch / "output").open("wb") as output:
            self._popen = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "pytest", "-q", *plugins, *options, *chosen, *self.arguments],
                cwd=ROOT if in_course else self.directory,
                env=env | {"TMPDIR": str(self._scratch), "TUTORIAL_EVENTS": str(self._scratch / "events")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches it through us
            )

    def news(self) -> Iterator[tuple[str, str]]:
        """Read the events since the last call; yield each failure, as a title and a text."""
        if self._popen is None or self.code is not None:
            return
        code = self._popen.poll()
        self.seconds = time.monotonic() - self._start
        with contextlib.suppress(FileNotFoundError), (self._scratch / "events").open("rb") as events:
            events.seek(self._read)
            for line in events:
                if line.endswith(b"\n"):
                    self._read += len(line)
                    yield from self._take(json.loads(line))
        if code is not None:
            self.code = code
            end_tree(self._popen)
            if not self.passed and not self.failures:
                output = (self._scratch / "output").read_text(errors="replace")
                yield f"{self.name}: pytest ended with code {code}", output[-20_000:]

    def _take(self, event: dict[str, str]) -> Iterator[tuple[str, str]]:
        if "collected" in event:
            self.total = int(event["collected"])
        elif "ended" in event:
            self.done += 1
        else:
            self.outcomes[event["outcome"]] += 1
            if event["outcome"] == "skipped":
                self.reasons[event["text"]] += 1
            elif event["outcome"] == "failed":
                # Seen from its own directory, as you write it to run it again.
                self.failures.append(f"{self.name}: {event['test']}")
                yield f"FAILED {self.failures[-1]}", event["text"]

    def interrupt(self) -> None:
        """Ask pytest to end, as by Ctrl-C."""
        if self.runs and self._popen:
            with contextlib.suppress(ProcessLookupError):
                self._popen.send_signal(signal.SIGINT)

    def end(self, grace: float) -> None:
        """Wait for pytest to end; after `grace` seconds kill it with everything it started."""
        if self.runs and self._popen:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(max(0, grace))
            end_tree(self._popen)


class Run:
    """Several suites, three at a time.

    Args:
        suites: The suites.
        console: Where to show them: live on a terminal, in plain lines elsewhere.
    """

    def __init__(self, suites: Sequence[Suite], console: Console):
        self._suites = sorted(suites, key=lambda suite: -suite.cost)
        self._console = console
        self._start = self._said = time.monotonic()

    def run(self) -> int:
        """Run them all and return the exit code, as `run_suites` does."""
        guard_children()
        # A job in a shell's background ignores Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        live = Live(console=self._console, get_renderable=self._table, transient=True)
        shown = live if self._console.is_terminal else contextlib.nullcontext()
        with tempfile.TemporaryDirectory(prefix="tests-", ignore_cleanup_errors=True) as scratch:
            try:
                with ended_by_signals(), shown:
                    self._loop(Path(scratch))
            except (KeyboardInterrupt, SystemExit) as stop:
                code = stop.code if isinstance(stop, SystemExit) else 128 + signal.SIGINT
                with uninterrupted():
                    self._end()
                self._tell_what_had_passed("SIGTERM" if code == 128 + signal.SIGTERM else "Ctrl-C")
                return int(code or 0)
        return self._sum_up()

    def _end(self) -> None:
        for suite in self._suites:
            list(suite.news())
        running = [suite for suite in self._suites if suite.runs]
        for suite in running:
            suite.interrupt()
        deadline = time.monotonic() + GRACE
        for suite in running:
            suite.end(deadline - time.monotonic())

    def _loop(self, scratch: Path) -> None:
        while any(suite.code is None for suite in self._suites):
            for suite in self._suites:
                free = LANES - sum(other.width for other in self._suites if other.runs)
                if suite.code is None and not suite.runs and suite.width <= free:
                    suite.start(scratch)
                    self._say(f"started {suite.name}")
            time.sleep(0.1)
            for suite in self._suites:
                if not suite.runs:
                    continue
                for title, text in suite.news():
                    self._console.print(title, style="bold red", markup=False)
                    self._console.print(text, markup=False)
                if suite.code is not None:
                    self._console.print(
                        f"{suite.state}  {suite.name:24} {suite.seconds:6.1f} s  {suite.result}"
                    )
            if time.monotonic() - self._said > PLAIN:
                running = ", ".join(f"{s.name} {s.done}/{s.total or '?'}" for s in self._suites if s.runs)
                self._say(f"{self._part:4.0%}  {running}")

    def _say(self, line: str) -> None:
        self._said = time.monotonic()
        if not self._console.is_terminal:
            self._console.print(line)

    @property
    def _part(self) -> float:
        return sum(suite.part * suite.cost for suite in self._suites) / sum(
            suite.cost for suite in self._suites
        )

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for suite in self._suites:
            if suite.runs:
                count = f"{suite.done}/{suite.total}" if suite.total else "starts"
                failed = f"[red]{len(suite.failures)} failed[/]" if suite.failures else ""
                bar = ProgressBar(total=1, completed=suite.part, width=20)
                table.add_row(suite.name, bar, count, f"{suite.seconds:.0f} s", failed)
        ended = sum(suite.code is not None for suite in self._suites)
        seconds = time.monotonic() - self._start
        bar = ProgressBar(total=1, completed=self._part, width=20)
        whole = f"{ended}/{len(self._suites)} suites"
        table.add_row("[bold]All[/]", bar, whole, f"{seconds:.0f} s", f"{self._part:.0%}")
        return table

    def _tell_what_had_passed(self, stop: str) -> None:
        self._console.print(f"Stopped by {stop}.")
        for suite in self._suites:
            state = "stopped" if suite.runs else suite.state
            if suite.runs or suite.code is not None:
                self._console.print(f"{state}  {suite.name:24} {suite.seconds:6.1f} s  {suite.result}")
        names = [suite.name for suite in self._suites if suite.code is None and not suite.runs]
        if names:
            self._console.print(f"Not begun: {', '.join(names)}")

    def _sum_up(self) -> int:
        console, suites = self._console, self._suites
        reasons = sum((suite.reasons for suite in suites), Counter())
        for reason, count in reasons.most_common():
            console.print(f"Skipped {count}: {reason}", markup=False)
        failures = [failure for suite in suites for failure in suite.failures]
        for failure in failures:
            console.print(f"Failed: {failure}", style="red", markup=False)
        done = sum(suite.done for suite in suites)
        passed = done - sum(suite.outcomes.total() for suite in suites)
        seconds = time.monotonic() - self._start
        console.print(
            f"{passed} passed, {len(failures)} failed, {reasons.total()} skipped in {seconds:.0f} s."
        )
        if failed := [suite for suite in suites if not suite.passed]:
            alone = failed[0].name.removeprefix("step")
            console.print(f"To run {failed[0].name} alone: tutorial test {alone}")
            return 1
        return 0 if done else NO_TESTS


def run_suites(suites: Sequence[Suite], console: Console | None = None) -> int:
    """Run suites side by side; show their progress, each failure as it happens, and the results.

    Returns:
        0 when every suite passed, 1 otherwise, 5 when no test was selected, 130 after Ctrl-C and 143 after
        SIGTERM. Then everything the suites started has ended.
    """
    return Run(suites, console or Console(highlight=False, soft_wrap=True)).run()


def all_suites(everything: bool = False, arguments: Sequence[str] = ()) -> list[Suite]:
    """Return the suites of `make test`, or of `make test-all`.

    Args:
        everything: Those of `make test-all`.
        arguments: More words for pytest's command line.
    """
    if not everything:
        arguments = ["-m", "not long", *arguments]
    directories = [ROOT / name for name in SHORT]
    if everything:
        directories = sorted({path.parent for path in TESTS.rglob("test_*.py")})
    return [Suite(directory, arguments) for directory in [*all_steps(), *directories]]


def one_suite(name: str, arguments: Sequence[str] = ()) -> Suite:
    """Return the suite of a step, or of a directory such as `tests/site`.

    Raises:
        UnknownStep: There is no such step or directory.
    """
    directory = ROOT / name
    inside = name.startswith("tests") and directory.is_dir()
    return Suite(directory if inside else find_step(name), arguments)
