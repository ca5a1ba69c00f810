"""A learner's own copy of a step: how it is made, what it remembers, and that nothing in it gets lost."""

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from tutorial.course.assignment import (
    Assignment,
    Requirement,
    earlier_step,
    find_assignment,
)
from tutorial.course.files import project_files, write_files
from tutorial.course.git import GitFailed, git, merge
from tutorial.course.steps import ROOT, all_steps, number
from tutorial.course.version import course_version
from tutorial.services.signals import ended_by_signals, uninterrupted

STATE = ".tutorial.json"
DEFAULT = ROOT / "playground"
# Kept out of the learner's own git repository.
EXCLUDED = f"{STATE}\ndb.sqlite3*\n__pycache__/\n.pytest_cache/\nstaticfiles/\n*-????-??-??-??????*\n"
DJANGO = ("manage.py", "config/settings.py")  # one of them makes a directory a Django project
# The course's own directories, which no playground may take the place of.
COURSE = (
    *("tests", "tutorial", "docs", "exercises", "notebooks", "benchmarks"),
    *(".git", ".github", ".ci", ".venv"),
)


class WrongUse(RuntimeError):
    """Raised when a directory cannot be what it is asked to be; its text says why and what to do."""


@dataclass
class State:
    """What a playground remembers between two commands.

    Attributes:
        assignment: The step or exercise that is being worked on.
        done: For each step or exercise, the names of its requirements that are met.
        stuck: The first requirement that is not met, or an empty text.
        place: The file to look at for it.
        mistake: What went wrong there, without what differs from run to run.
        hint: The hint that was shown with it.
        hints: How many hints have been given for a mistake.
        left_open: The tests of earlier steps that were not met when the learner went on, by pytest's names.
        course: The version of the course that the playground was made with, or an empty text.
        explained: For each step, the names of the requirements of which it was said why they matter.
    """

    assignment: str = ""
    done: dict[str, list[str]] = field(default_factory=dict)
    stuck: str = ""
    place: str = ""
    mistake: str = ""
    hint: str = ""
    hints: dict[str, int] = field(default_factory=dict)
    left_open: list[str] = field(default_factory=list)
    course: str = ""
    explained: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, directory: Path) -> "State":
        """Return what a directory remembers: nothing, where it has never been a playground.

        Raises:
            WrongUse: It cannot be read.
        """
        path = directory / STATE
        try:
            noted = json.loads(path.read_text(encoding="utf-8"))
            if "task" in noted:  # as the first version of the course called it
                noted["assignment"] = noted.pop("task")
            return cls(**noted)
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, TypeError) as error:
            raise WrongUse(
                f"{path} cannot be read ({error}). Delete it; your step is found by its files."
            ) from None

    def write(self, directory: Path) -> None:
        """Keep it in a directory, whole or not at all.

        Raises:
            OSError: The directory cannot be written to.
        """
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"
        write_whole(directory / STATE, text.encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all."""
    new = path.with_name(f"{path.name}.new")
    try:
        new.write_bytes(content)
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def test_id(required: Requirement) -> str:
    """Return what pytest calls a requirement's test, from `tests/` on."""
    return f"{required.module}.py::{required.name}"


def find_playground(directory: Path | None) -> Path:
    """Return the playground that a command is about.

    Args:
        directory: What the learner named; else it is the Django project that holds the current directory,
            else `playground/` beside the steps.

    Raises:
        WrongUse: It is not a Django project.
    """
    if directory is None:
        here = Path.cwd()
        directory = next((path for path in (here, *here.parents) if is_project(path)), DEFAULT)
    if not is_project(directory):
        start = "Make one: tutorial start 1" + ("" if directory == DEFAULT else f" {directory}")
        state = f"has neither {' nor '.join(DJANGO)}" if directory.is_dir() else "doesn't exist"
        raise WrongUse(f"{directory} {state}, so it is no Django project. {start}")
    return directory.resolve()


def is_project(directory: Path) -> bool:
    """Tell whether a directory is a playground, or any Django project."""
    return any((directory / name).is_file() for name in (STATE, *DJANGO))


def current_assignment(directory: Path, name: str | None) -> tuple[Assignment, str]:
    """Return the assignment a command is about, and a line that says how it was found, if that was a guess.

    It is the one that is named, else the one the playground is at, else the last step of whose files there
    are some.

    Raises:
        UnknownAssignment: There is none of that name.
    """
    if name := name or State.read(directory).assignment:
        return find_assignment(name), ""
    guess, sign = all_steps()[0], "no file of a later one"
    for step in all_steps():
        before = earlier_step(step)
        own = [file for file in project_files(step) if re.fullmatch(r"(?!tests/).*[^_]\.py", file)]
        own = [file for file in own if not (before and (before / file).exists())]
        if before and (found := next((file for file in own if (directory / file).is_file()), "")):
            guess, sign = step, found
    assignment = find_assignment(guess.name)
    return assignment, f"{directory} looks like {assignment.title}: it has {sign}. To name another: check N."


def may_remember(directory: Path) -> bool:
    """Tell whether a state file may be written into a directory: not into the course's own steps."""
    return not any(step == directory or step in directory.parents for step in all_steps())


def start(assignment: Assignment, directory: Path) -> Path | None:
    """Make a playground for an assignment; return where a copy of what was in it is now, or None.

    An exercise begins with its step; a step with the finished step before it and what its lesson gives.
    All is made under another name beside its place. A directory that exists is copied aside first and filled
    anew, so that a server or a shell in it goes on. Whatever interrupts this, there is never half a
    playground; only a kill while the new files take their places leaves some of each, with the copy beside.

    Raises:
        WrongUse: The directory is a part of the course, or no directory.
        OSError: It cannot be written, for instance because the disk is full.
    """
    directory = directory.absolute()
    refuse_course(directory)
    before = State.read(directory) if (directory / STATE).is_file() else State()
    with ended_by_signals():
        directory.parent.mkdir(parents=True, exist_ok=True)
        made: list[Path] = []
        try:
            new = beside(directory, made)
            write_files(assignment.beginning, new)
            State(assignment.name, before.done, course=course_version(), explained=before.explained).write(
                new
            )
            make_repository(new, f"Start of {assignment.title}")
            if not os.path.lexists(directory):
                new.rename(directory)
                return None
            copy = beside(directory, made)
            shutil.copytree(directory, copy, symlinks=True, dirs_exist_ok=True)
            with uninterrupted():
                aside = copy.rename(dated(directory))
                try:
                    fill(directory, new, os.replace)
                except BaseException:
                    fill(directory, aside, shutil.copy2)
                    made.append(aside)
                    raise
            return aside
        finally:
            with uninterrupted():
                for path in made:
                    shutil.rmtree(path, ignore_errors=True)


def beside(directory: Path, made: list[Path]) -> Path:
    """Make a hidden directory beside another, and note it in a list."""
    # A Ctrl-C in between would leave a directory that nobody knows of.
    with uninterrupted():
        made.append(Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent)))
    made[-1].chmod(0o755)
    return made[-1]


