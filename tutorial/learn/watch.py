"""Check a playground again whenever a file in it is saved."""

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
from tutorial.course.files import LEFT_BEHIND, project_files
from tutorial.course.steps import all_steps, number
from tutorial.learn import classroom
from tutorial.learn.check import Cancelled, CannotCheck
from tutorial.learn.explain import hints
from tutorial.learn.playground import STATE, State, WrongUse, find_playground, go_on
from tutorial.learn.progress import judge, next_hint
from tutorial.learn.render import Words
from tutorial.learn.sections import plain, sections
from tutorial.services.signals import ended_by_signals

PAUSE = 50  # milliseconds to wait for the other files of one save
KEYS = {"h": "hint", "a": "check all", "n": "next step", "q": "quit"}
HAND = "r"  # raises and lowers the hand on a board


class OwnFiles(watchfiles.DefaultFilter):
    """Lets pass what a learner writes, and not what running it leaves behind."""

    def __call__(self, change: watchfiles.Change, path: str) -> bool:
        """Tell whether a changed file asks for another check."""
        name = Path(path).name
        passed_over = name.startswith((f"{STATE}.", "db.sqlite3"))
        passed_over = passed_over or name.endswith((".md", ".log", "-journal"))
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
        assignment: What the learner is at; another one that is noted in the playground counts as a save.
    """

    def __init__(self, project: Path, keys: bool):
        self.stale, self._end, self._project = threading.Event(), threading.Event(), project
        self._queue: SimpleQueue[tuple[set[str], str]] = SimpleQueue()
        self._settled: dict[str, int] = {}
        self._explained = self._hint_wanted = False
        self.assignment = State.read(project).assignment
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
            files = {Path(path).relative_to(self._project).as_posix() for _, path in changes}
            files = {name for name in files if self._written(name) != self._settled.get(name)}
            if STATE in files and self._at() == self.assignment:
                files.remove(STATE)
            if files:
                self._add(files)

    def _at(self) -> str:
        with contextlib.suppress(WrongUse):
            return State.read(self._project).assignment
        return self.assignment

    def _written(self, name: str) -> int:
        with contextlib.suppress(OSError):
            return (self._project / name).stat().st_mtime_ns
        return 0  # removed

    def settle(self) -> None:
        """Forget what was saved up to now: the next check sees it."""
        self._settled = {name: self._written(name) for name in project_files(self._project)}
        self.take(wait=False)

    def _collect_keys(self) -> None:
        while not self._end.is_set():
            if select.select([sys.stdin], [], [], 0.2)[0]:
                key = os.read(sys.stdin.fileno(), 1).decode(errors="replace")
                if not key or key in KEYS or key == HAND:  # nothing to read: the terminal is gone
                    self._add(set(), key or "q")

    def _add(self, files: set[str], key: str = "") -> None:
        self._queue.put((files, key))
        # A hint waits until there is a problem to help with; the rest need not be judged then.
        self._hint_wanted = self._hint_wanted or key == "h"
        if key != "h" or self._explained:
            self.stale.set()

    def explained(self) -> None:
        """Take note that a problem has been shown."""
        self._explained = True
        if self._hint_wanted:
            self.stale.set()

    def take(self, wait: bool = True) -> tuple[set[str], str]:
        """Return the saved files and the keys; if asked to, wait until there are some."""
        taken = [self._queue.get()] if wait else []
        while not self._queue.empty():
            taken.append(self._queue.get())
        self.stale.clear()
        self._explained = self._hint_wanted = False
        return set().union(*(files for files, _ in taken)), "".join(key for _, key in taken)

    def __enter__(self) -> "Events":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._end.set()


def watch(console: Console, project: Path, assignment: Assignment) -> None:
    """Check now and after each save until Ctrl-C; on a terminal, keys do more.

    A save while a check runs gives that check up and begins another. The project is the learner's: only the
    key n adds the files of the next step to it.

    Args:
        console: Where to print.
        project: The playground.
        assignment: What the learner is at.
    """
    classroom.listen(lambda text: console.print(text, style="bold", markup=False))
    with ended_by_signals(), single_keys() as has_keys, Events(project, has_keys) as events:
        files, keys, check, began, asked = set[str](), "", True, False, False
        while "q" not in keys:
            assignment = find_assignment(State.read(project).assignment or assignment.name)
            events.assignment, after = assignment.name, next_step(assignment)
            if check or files or "a" in keys:
                # What was said about a new step stays to be read.
                if console.is_terminal and not began:
                    console.clear()
                words = words_for(assignment, project, has_keys)
                check_once(console, project, assignment, words, files, "a" in keys, events)
            check = began = False
            if "h" in keys:
                try:
                    text = next_hint(project, assignment)
                except UnknownAssignment as reason:
                    text = str(reason)
                console.print(text, markup=False)
            if "n" in keys and after and (asked or may_go_on(assignment, State.read(project))):
                begin(console, project, after)
                events.settle()
                files, keys, check, began, asked = set(), "", True, True, False
                continue
            if HAND in keys:
                console.print(classroom.turn_hand(), markup=False)
            asked = "n" in keys and after is not None
            if asked:
                console.print(f"{assignment.title.capitalize()} isn't done. To go on anyway, press n again.")
            elif "n" in keys:
                console.print(f"No step comes after {assignment.title}.")
            if reminder := classroom.reminder():
                console.print(reminder, style="bold", markup=False)
            known = KEYS | ({HAND: "your hand"} if classroom.Joined.read() else {})
            say = ", ".join(f"{key} {what}" for key, what in known.items()) if has_keys else "Ctrl-C ends"
            console.print(f"[dim]Watching. Save a file to check again; {say}.[/]")
            files, keys = events.take()


def may_go_on(assignment: Assignment, state: State) -> bool:
    """Tell whether the plain version works, as far as that is known."""
    return {required.name for required in plain(assignment)} <= set(state.done.get(assignment.name, []))


def words_for(assignment: Assignment, project: Path, has_keys: bool = False) -> Words:
    """Return what to do for help and to go on: keys, where there are some, else commands."""
    after = next_step(assignment)
    if has_keys:
        return Words("press h", "press n" if after else "")
    where = f" {project}"
    with contextlib.suppress(WrongUse):
        where = "" if find_playground(None) == project else where
    return Words("tutorial hint", f"tutorial start {number(after.step)}{where} --keep" if after else "")


def next_step(assignment: Assignment) -> Assignment | None:
    """Return the step after a step; None after the last, and after an exercise."""
    following = [step for step in all_steps() if number(step) == number(assignment.step) + 1]
    return step_assignment(following[0].name) if following and not assignment.exercise else None


def check_once(
    console: Console,
    project: Path,
    assignment: Assignment,
    words: Words,
    files: set[str],
    everything: bool,
    events: Events,
) -> None:
    """Check a playground, what the saved files concern first."""
    first = [
        required.name
        for part in sections(assignment).values()
        for required in part
        if files & set(hints(required.module, required.name)["files"])
    ]
    try:
        judge(
            *(console, project, assignment, words),
            go_on="all" if everything else "hardened",
            first=first,
            on_problem=events.explained,
            cancel=events.stale,
        )
    except Cancelled:
        console.print("[dim]The rest was not looked at.[/]")
    except (CannotCheck, OSError) as error:
        console.print(f"[red]{error}[/]")


def begin(console: Console, project: Path, assignment: Assignment) -> None:
    """Turn a playground to the next step, and say so."""
    unsettled = go_on(assignment, project)
    lines = [f"\n[bold green]On to {assignment.title}.[/] Its lesson: {assignment.readme}"]
    lines += [
        f"Kept as you wrote it: {file}. The lesson has a new version: tutorial compare" for file in unsettled
    ]
    console.print("\n".join(lines), soft_wrap=True)
