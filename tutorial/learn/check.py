"""Judge a learner's project by a step's or an exercise's tests, in two stages.

First what needs no server: missing files, syntax, loading. Then the tests. Both run on a temporary copy
with the course's own tests in it, in processes that are ended with all that they have started.
"""

import re
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tutorial.course.assignment import Assignment, Requirement
from tutorial.course.files import copy_project, project_files, write_files
from tutorial.learn.explain import (
    Event,
    choose_place,
    explain_failure,
    file_in,
    hints,
    last_line,
    loading_problem,
    stopped_problem,
)
from tutorial.learn.problem import Problem, short
from tutorial.learn.sandbox.supervise import OUTPUT_KEPT, Ended, supervise
from tutorial.learn.sections import hardened_only, plain, sections
from tutorial.learn.static_checks import LARGEST_FILE, static_problems
from tutorial.services.processes import patience

LIMIT = 30  # seconds that a test may take; more on a busy machine
# Plugins that are installed, that no test uses, and that cost as much time as all the others.
NOT_LOADED = ("hypothesispytest", "anyio", "valkey", "platformdirs")
LOAD_LIMIT = 15  # the same for loading the project, which takes about a second


class CannotCheck(RuntimeError):
    """Raised when nothing can be judged; its text says why and what to do."""


class Cancelled(RuntimeError):
    """Raised when a check was given up halfway. Its first argument is the verdict so far."""


@dataclass
class Verdict:
    """What came of a check.

    Attributes:
        required: What was to be judged, in the order it ran.
        states: For each requirement `done`, `not yet` or `skipped`; nothing for those not reached.
        took: For each requirement that was tried, how many seconds that took.
        problems: What is not right yet, the first one first.
        notes: What else a learner should know, each in a line.
        seconds: How long it took.
    """

    required: list[Requirement] = field(default_factory=list)
    states: dict[Requirement, str] = field(default_factory=dict)
    took: dict[Requirement, float] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0

    @property
    def good(self) -> bool:
        """Whether all requirements are met."""
        return not self.problems and bool(self.states)

    def names(self, state: str) -> list[str]:
        """Return the names of the requirements in a state."""
        return [required.name for required, its in self.states.items() if its == state]


def check(
    project: Path,
    assignment: Assignment,
    *,
    first: Sequence[str] = (),
    leave_out: Sequence[str] = (),
    go_on: str = "",
    only: str = "",
    on_change: Callable[[Verdict], None] = lambda verdict: None,
    cancel: threading.Event | None = None,
) -> Verdict:
    """Judge a project.

    Args:
        project: The directory of the learner's project. Nothing in it is changed.
        assignment: The step or exercise whose tests judge it.
        first: Names of the requirements to begin with. Then come the sections in the lesson's order.
        leave_out: What not to judge, as `test_step02_consumer.py::test_name`.
        go_on: Whether to go on after a requirement that is not met: `all`, `hardened` (unless it belongs to
            the plain version, on which the others build), or not.
        only: An expression as for pytest's `-k`, which chooses among the tests.
        on_change: Called with the verdict so far, as soon as more is known.
        cancel: Gives the check up when it is set.

    Raises:
        CannotCheck: Nothing could be judged, for instance because there is no broker.
        Cancelled: It was given up.
        OSError: The copy could not be made.
    """
    begin = time.monotonic()
    verdict = Verdict()
    verdict.problems = static_problems(project, assignment)
    if {problem.file for problem in verdict.problems} <= hardened_only(assignment):
        # A file that only a later section needs does not keep the plain version from being judged.
        verdict.problems = [problem for problem in verdict.problems if (project / problem.file).exists()]
    if not verdict.problems:
        with (
            tempfile.TemporaryDirectory(prefix="check-", ignore_cleanup_errors=True) as directory,
            ThreadPoolExecutor(1) as beside,
        ):
            copy = copy_for_check(project, Path(directory) / "project", assignment)
            judge = Judge(copy, assignment, verdict, on_change, cancel or threading.Event())
            # Its word comes first; the tests begin meanwhile, and wait for it.
            loading = beside.submit(judge.load)
            try:
                judge.run_tests(loading, first, leave_out, go_on, only)
            finally:
                judge.over = True
    verdict.seconds = time.monotonic() - begin
    return verdict