def fill(directory: Path, source: Path, move: Callable[[str, str], object]) -> None:
    """Let a directory have what a source has, and nothing else except a database; it stays the same one.

    Args:
        move: What brings a file from its path to its new path.
    """
    for path in sorted(directory.rglob("*"), reverse=True):  # what is in a directory before the directory
        other = source / path.relative_to(directory)
        if path.is_symlink() or (path.is_file() and not other.is_file()):
            if not path.name.startswith("db.sqlite3"):
                path.unlink()
        elif path.is_dir() and not other.is_dir():
            with contextlib.suppress(OSError):  # a database is in it
                path.rmdir()
    shutil.copytree(source, directory, symlinks=True, copy_function=move, dirs_exist_ok=True)


def refuse_course(directory: Path) -> None:
    """Raise WrongUse where a playground would take the place of a part of the course, or of a file."""
    if directory.exists() and not directory.is_dir():
        raise WrongUse(f"{directory} is a file. Name a directory to make.")
    real = directory.resolve()
    own = [*all_steps(), *(ROOT / name for name in COURSE)]
    if real == ROOT or real in ROOT.parents or any(real == path or path in real.parents for path in own):
        raise WrongUse(f"{directory} belongs to the course. Choose another, such as {DEFAULT}.")


def dated(path: Path) -> Path:
    """Return a free name beside a path, with the date and time in it."""
    name = f"{path.name}-{datetime.now():%Y-%m-%d-%H%M%S}"
    names = [name, *(f"{name}-{count}" for count in range(2, 1000))]
    return next(path.with_name(name) for name in names if not os.path.lexists(path.with_name(name)))


