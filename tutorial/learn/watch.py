"""Check a playground again whenever a file in it is saved, and move on when a step is done."""

import contextlib
import os
import select
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import watchfiles
from rich.console import Console

from tutorial.course.assignment import Assignment, UnknownAssignment, find_assignment, step_assignment
from tutorial.course.files import LEFT_BEHIND
from tutorial.course.steps import all_steps, number
from tutorial.learn.check import Cancelled, CannotCheck
from tutorial.learn.explain import hints
from tutorial.learn.playground import STATE, State, WrongUse, go_on
from tutorial.learn.progress import judge, next_hint
from tutorial.learn.render import show_progress
from tutorial.services.signals import ended_by_signals

PAUSE = 50  # milliseconds to wait for the other files of one save
KEYS = {"h": "hint", "a": "check all", "n": "next step", "q": "quit"}


class OwnFiles(watchfiles.DefaultFilter):
    """Lets pass what a learner writes, and not what running it leaves behind."""

    def __call__(self, change: watchfiles.Change, path: str) -> bool:
        """Tell whether a changed file asks for another check."""
        name = Path(path).name
        passed_over = name.startswith((STATE, "db.sqlite3")) or name.endswith((".md", ".log", "-journal"))
        # A learner's own tests do not judge.
        return super().__call__(change, path) and not passed_over and Path(path).parent.name != "tests"


@contextlib.contextmanager
def single_keys() -> Iterator[bool]:
    """Let the terminal hand over each key at once; give whether there is a terminal in the foreground."""
    try:
        mine = os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        mine = False
    if not mine:
        yield False
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield True
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


class Events:
    """Collects what a learner does while a check runs: saved files and pressed keys.

    Args:
        project: The directory that is watched.
        keys: Whether to read keys.

    Attributes:
        stale: Set when a running check need not be finished.
    """

    def __init__(self, project: Path, keys: bool):
        self.stale, self._end, self._project = threading.Event(), threading.Event(), project
        self._queue: SimpleQueue[tuple[set[str], str]] = SimpleQueue()
        for collect in (self._collect_files, *((self._collect_keys,) if keys else ())):
            threading.Thread(target=collect, daemon=True).start()

    def _collect_files(self) -> None:
        watcher = watchfiles.watch(
            self._project,
            watch_filter=OwnFiles(ignore_dirs=(*OwnFiles.ignore_dirs, *LEFT_BEHIND)),
            debounce=PAUSE * 4,
            step=PAUSE,
            stop_event=self._end,
            raise_interrupt=False,
        )
        for changes in watcher:
            self._add({Path(path).relative_to(self._project).as_posix() for _, path in changes})

    def _collect_keys(self) -> None:
        while not self._end.is_set():
            if select.select([sys.stdin], [], [], 0.2)[0]:
                key = os.read(sys.stdin.fileno(), 1).decode(errors="replace")
                if not key or key in KEYS:  # nothing to read: the terminal is gone
                    self._add(set(), key or "q")

    def _add(self, files: set[str], key: str = "") -> None:
        # A hint can wait until the check has ended.
        if key != "h":
            self.stale.set()
        self._queue.put((files, key))

    def take(self) -> tuple[set[str], str]:
        """Wait until something has happened; return the saved files and the keys."""
        taken = [self._queue.get()]
        while not self._queue.empty():
            taken.append(self._queue.get())
        self.stale.clear()
        return set().union(*(files for files, _ in taken)), "".join(key for _, key in taken)

    def __enter__(self) -> "Events":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._end.set()


def watch(console: Console, project: Path) -> None:
    """Check now and after each save, and go on with the next step when all is done, until Ctrl-C.

    A save while a check runs gives that check up and begins another. On a terminal, keys do more.

    Args:
        console: Where to print.
        project: The playground.

    Raises:
        WrongUse: The playground does not know what it is at.
    """
    if not State.read(project).assignment:
        raise WrongUse(f"{project} does not know its step yet. Say it once: tutorial check N {project}")
    with ended_by_signals(), single_keys() as has_keys, Events(project, has_keys) as events:
        files, keys, check = set[str](), "", True
        while "q" not in keys:
            assignment = find_assignment(State.read(project).assignment)
            after = next_step(assignment)
            move_on = "n" in keys
            if not move_on and (check or files or "a" in keys):
                if console.is_terminal:
                    console.clear()
                move_on = check_once(console, project, assignment, files, "a" in keys, events.stale)
            if "h" in keys:
                try:
                    text = next_hint(project, assignment)
                except UnknownAssignment as reason:
                    text = str(reason)
                console.print(text, markup=False, soft_wrap=True)
            check = bool(move_on and after)
            if move_on and after:
                begin(console, project, after)
                files, keys = set(), ""
                continue
            if "n" in keys:
                console.print(f"No step comes after {assignment.title}.")
            show_progress(console, State.read(project))
            say = ", ".join(f"{key} {what}" for key, what in KEYS.items()) if has_keys else "Ctrl-C ends"
            console.print(f"[dim]Watching. Save a file to check again; {say}.[/]")
            files, keys = events.take()


def next_step(assignment: Assignment) -> Assignment | None:
    """Return the step after a step; None after the last, and after an exercise."""
    following = [step for step in all_steps() if number(step) == number(assignment.step) + 1]
    return step_assignment(following[0].name) if following and not assignment.exercise else None


def check_once(
    console: Console,
    project: Path,
    assignment: Assignment,
    files: set[str],
    everything: bool,
    cancel: threading.Event,
) -> bool:
    """Check a playground, what the saved files concern first; tell whether all is done, and not given up."""
    concerned = (
        required.name
        for required in assignment.requirements
        if files & set(hints(required.module, required.name)["files"])
    )
    try:
        return judge(console, project, assignment, everything=everything, first=concerned, cancel=cancel).good
    except Cancelled:
        console.print("[dim]Given up.[/]")
    except (CannotCheck, OSError) as error:
        console.print(f"[red]{error}[/]")
    return False


def begin(console: Console, project: Path, assignment: Assignment) -> None:
    """Turn a playground to the next step, and say so."""
    unsettled = go_on(assignment, project)
    lines = [f"\n[bold green]On to {assignment.title}.[/] Its lesson: {assignment.readme}"]
    lines += [
        f"Kept as you wrote it: {file}. The lesson has a new version: tutorial compare" for file in unsettled
    ]
    console.print("\n".join(lines), soft_wrap=True)
