"""What changes from one step to the next, and how a fix travels into the later steps."""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tutorial.steps import ROOT, all_steps, number

DIFFS = ROOT / "docs/diffs"


class CannotPropagate(RuntimeError):
    """Raised when a change cannot be carried on; nothing has been written then."""


def git(*arguments: str, cwd: Path = ROOT, ok: tuple[int, ...] = (0,)) -> str:
    """Run git and return what it printed.

    Args:
        arguments: The words after `git`.
        cwd: The directory to run it in.
        ok: The exit codes that are no failure.

    Raises:
        RuntimeError: It ended with another code.
    """
    done = subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, check=False)  # noqa: S603, S607
    if done.returncode not in ok:
        raise RuntimeError(f"git {arguments[0]} failed: {done.stderr.decode().strip()}")
    return done.stdout.decode()


def files(step: Path) -> dict[str, Path]:
    """Return the files of a step that git tracks or would track, by their path inside the step."""
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", ".", cwd=step)
    paths = {name: step / name for name in sorted(filter(None, listed.split("\0")))}
    return {name: path for name, path in paths.items() if path.is_file()}


def step_diff(number_after: int, stat: bool = False, colour: bool = False) -> str:
    """Return what a step changes in the one before it, as git shows it.

    Args:
        number_after: The later step's number, 2 or more.
        stat: Only the number of lines per file.
        colour: With colours for a terminal.

    Raises:
        ValueError: There is no such pair of steps.
    """
    steps = {number(step): step for step in all_steps()}
    if number_after not in steps or number_after - 1 not in steps:
        pairs = ", ".join(str(n) for n in sorted(steps) if n - 1 in steps)
        raise ValueError(
            f"Step {number_after} has no step before it to compare with. Those that have: {pairs}."
        )
    with tempfile.TemporaryDirectory(prefix="diff-") as directory:
        # Copies of what git tracks, so that databases and caches stay out of it.
        for side, step in (("a", steps[number_after - 1]), ("b", steps[number_after])):
            for name, path in files(step).items():
                if name == "README.md":  # the lesson; it is new in every step
                    continue
                target = Path(directory, side, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
        options = [
            "--no-ext-diff",
            "--no-renames",
            "--no-prefix",
            f"--color={'always' if colour else 'never'}",
        ]
        text = git("diff", "--no-index", *options, "a", "b", cwd=Path(directory), ok=(0, 1))
        if not stat:
            return text
        Path(directory, "text.diff").write_text(text)
        return git("apply", "--stat", "text.diff", cwd=Path(directory))


def diff_file(number_after: int) -> Path:
    """Return where the diff that leads to a step is committed."""
    return DIFFS / f"step{number_after - 1:02}-step{number_after:02}.diff"


def write_diffs() -> list[Path]:
    """Write the diffs between all successive steps; return their files."""
    DIFFS.mkdir(parents=True, exist_ok=True)
    written = []
    for step in all_steps()[1:]:
        target = diff_file(number(step))
        target.write_text(step_diff(number(step)))
        written.append(target)
    return written


@dataclass
class Propagation:
    """What became of a change on its way into the later steps.

    Attributes:
        written: The files that were written, added or removed, relative to the root.
        conflicts: The files with conflict markers that a person must settle.
        kept: The files that were left as they are, because the later step has a version of its own.
    """

    written: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


def propagate(source: Path, root: Path = ROOT) -> Propagation:
    """Carry the uncommitted change of a step into every later step by three-way merge.

    For each file, the step's last commit is the base, its working copy one side and the later
    step's working copy the other. Where both changed the same lines, the file gets conflict markers.

    Args:
        source: The directory of the changed step.
        root: The directory that holds the steps, inside a git repository.

    Raises:
        CannotPropagate: The step has no uncommitted change, or a later step has an unsettled conflict.
    """
    changed = changed_files(source)
    if not changed:
        raise CannotPropagate(f"{source.name} has no uncommitted change to carry on.")
    targets = [step for step in all_steps(root) if number(step) > number(source)]
    unsettled = [
        str(path.relative_to(root))
        for step in targets
        for path in (step / name for name in changed)
        if path.is_file() and b"\n<<<<<<< " in b"\n" + path.read_bytes()
    ]
    if unsettled:
        raise CannotPropagate(f"Settle the conflict markers first in: {', '.join(unsettled)}.")
    result = Propagation()
    for step in targets:
        for name, base in changed.items():
            carry(source / name, base, step / name, result, root)
    return result


def changed_files(step: Path) -> dict[str, bytes | None]:
    """Return the files of a step that differ from the last commit, with their content there or None."""
    status = git("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", ".", cwd=step)
    prefix = git("rev-parse", "--show-prefix", cwd=step).strip()
    names = [entry[3:].removeprefix(prefix) for entry in status.split("\0") if entry]
    return {name: committed(step, name) for name in names if name != "README.md"}


def committed(step: Path, name: str) -> bytes | None:
    """Return a file's content in the last commit, or None where it was not there."""
    done = subprocess.run(["git", "show", f"HEAD:./{name}"], cwd=step, capture_output=True, check=False)  # noqa: S603, S607
    return done.stdout if done.returncode == 0 else None


def carry(source: Path, base: bytes | None, target: Path, result: Propagation, root: Path) -> None:
    """Bring one file's change into one later step and note what became of it in the result."""
    shown = str(target.relative_to(root))
    mine = source.read_bytes() if source.is_file() else None
    theirs = target.read_bytes() if target.is_file() else None
    if theirs == mine:
        return
    if theirs == base:
        # The later step had it as it was: it gets it as it is.
        if mine is None:
            target.unlink()
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            shutil.copymode(source, target)
        result.written.append(shown)
    elif mine is None or theirs is None:
        # Removed on one side, changed on the other: nothing is thrown away.
        result.kept.append(shown)
    else:
        merged, conflicts = merge(mine, base or b"", theirs)
        if merged != theirs:
            target.write_bytes(merged)
            (result.conflicts if conflicts else result.written).append(shown)


def merge(mine: bytes, base: bytes, theirs: bytes) -> tuple[bytes, bool]:
    """Merge two versions of a file that come from the same one; return the text and whether it has conflicts.

    Raises:
        RuntimeError: git could not merge them, for instance because they are not text.
    """
    with tempfile.TemporaryDirectory(prefix="merge-") as directory:
        names = []
        for name, content in (("later-step", theirs), ("before", base), ("this-change", mine)):
            path = Path(directory, name)
            path.write_bytes(content)
            names.append(name)
        command = ["git", "merge-file", "-p", *names]
        done = subprocess.run(command, cwd=directory, capture_output=True, check=False)  # noqa: S603
    if done.returncode < 0 or done.returncode > 127:
        raise RuntimeError(f"git merge-file failed: {done.stderr.decode().strip()}")
    return done.stdout, done.returncode > 0
