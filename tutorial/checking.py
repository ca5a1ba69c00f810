"""Judge a learner's project by a step's or an exercise's tests, in two stages.

First what needs no server: missing files, syntax, loading. Then the tests. Both run on a temporary copy
with the course's own tests in it, in processes that are ended with all that they have started.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tutorial.explaining import Problem, choose_place, explain_failure, file_in, hints, short, symptom
from tutorial.playground import uninterrupted
from tutorial.tasks import LEFT_BEHIND, Requirement, Task, project_files

LIMIT = 30  # seconds in which something must happen: a test begins or ends
LOAD_LIMIT = 15  # the same while the project loads, which takes about a second
OUTPUT_KEPT = 64 * 1024  # bytes
OUTPUT_LIMIT = 64 * 1024 * 1024  # bytes; what prints more is ended
LARGEST_FILE = 8 * 1024 * 1024  # bytes; a larger file is not copied
MARK = "TUTORIAL_CHECK"


class CannotCheck(RuntimeError):
    """Raised when nothing can be judged; its text says why and what to do."""


class Cancelled(RuntimeError):
    """Raised when a check was given up half-way, because the code has changed again."""


@dataclass
class Verdict:
    """What came of a check.

    Attributes:
        required: What was to be judged, in the order it ran.
        states: For each requirement `done`, `not yet` or `skipped`; nothing for those not reached.
        problems: What is not right yet, the first one first.
        notes: What else a learner should know, each in a line.
        seconds: How long it took.
    """

    required: list[Requirement] = field(default_factory=list)
    states: dict[Requirement, str] = field(default_factory=dict)
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


@dataclass
class Ended:
    """How a process came to its end.

    Attributes:
        code: Its exit code; None if it was ended from here.
        why: `ended`, `hung`, `printed too much` or `cancelled`.
        silent: Seconds since its last sign of life.
        output: The end of what it printed.
        printed: How many bytes it printed.
        stacks: Where its threads were when it hung.
    """

    code: int | None
    why: str
    silent: float
    output: str
    printed: int
    stacks: str


def supervise(
    command: list[str],
    cwd: Path,
    report: Path,
    limit: float,
    on_event: Callable[[dict], None],
    cancel: threading.Event | None = None,
    env: dict[str, str] | None = None,
) -> Ended:
    """Run a learner's code and end it, with all that it has started, when it is done or stands still.

    Args:
        command: The words of the command line.
        cwd: Where it runs.
        report: A file to which it appends lines of JSON.
        limit: Seconds without a new line after which it is taken to hang; more on a busy machine.
        on_event: Called with each line.
        cancel: Ends it when it is set.
        env: More variables for its environment.
    """
    mark = uuid.uuid4().hex
    limit = patience(limit)
    unwanted = ("PYTEST_", "DJANGO_SETTINGS_MODULE", "TUTORIAL_FIRST", "COV_", "COVERAGE")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    report.touch()
    popen = subprocess.Popen(  # noqa: S603
        command,
        cwd=cwd,
        env={**inherited, MARK: mark, "TUTORIAL_REPORT": str(report), "PYTHONUNBUFFERED": "1", **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    printed = Printed(popen.stdout)
    stacks = ""
    family: set[psutil.Process] = set()
    try:
        with report.open(encoding="utf-8", errors="replace") as lines:
            last, why = time.monotonic(), "ended"
            while True:
                running = popen.poll() is None
                for event in new_events(lines):
                    last = time.monotonic()
                    # A broker hides its mark, so its parent must be asked while it lives.
                    with contextlib.suppress(psutil.Error):
                        family.update(psutil.Process(popen.pid).children(recursive=True))
                    on_event(event)
                if not running:
                    break
                if cancel is not None and cancel.is_set():
                    why = "cancelled"
                elif printed.size > OUTPUT_LIMIT:
                    why = "printed too much"
                elif time.monotonic() - last > limit:
                    why, stacks = "hung", ask_for_stacks(popen, report)
                if why != "ended":
                    break
                time.sleep(0.03)
    finally:
        code = popen.poll()
        end_all(popen, mark, family)
        printed.finish()
    return Ended(code, why, time.monotonic() - last, printed.text, printed.size, stacks)


def patience(limit: float) -> float:
    """Return a limit in seconds, up to four times as long where other programs keep the machine busy."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return limit * min(4.0, max(1.0, load))