def copy_for_check(project: Path, copy: Path, assignment: Assignment) -> Path:
    """Copy a learner's project and lay the course's own tests over the copy."""
    copy_project(project, copy, largest=LARGEST_FILE)
    shutil.rmtree(copy / "tests", ignore_errors=True)
    (copy / "conftest.py").unlink(missing_ok=True)
    write_files({name: path.read_bytes() for name, path in assignment.tests().items()}, copy)
    return copy


class Judge:
    """Judges a copy of a project: turns what happens as it is loaded and tested into a verdict."""

    def __init__(
        self,
        copy: Path,
        assignment: Assignment,
        verdict: Verdict,
        on_change: Callable[[Verdict], None],
        cancel: threading.Event,
    ):
        self.copy, self.assignment, self.verdict = copy, assignment, verdict
        self.on_change, self.cancel, self.over = on_change, cancel, False
        self.enough = False  # whether no more tests will run
        self.needed: list[str] | None = []  # requirements without which nothing else is judged; None: all
        self.unreadable: Problem | None = None
        self._left: Counter[Requirement] = Counter()
        self._by_name: dict[tuple[str, str], Requirement] = {}
        self._current: Requirement | None = None
        self._skipped: set[Requirement] = set()

    def load(self) -> Problem | None:
        """Load the project as a server would, in a process of its own; return what is wrong, or None."""
        names = [name for name in project_files(self.copy) if not name.startswith("tests/")]
        modules = [
            name.removesuffix(".py").replace("/", ".")
            for name in self.assignment.solution
            if name in names
            and name.endswith(".py")
            and name.count("/") == 1
            # The settings for production refuse to load without a key.
            and not name.endswith(("__init__.py", "production.py"))
        ]
        templates = [name for name in names if name.endswith(".html") and "templates/" in name]
        events: list[Event] = []
        limit = patience(LOAD_LIMIT)
        words = ["-m", "tutorial.learn.sandbox.load_check", str(limit), *modules, "--", *templates]
        env = {"DATABASE_PATH": str(self.copy.parent / "load.sqlite3")}
        ended = self._run(words, "load", limit, events.append, env, lambda: self.over)
        if events and "problem" in events[-1]:
            found = events[-1]["problem"]
            return loading_problem(found, self.copy, self.assignment) if found else None
        file = next((event["loads"] for event in reversed(events) if "loads" in event), "config/settings.py")
        return stopped_problem(ended, file, self.copy)

    def _run(
        self,
        words: list[str],
        name: str,
        limit: float,
        on_event: Callable[[Event], None],
        env: dict[str, str],
        no_use: Callable[[], bool],
    ) -> Ended:
        """Run Python in the copy to its end, unless the check is cancelled or it is of no use any more."""
        ended = supervise(
            [sys.executable, *words],
            self.copy,
            self.copy.parent / f"{name}.jsonl",
            2 * limit,
            on_event,
            lambda: self.cancel.is_set() or no_use(),
            {"TMPDIR": str(self.copy.parent), **env},
        )
        if ended.why == "cancelled" and self.cancel.is_set():
            raise Cancelled(self.verdict)
        if ended.printed > OUTPUT_KEPT:
            end = last_line(ended.output)[:80]
            note = f"Your code printed {ended.printed:,} bytes. Only the end is kept: {end}"
            self.verdict.notes.append(note)
        return ended

    def run_tests(
        self,
        loading: Future[Problem | None],
        first: Sequence[str],
        leave_out: Sequence[str],
        go_on: str,
        only: str,
    ) -> None:
        """Run the tests and write what comes of them into the verdict, unless the project does not load."""
        assignment, verdict = self.assignment, self.verdict
        order = [*([name] for name in first)]
        order += [[required.name for required in part] for part in sections(assignment).values()]
        files, chosen = assignment.selection()
        chosen = " and ".join(f"({part})" for part in (chosen, only) if part)
        limit = patience(LIMIT)
        words = [
            *("-m", "pytest", "-q", "--color=no", "-p", "tutorial.learn.sandbox.events"),
            *("-p", "no:cacheprovider", *(f"-pno:{name}" for name in NOT_LOADED), *files),
            *(f"--deselect=tests/{name}" for name in leave_out),
            *("-o", f"faulthandler_timeout={limit}", "-o", "faulthandler_exit_on_timeout=true"),
            *(() if go_on else ("-x",)),
            *(("-k", chosen) if chosen else ()),
        ]
        typing = go_on == "hardened"
        needed = [required.name for required in plain(assignment)] if typing else []
        self.needed = needed if go_on else None
        env = {
            "TUTORIAL_EARLY": "1" if b".shared_server(" in assignment.test_file.read_bytes() else "",
            "TUTORIAL_FIRST": ";".join(map(",".join, order)),
            "TUTORIAL_NEEDED": ",".join(needed),
            # An exercise may have to wait for what its page does by the clock.
            "TUTORIAL_PAGE": "1" if typing and not assignment.exercise else "",
        }

        def no_use() -> bool:
            return self.enough or (loading.done() and bool(loading.exception() or loading.result()))

        def take(event: Event) -> None:
            if not loading.result():
                self._take(event)

        ended = self._run(words, "tests", limit, take, env, no_use)
        if problem := loading.result():
            verdict.problems = [problem]
        elif self.unreadable:
            verdict.problems = [self.unreadable]
        elif ended.code == 5:
            raise CannotCheck(f"No requirement of {assignment.title} is called {only!r}.")
        elif ended.code == 4 and not verdict.required:
            raise CannotCheck(last_line(ended.output).removeprefix("ERROR: "))
        elif not verdict.problems and (len(verdict.states) < len(verdict.required) or not verdict.required):
            # Nothing failed, and yet not all was judged. An exit code of 0 may be the learner's own.
            self._stopped(ended)

    def _take(self, event: Event) -> None:
        match event["event"]:
            case "collected":
                for test in event["tests"]:
                    required = Requirement(**test)
                    self._left[required] += 1
                    self._by_name[required.module, required.name] = required
                self.verdict.required = list(self._left)
                self.on_change(self.verdict)
            case "begins":
                path, _, name = event["test"].partition("::")
                self._current = self._by_name.get((Path(path).stem, name.partition("[")[0]))
            case "not collected":
                self.unreadable = self.unreadable or self._not_collected(event)
            case "setup" | "call" | "teardown":
                self._phase(event, self._by_name[event["module"], event["name"]])

    def _phase(self, event: Event, required: Requirement) -> None:
        self.verdict.took[required] = self.verdict.took.get(required, 0) + event["seconds"]
        if event["outcome"] == "failed" and self.verdict.states.get(required) != "not yet":
            self.verdict.problems.append(explain_failure(event, required, self.copy, self.assignment))
            self._set(required, "not yet")
            # What the last test has started needs no end in order: that takes seconds.
            is_last = not any(count for other, count in self._left.items() if other != required)
            self.enough = is_last or self.needed is None or required.name in self.needed
        elif event["outcome"] == "skipped":
            self._skipped.add(required)
        if event["event"] == "teardown":
            self._left[required] -= 1
            if not self._left[required] and required not in self.verdict.states:
                self._set(required, "skipped" if required in self._skipped else "done")

    def _set(self, required: Requirement, state: str) -> None:
        self.verdict.states[required] = state
        self.on_change(self.verdict)

    def _not_collected(self, event: Event) -> Problem:
        """Return the problem of a test file that cannot even import what it is about."""
        text = event["traceback"]
        own = self.assignment.requirements
        said = [line.removeprefix("E").strip() for line in text.splitlines() if line.startswith("E  ")]
        error = said[-1] if said else last_line(text)
        files = hints(own[0].module, own[0].name)["files"] if own else []
        frames = re.findall(r"^([\w/]+\.py):(\d+): ", text, re.MULTILINE)
        places = [(name, int(line)) for name, line in reversed(frames) if not name.startswith("tests/")]
        places += file_in(error, self.assignment) + [(file, 0) for file in files]
        file, line = choose_place(places, self.copy, self.assignment)
        hint = "The tests import this name. The lesson says where it is defined."
        return Problem(short(error), file, line, hint=hint, traceback=text)

    def _stopped(self, ended: Ended) -> None:
        """Take note that the tests came to a sudden end."""
        required = self._current or next(
            (required for required in self.verdict.required if required not in self.verdict.states), None
        )
        files = hints(required.module, required.name)["files"] if required else []
        file, _ = choose_place([(file, 0) for file in files], self.copy, self.assignment)
        problem = stopped_problem(ended, file, self.copy)
        problem.requirement = required
        if required:
            problem.expected = required.text
            self._set(required, "not yet")
        self.verdict.problems.append(problem)
