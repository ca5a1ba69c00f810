"""How a fix in a step travels into the later steps."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from tutorial.course.git import GitFailed, git, merge
from tutorial.course.steps import ROOT, all_steps, number


class CannotPropagate(RuntimeError):
    """Raised when a change can't be carried on; nothing has been written."""


@dataclass
class Propagation:
    """The result of carrying a change into the later steps.

    Attributes:
        written: The files that were written, added or removed, relative to the root.
        conflicts: The files with conflict markers that a person must resolve.
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
    try:
        return git("show", f"HEAD:./{name}", cwd=step).encode()
    except GitFailed:
        return None


def carry(source: Path, base: bytes | None, target: Path, result: Propagation, root: Path) -> None:
    """Bring one file's change into one later step and note the outcome in the result."""
    shown = str(target.relative_to(root))
    mine = source.read_bytes() if source.is_file() else None
    theirs = target.read_bytes() if target.is_file() else None
    if theirs == mine:
        return
    if theirs == base:
        # The later step had the old version: it gets the new one.
        if mine is None:
            target.unlink()
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        result.written.append(shown)
    elif mine is None or theirs is None:
        # Removed on one side, changed on the other: keep it.
        result.kept.append(shown)
    else:
        merged, conflicts = merge(mine, base or b"", theirs)
        if merged != theirs:
            target.write_bytes(merged)
            (result.conflicts if conflicts else result.written).append(shown)