def new_events(lines) -> list[dict]:
    """Return what has been appended to a report since it was read last."""
    events = []
    while True:
        position = lines.tell()
        line = lines.readline()
        if not line.endswith("\n"):
            lines.seek(position)
            return events
        with contextlib.suppress(ValueError):
            events.append(json.loads(line))


class Printed:
    """Reads what a process prints, all of it, and keeps the end.

    Args:
        pipe: Where it comes from.
    """

    def __init__(self, pipe):
        self.size = 0
        self._pipe, self._kept = pipe, deque()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        kept = 0
        with contextlib.suppress(OSError, ValueError):
            while chunk := self._pipe.read1(OUTPUT_KEPT):
                self._kept.append(chunk)
                self.size += len(chunk)
                kept += len(chunk)
                while kept - len(self._kept[0]) > OUTPUT_KEPT:
                    kept -= len(self._kept.popleft())

    def finish(self) -> None:
        """Wait until everything has been read."""
        self._thread.join(5)
        self._pipe.close()

    @property
    def text(self) -> str:
        """The end of what was printed."""
        return b"".join(self._kept)[-OUTPUT_KEPT:].decode(errors="replace")


def ask_for_stacks(popen: subprocess.Popen, report: Path) -> str:
    """Return where the threads of a process are that stands still."""
    stacks = Path(f"{report}.stacks")
    popen.send_signal(signal.SIGUSR1)
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline and popen.poll() is None:
        if stacks.exists() and "\n" in stacks.read_text(errors="replace"):
            break
        time.sleep(0.05)
    time.sleep(0.1)  # the last of them is still being written
    return stacks.read_text(errors="replace") if stacks.exists() else ""


def end_all(popen: subprocess.Popen, mark: str, known: set[psutil.Process]) -> None:
    """Kill a process, its session and whatever else carries its mark, until nothing is left."""
    with uninterrupted():
        try:
            family = psutil.Process(popen.pid).children(recursive=True)
        except psutil.Error:
            family = []
        family = list({*family, *known})
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(popen.pid, signal.SIGKILL)
        for _ in range(200):
            left = [
                process for process in (*family, *psutil.process_iter()) if is_marked(process, mark, family)
            ]
            for process in left:
                # First stopped, so that what forks without end cannot run away from us.
                with contextlib.suppress(psutil.Error):
                    process.suspend()
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            if not left:
                break
            psutil.wait_procs(left, timeout=1)
        popen.wait()


def is_marked(process: psutil.Process, mark: str, family: list[psutil.Process]) -> bool:
    """Tell whether a process runs and belongs to a check."""
    try:
        if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        return (process in family and process.is_running()) or process.environ().get(MARK) == mark
    except (psutil.Error, OSError):
        return False


def check(
    project: Path,
    task: Task,
    *,
    first: list[str] | None = None,
    everything: bool = False,
    only: str = "",
    on_state: Callable[[Requirement, str], None] = lambda required, state: None,
    cancel: threading.Event | None = None,
) -> Verdict:
    """Judge a project.

    Args:
        project: The directory of the learner's project. Nothing in it is changed.
        task: The step or exercise whose tests judge it.
        first: Names of the requirements to begin with.
        everything: Go on after the first requirement that is not met.
        only: An expression as for pytest's `-k`, which chooses among the tests.
        on_state: Called with each requirement whose state is known, as soon as it is.
        cancel: Gives the check up when it is set.

    Raises:
        CannotCheck: Nothing could be judged, for instance because there is no broker.
        Cancelled: It was given up.
        OSError: The copy could not be made.
    """
    begin = time.monotonic()
    verdict = Verdict()
    verdict.problems = missing_files(project, task) or syntax_errors(project)
    if not verdict.problems:
        with tempfile.TemporaryDirectory(prefix="check-", ignore_cleanup_errors=True) as directory:
            copy = Path(directory) / "project"
            copy_project(project, copy, task)
            loading = load(copy, task, verdict, cancel)
            verdict.problems = [loading] if loading else []
            if not loading:
                run_tests(copy, task, verdict, first or [], everything, only, on_state, cancel)
    verdict.seconds = time.monotonic() - begin
    return verdict


