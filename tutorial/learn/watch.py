"""Check a playground again whenever a file in it is saved, and move on when a step is done."""

import threading
from pathlib import Path

import watchfiles
from rich.console import Console

from tutorial.course.assignment import Assignment, find_assignment, step_assignment
from tutorial.course.files import LEFT_BEHIND
from tutorial.course.steps import all_steps, number
from tutorial.learn.check import Cancelled, CannotCheck
from tutorial.learn.explain import hints
from tutorial.learn.playground import STATE, State, WrongUse, go_on
from tutorial.learn.progress import judge
from tutorial.learn.render import show_progress

PAUSE = 50  # milliseconds to wait for the other files of one save


class OwnFiles(watchfiles.DefaultFilter):
    """Lets pass what a learner writes, and not what running it leaves behind."""

    def __call__(self, change: watchfiles.Change, path: str) -> bool:
        """Tell whether a changed file asks for another check."""
        name = Path(path).name
        passed_over = name.startswith(STATE) or name.endswith((".md", ".log", "-journal"))
        # A learner's own tests do not judge.
        passed_over = passed_over or Path(path).parent.name == "tests"
        return super().__call__(change, path) and not passed_over and not name.startswith("db.sqlite3")


def next_step(assignment: Assignment) -> Assignment | None:
    """Return the step after a step; None after the last, and after an exercise."""
    if assignment.exercise:
        return None
    return next(
        (step_assignment(step.name) for step in all_steps() if number(step) == number(assignment.step) + 1),
        None,
    )


def concerned(assignment: Assignment, project: Path, changed: set[str]) -> list[str]:
    """Return the names of the requirements whose hints name one of the files that were saved."""
    return [
        required.name
        for required in assignment.requirements
        if changed & set(hints(required.module, required.name)["files"])
    ]


def watch(console: Console, project: Path, stop: threading.Event | None = None) -> None:
    """Check now and after each save, and go on with the next step when all is done, until Ctrl-C.

    A save while a check runs gives that check up and begins another.

    Args:
        console: Where to print.
        project: The playground.
        stop: Ends it when it is set.

    Raises:
        WrongUse: The playground does not know what it is at.
    """
    name = State.read(project).assignment
    if not name:
        raise WrongUse(f"{project} does not know its step yet. Say it once: tutorial check N {project}")
    changes = Changes(project, stop or threading.Event())
    try:
        changed: set[str] | None = set()
        while changed is not None:
            assignment = find_assignment(State.read(project).assignment)
            if console.is_terminal:
                console.clear()
            if check_once(console, project, assignment, changed, changes) and (
                after := next_step(assignment)
            ):
                unsettled = go_on(after, project)
                console.print(
                    f"\n[bold green]On to {after.title}.[/] Its lesson: {after.readme}", soft_wrap=True
                )
                for file in unsettled:
                    console.print(
                        f"Kept as you wrote it: {file}. The lesson has a new version: tutorial compare"
                    )
                changed = set()
                continue
            show_progress(console, State.read(project))
            console.print("[dim]Watching. Save a file to check again; Ctrl-C ends.[/]")
            changed = changes.wait()
    finally:
        changes.stop.set()


def check_once(
    console: Console, project: Path, assignment: Assignment, changed: set[str], changes: "Changes"
) -> bool:
    """Check a playground; tell whether all is done. Given up when another file is saved."""
    state = State.read(project)
    first = [state.stuck] if state.stuck else []
    first += concerned(assignment, project, changed)
    changes.new.clear()
    try:
        return judge(console, project, assignment, first=first, cancel=changes.new).good
    except Cancelled:
        console.print("[dim]Saved again.[/]")
    except (CannotCheck, OSError) as error:
        console.print(f"[red]{error}[/]")
    return False


class Changes:
    """Collects the names of saved files in a thread.

    Args:
        project: The directory that is watched.
        stop: Ends the thread when it is set.

    Attributes:
        new: Set while there are changes that nobody has taken.
    """

    def __init__(self, project: Path, stop: threading.Event):
        self.new, self.stop = threading.Event(), stop
        self._project, self._lock = project, threading.Lock()
        self._names: set[str] = set()
        threading.Thread(target=self._collect, daemon=True).start()

    def _collect(self) -> None:
        watcher = watchfiles.watch(
            self._project,
            watch_filter=OwnFiles(ignore_dirs=(*OwnFiles.ignore_dirs, *LEFT_BEHIND)),
            debounce=PAUSE * 4,
            step=PAUSE,
            stop_event=self.stop,
            raise_interrupt=False,
        )
        for changes in watcher:
            with self._lock:
                self._names |= {Path(path).relative_to(self._project).as_posix() for _, path in changes}
            self.new.set()
        self.new.set()

    def wait(self) -> set[str] | None:
        """Wait for changes and return the names of the files; None at the end."""
        while not self.new.wait(0.2):
            if self.stop.is_set():
                return None
        if self.stop.is_set():
            return None
        with self._lock:
            names, self._names = self._names, set()
        return names