def go_on(assignment: Assignment, directory: Path) -> list[str]:
    """Turn a playground to the next step and keep the learner's code; return the files left to settle.

    What the step's lesson gives is added. Where the learner has changed such a file, the two are merged.

    Raises:
        WrongUse: The playground is at a later step.
        OSError: It cannot be written to.
    """
    state = State.read(directory)
    now, _ = current_assignment(directory, None)
    if number(assignment.step) < number(now.step):
        raise WrongUse(
            f"{directory} is at {now.title}, and --keep only goes forward. To do {assignment.title} again: "
            f"tutorial start {number(assignment.step)}, which keeps a copy of what you wrote."
        )
    make_commit(directory, f"Before {assignment.title}")
    before = earlier_step(assignment.step)
    unsettled = []
    for name, new in assignment.given.items():
        mine = directory / name
        base = before / name if before else mine
        if mine.is_file() and not name.startswith("tests/"):
            old = mine.read_bytes()
            try:
                merged, conflict = merge(old, base.read_bytes() if base.is_file() else b"", new)
            except (OSError, RuntimeError):
                merged, conflict = old, old != new
            if conflict:
                unsettled.append(name)
                continue
            new = merged
        mine.parent.mkdir(parents=True, exist_ok=True)
        mine.write_bytes(new)
    if not now.exercise and now != assignment:
        met = state.done.get(now.name, [])
        open_now = [test_id(required) for required in now.requirements if required.name not in met]
        state.left_open = sorted({*state.left_open, *open_now})
    state.assignment, state.stuck, state.place, state.mistake = assignment.name, "", "", ""
    state.write(directory)
    make_commit(directory, f"Start of {assignment.title}")
    return unsettled


def take(assignment: Assignment, name: str, directory: Path) -> Path | None:
    """Put one file of the solution into a playground; return where the learner's own now is, or None.

    Raises:
        OSError: It cannot be written.
    """
    mine = directory / name
    aside = dated(mine) if mine.exists() else None
    mine.parent.mkdir(parents=True, exist_ok=True)
    if aside:
        shutil.copy2(mine, aside)
    write_whole(mine, assignment.solution[name])
    return aside


def own_git(directory: Path, *arguments: str) -> bool:
    """Run git in a playground; tell whether git is there and it went well."""
    try:
        # A git that is left to itself would go on writing while its directory is being removed.
        with uninterrupted():
            git(*arguments, cwd=directory, own=True)
    except GitFailed:
        return False
    return True


def make_repository(directory: Path, message: str) -> bool:
    """Make a directory a git repository of its own, with all files committed; False where git is missing."""
    if not own_git(directory, "init", "--quiet", "--initial-branch=main", "--template="):
        return False
    (directory / ".git/info").mkdir(exist_ok=True)
    (directory / ".git/info/exclude").write_text(EXCLUDED)
    return make_commit(directory, message)


def make_commit(directory: Path, message: str) -> bool:
    """Commit all that has changed in a playground's own repository; False where there is no git."""
    if not (directory / ".git").is_dir():
        return False
    return own_git(directory, "add", "--all") and own_git(
        directory, "commit", "--quiet", "--no-verify", "--allow-empty", "-m", message
    )