def missing_files(project: Path, task: Task) -> list[Problem]:
    """Return the files of the finished project that a learner's has not yet."""
    has = {name.rpartition("/")[2] for name in project_files(project)}
    missing = []
    for name in task.solution:
        if (project / name).is_file() or is_optional(task, name):
            continue
        base = name.rpartition("/")[2]
        moved = next((other for other in project_files(project) if other.endswith(f"/{base}")), None)
        hint = f"The lesson says what belongs into it: {task.readme.parent.name}/README.md."
        if moved and base in has and base != "__init__.py":
            hint = f"There is {moved}, which has the same name. Does it belong here?"
        elif base == "__init__.py":
            hint = "An empty file is enough: it makes the directory a package."
        missing.append(Problem(f"{name} is missing", name, hint=hint))
    return missing


def is_optional(task: Task, name: str) -> bool:
    """Tell whether a project can be judged without a file: pictures, and the free choices of an exercise."""
    if name.endswith((".svg", ".css")):
        return True
    return bool(task.exercise) and not (task.step / name).exists()


def syntax_errors(project: Path) -> list[Problem]:
    """Return the files that are no Python, one problem each."""
    problems = []
    for name, path in project_files(project).items():
        if not name.endswith(".py") or name.startswith("tests/") or path.stat().st_size > LARGEST_FILE:
            continue
        try:
            compile(path.read_bytes(), name, "exec", dont_inherit=True)
        except SyntaxError as error:
            line = (error.text or "").strip()
            problems.append(
                Problem(
                    f"{type(error).__name__}: {error.msg}",
                    name,
                    error.lineno or 0,
                    seen=short(line),
                    hint="Look at this line and at the one before it: a bracket, a quote or a colon.",
                )
            )
        except (ValueError, RecursionError, MemoryError) as error:
            problems.append(Problem(f"This is no Python: {error}", name, hint="Look for stray characters."))
    return problems


def copy_project(project: Path, copy: Path, task: Task) -> None:
    """Copy a learner's project and lay the course's own tests over the copy."""

    def ignored(directory: str, names: list[str]) -> set[str]:
        skipped = set(shutil.ignore_patterns(*LEFT_BEHIND)(directory, names))
        if Path(directory) == project:
            skipped |= {"tests", "conftest.py"} & set(names)
        for name in set(names) - skipped:
            path = Path(directory, name)
            # A link may lead anywhere, a pipe never ends.
            regular = path.is_file() or path.is_dir()
            if not regular or (path.is_file() and path.stat().st_size > LARGEST_FILE):
                skipped.add(name)
        return skipped

    shutil.copytree(project, copy, ignore=ignored, ignore_dangling_symlinks=True)
    for name, path in task.tests().items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy / name)


def load(copy: Path, task: Task, verdict: Verdict, cancel: threading.Event | None) -> Problem | None:
    """Load the project as a server would, in a process of its own; return what is wrong, or None."""
    names = [name for name in project_files(copy) if not name.startswith("tests/")]
    modules = [
        name.removesuffix(".py").replace("/", ".")
        for name in task.solution
        if name in names
        and name.endswith(".py")
        and name.count("/") == 1
        and not name.endswith("__init__.py")
    ]
    templates = [name for name in names if name.endswith(".html") and "templates/" in name]
    report = copy.parent / "load.jsonl"
    events: list[dict] = []
    command = [sys.executable, "-m", "tutorial.probe", str(report), *modules, "--", *templates]
    env = {"DATABASE_PATH": str(copy.parent / "load.sqlite3"), "TMPDIR": str(copy.parent)}
    ended = supervise(command, copy, report, LOAD_LIMIT, events.append, cancel, env)
    if ended.why == "cancelled":
        raise Cancelled
    note_output(ended, verdict)
    if events and "problem" in events[-1]:
        found = events[-1]["problem"]
        return loading_problem(found, copy, task) if found else None
    file = next((event["loads"] for event in reversed(events) if "loads" in event), "config/settings.py")
    return stopped_problem(ended, file, copy)


