"""A learner's own copy of a step: how it is made, what it remembers, and that nothing in it gets lost."""

import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from tutorial.course.assignment import Assignment, UnknownAssignment, earlier_step, find_assignment
from tutorial.course.files import write_files
from tutorial.course.git import GitFailed, git, merge
from tutorial.course.steps import ROOT, all_steps
from tutorial.services.signals import ended_by_signals, uninterrupted

STATE = ".tutorial.json"
DEFAULT = ROOT / "playground"
# Kept out of the learner's own git repository.
EXCLUDED = f"{STATE}\ndb.sqlite3*\n__pycache__/\n.pytest_cache/\nstaticfiles/\n"
# The course's own directories, which no playground may take the place of.
COURSE = (
    "tests",
    "tutorial",
    "docs",
    "exercises",
    "notebooks",
    "benchmarks",
    ".git",
    ".github",
    ".ci",
    ".venv",
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
        hints: How many hints have been given for a requirement.
    """

    assignment: str = ""
    done: dict[str, list[str]] = field(default_factory=dict)
    stuck: str = ""
    place: str = ""
    hints: dict[str, int] = field(default_factory=dict)

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
                f"{path} cannot be read ({error}). Delete it and name the step: check N."
            ) from None

    def write(self, directory: Path) -> None:
        """Keep it in a directory, whole or not at all.

        Raises:
            OSError: The directory cannot be written to.
        """
        new = directory / f"{STATE}.new"
        new.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(new, directory / STATE)


def find_playground(directory: Path | None) -> Path:
    """Return the playground that a command is about.

    Args:
        directory: What the learner named; else it is the playground that holds the current directory, else
            `playground/` beside the steps.

    Raises:
        WrongUse: It is not a Django project.
    """
    if directory is None:
        here = Path.cwd()
        directory = next((path for path in (here, *here.parents) if (path / STATE).exists()), DEFAULT)
    looked_for = ["manage.py", "config/settings.py"]
    if not any((directory / name).is_file() for name in looked_for):
        start = "Make one: tutorial start 2" + ("" if directory == DEFAULT else f" {directory}")
        state = "has neither" if directory.is_dir() else "does not exist; looked for"
        raise WrongUse(f"{directory} {state} {' nor '.join(looked_for)}: it is no Django project. {start}")
    return directory.resolve()


def current_assignment(directory: Path, name: str | None) -> Assignment:
    """Return the assignment a command is about: the one that is named, else the one the playground is at.

    Raises:
        WrongUse: None is named, and the playground does not know.
        UnknownAssignment: There is none of that name.
    """
    name = name or State.read(directory).assignment
    if not name:
        raise WrongUse(
            f"{directory} was not made by `tutorial start`: name the step, such as tutorial check 3."
        )
    return find_assignment(name)


def may_remember(directory: Path) -> bool:
    """Tell whether a state file may be written into a directory: not into the course's own steps."""
    return not any(step == directory or step in directory.parents for step in all_steps())


def start(assignment: Assignment, directory: Path) -> Path | None:
    """Make a playground for an assignment; return where an earlier directory of that name now is, or None.

    It is made under another name beside its place and renamed when it is complete. Whatever interrupts
    this, there is never half a playground, and an existing directory is whole under its old or its new name.

    Args:
        assignment: A step, for which the finished step before it is laid out and what its lesson gives; or an
            exercise, for which its step is laid out.
        directory: Where to make it.

    Raises:
        WrongUse: The directory is a part of the course, or no directory.
        OSError: It cannot be written, for instance because the disk is full.
    """
    directory = directory.absolute()
    refuse_course(directory)
    done = State.read(directory).done if (directory / STATE).is_file() else {}
    with ended_by_signals():
        directory.parent.mkdir(parents=True, exist_ok=True)
        new = None
        try:
            # A Ctrl-C in between would leave a directory that nobody knows of.
            with uninterrupted():
                new = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
            new.chmod(0o755)
            lay_out(assignment, new)
            State(assignment.name, done).write(new)
            make_repository(new, f"Start of {assignment.title}")
            return swap(new, directory)
        except BaseException:
            with uninterrupted():
                if new:
                    shutil.rmtree(new, ignore_errors=True)
            raise


def refuse_course(directory: Path) -> None:
    """Raise WrongUse where a playground would take the place of a part of the course, or of a file."""
    if directory.exists() and not directory.is_dir():
        raise WrongUse(f"{directory} is a file. Name a directory to make.")
    real = directory.resolve()
    own = [*all_steps(), *(ROOT / name for name in COURSE)]
    if real == ROOT or real in ROOT.parents or any(real == path or path in real.parents for path in own):
        raise WrongUse(f"{directory} belongs to the course. Choose another, such as {DEFAULT}.")


def swap(new: Path, directory: Path) -> Path | None:
    """Give a finished directory its name; return the name that an earlier one has now, or None."""
    with uninterrupted():
        if not os.path.lexists(directory):
            new.rename(directory)
            return None
        aside = dated(directory)
        directory.rename(aside)
        try:
            new.rename(directory)
        except BaseException:
            aside.rename(directory)
            raise
        return aside


def dated(path: Path) -> Path:
    """Return a free name beside a path, with the date and time in it."""
    name = f"{path.name}-{datetime.now():%Y-%m-%d-%H%M%S}"
    names = [name, *(f"{name}-{count}" for count in range(2, 1000))]
    return next(path.with_name(name) for name in names if not os.path.lexists(path.with_name(name)))


def lay_out(assignment: Assignment, target: Path) -> None:
    """Write the files that work on an assignment begins with into an empty directory.

    Raises:
        OSError: They cannot be written.
    """
    write_files(assignment.beginning, target)


def go_on(assignment: Assignment, directory: Path) -> list[str]:
    """Turn a playground to the next step and keep the learner's code; return the files left to settle.

    What the step's lesson gives is added. Where the learner has changed such a file, the two are merged.

    Raises:
        OSError: The playground cannot be written to.
    """
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
    state = State.read(directory)
    state.assignment, state.stuck, state.place = assignment.name, "", ""
    state.write(directory)
    make_commit(directory, f"Start of {assignment.title}")
    return unsettled


def take(assignment: Assignment, name: str, directory: Path) -> Path | None:
    """Put one file of the solution into a playground; return where the learner's own now is, or None.

    Raises:
        UnknownAssignment: The solution has no such file.
        OSError: It cannot be written.
    """
    name = Path(name).as_posix().removeprefix("./")
    if name not in assignment.solution:
        raise UnknownAssignment(
            f"The solution of {assignment.title} has no file {name!r}. {assignment.nearest_file(name)}"
        )
    mine = directory / name
    aside = None
    mine.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=mine.parent, prefix=f".{mine.name}-", delete=False) as new:
        try:
            new.write(assignment.solution[name])
            new.flush()
            if mine.exists():
                aside = dated(mine)
                shutil.copy2(mine, aside)
            os.chmod(new.name, 0o644)
            os.replace(new.name, mine)
        except BaseException:
            Path(new.name).unlink(missing_ok=True)
            raise
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