def loading_problem(found: dict, copy: Path, task: Task) -> Problem:
    """Return the problem that an exception while loading shows."""
    text = f"{found['error']}: {short(found['message'])}" if found["message"] else found["error"]
    if found["error"] in ("SystemExit", "KeyboardInterrupt"):
        text = f"The code ends the interpreter while it is loaded ({text})"
    sign = symptom(text)
    places = [(sign["file"], 0)] if sign else []
    places += [tuple(found["place"])] if found["place"] else []
    places += file_in(found["message"], task)
    file, line = choose_place([*places, ("config/settings.py", 0)], copy, task)
    line = line or next((number for name, number in places if name == file), 0)
    hint = f"{sign['hint']} (docs/symptoms.md#{sign['number']})" if sign else loading_hint(found)
    return Problem(text, file, line, seen="", hint=hint, traceback=found.get("traceback", ""))


def loading_hint(found: dict) -> str:
    """Return what to try about an exception while loading."""
    if found["error"] in ("ImportError", "ModuleNotFoundError"):
        return "Compare the name in the import with the name in the file it comes from."
    if found["error"] == "NameError":
        return "Is it spelt as where it is defined, and imported?"
    return "`python manage.py check` in your directory shows the same, and -v here the whole traceback."


def stopped_problem(ended: Ended, file: str, copy: Path) -> Problem:
    """Return the problem of code that ended or hung instead of telling what came of it."""
    frames = re.findall(r'File "(.+?)", line (\d+)', ended.stacks)
    own = [(Path(path), int(line)) for path, line in frames if Path(path).is_relative_to(copy)]
    own = [(path, line) for path, line in own if not path.is_relative_to(copy / "tests")]
    line = 0
    if own:
        file, line = own[0][0].relative_to(copy).as_posix(), own[0][1]
    if ended.why == "hung":
        what = f"The code hangs: nothing happened for {ended.silent:.0f} s"
        hint = "A loop without an end, or a wait for something that never comes."
    elif ended.why == "printed too much":
        what = f"The code prints without end: {ended.printed // 2**20} MB so far"
        hint = "Take the print() out of the loop."
    else:
        by_signal = f"by signal {-ended.code}" if ended.code < 0 else f"with code {ended.code}"
        what = f"The code ends the interpreter ({by_signal})"
        hint = "Look for exit(), quit(), os._exit() or os.kill()."
    return Problem(what, file, line, hint=hint, seen=last_line(ended.output), traceback=ended.output)


def last_line(output: str) -> str:
    """Return the last line of an output, shortened."""
    lines = output.strip().splitlines()
    return short(lines[-1]) if lines else ""


def note_output(ended: Ended, verdict: Verdict) -> None:
    """Say it when the code prints a lot."""
    if ended.printed > OUTPUT_KEPT:
        verdict.notes.append(
            f"Your code printed {ended.printed:,} bytes. Only the end is kept: {last_line(ended.output)[:80]}"
        )


def run_tests(
    copy: Path,
    task: Task,
    verdict: Verdict,
    first: list[str],
    everything: bool,
    only: str,
    on_state: Callable[[Requirement, str], None],
    cancel: threading.Event | None,
) -> None:
    """Run the tests and write what comes of them into the verdict."""
    files, chosen = task.selection()
    chosen = " and ".join(f"({part})" for part in (chosen, only) if part)
    report = copy.parent / "tests.jsonl"
    command = [
        *(sys.executable, "-m", "pytest", "-q", "--color=no", "-p", "tutorial.report_plugin"),
        *("-p", "no:cacheprovider", *files),
        *(() if everything else ("-x",)),
        *(("-k", chosen) if chosen else ()),
    ]
    listener = Listener(copy, task, verdict, on_state)
    env = {"TUTORIAL_FIRST": ",".join(first), "TMPDIR": str(copy.parent)}
    ended = supervise(command, copy, report, LIMIT, listener, cancel, env)
    if ended.why == "cancelled":
        raise Cancelled
    note_output(ended, verdict)
    if listener.unreadable:
        verdict.problems = [listener.unreadable]
    elif ended.code == 5:
        raise CannotCheck(f"No requirement of {task.title} is called {only!r}.")
    elif ended.code == 4 and not verdict.required:
        raise CannotCheck(last_line(ended.output).removeprefix("ERROR: "))
    elif not verdict.problems and (len(verdict.states) < len(verdict.required) or not verdict.required):
        # Nothing failed, and yet not all was judged. An exit code of 0 may be the learner's own.
        listener.stopped(ended)


class Listener:
    """Turns the events of the tests into a verdict.

    Args:
        copy: The project that is judged.
        task: The step or exercise that is judged.
        verdict: What to write into.
        on_state: Called with each requirement whose state is known.
    """

    def __init__(
        self, copy: Path, task: Task, verdict: Verdict, on_state: Callable[[Requirement, str], None]
    ):
        self.copy, self.task, self.verdict, self.on_state = copy, task, verdict, on_state
        self.unreadable: Problem | None = None
        self._left: Counter[Requirement] = Counter()
        self._by_name: dict[tuple[str, str], Requirement] = {}
        self._current: Requirement | None = None
        self._skipped: set[Requirement] = set()

    def __call__(self, event: dict) -> None:
        """Take an event."""
        match event["event"]:
            case "collected":
                for test in event["tests"]:
                    required = Requirement(**test)
                    self._left[required] += 1
                    self._by_name[required.module, required.name] = required
                self.verdict.required = list(self._left)
            case "begins":
                path, _, name = event["test"].partition("::")
                self._current = self._by_name.get((Path(path).stem, name.partition("[")[0]))
            case "not collected":
                self.unreadable = self.unreadable or self._not_collected(event)
            case "setup" | "call" | "teardown":
                self._phase(event, self._by_name[event["module"], event["name"]])

    def _phase(self, event: dict, required: Requirement) -> None:
        if event["outcome"] == "failed" and self.verdict.states.get(required) != "not yet":
            self.verdict.problems.append(explain_failure(event, required, self.copy, self.task))
            self._set(required, "not yet")
        elif event["outcome"] == "skipped":
            self._skipped.add(required)
        if event["event"] == "teardown":
            self._left[required] -= 1
            if not self._left[required] and required not in self.verdict.states:
                self._set(required, "skipped" if required in self._skipped else "done")

    def _set(self, required: Requirement, state: str) -> None:
        self.verdict.states[required] = state
        self.on_state(required, state)

    def _not_collected(self, event: dict) -> Problem:
        """Return the problem of a test file that cannot even import what it is about."""
        text = event["traceback"]
        own = self.task.requirements
        said = [line.removeprefix("E").strip() for line in text.splitlines() if line.startswith("E  ")]
        error = said[-1] if said else last_line(text)
        files = hints(own[0].module, own[0].name)["files"] if own else []
        frames = re.findall(r"^([\w/]+\.py):(\d+): ", text, re.MULTILINE)
        places = [(name, int(line)) for name, line in reversed(frames) if not name.startswith("tests/")]
        places += file_in(error, self.task) + [(file, 0) for file in files]
        file, line = choose_place(places, self.copy, self.task)
        hint = "The tests import this name. The lesson says where it is defined."
        return Problem(short(error), file, line, hint=hint, traceback=text)

    def stopped(self, ended: Ended) -> None:
        """Take note that the tests came to a sudden end."""
        required = self._current or next(
            (required for required in self.verdict.required if required not in self.verdict.states), None
        )
        known = hints(required.module, required.name) if required else {"files": []}
        file, _ = choose_place([(file, 0) for file in known["files"]], self.copy, self.task)
        problem = stopped_problem(ended, file, self.copy)
        problem.requirement = required
        if required:
            problem.expected = required.text
            self._set(required, "not yet")
        self.verdict.problems.append(problem)
