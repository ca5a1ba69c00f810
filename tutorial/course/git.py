"""The one place that calls git."""

import os
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tutorial.course.steps import ROOT


class GitFailed(RuntimeError):
    """Raised when git isn't installed or ends with an error; its text has git's output."""


def git(*arguments: str, cwd: Path = ROOT, ok: Iterable[int] = (0,), own: bool = False) -> str:
    """Run git and return what it printed.

    Args:
        arguments: The words after `git`.
        cwd: The directory to run it in.
        ok: The exit codes that aren't a failure.
        own: Whether the directory is a repository of its own: variables such as `GIT_DIR` don't apply to it,
            and commits there need no name, no signature and no work in the background.

    Raises:
        GitFailed: git isn't installed, took more than a minute, or ended with another code.
    """
    env, options = dict(os.environ), []
    if own:
        env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        settings = {
            "user.name": "learner",
            "user.email": "learner@example.com",
            "commit.gpgsign": "false",
            "maintenance.auto": "false",
            "gc.auto": "0",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    try:
        done = subprocess.run(  # noqa: S603
            ["git", *options, *arguments],  # noqa: S607
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=60,
        )
    except FileNotFoundError:
        raise GitFailed("git isn't installed, or isn't on PATH.") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GitFailed(f"git {arguments[0]} failed: {error}") from None
    if done.returncode not in ok:
        raise GitFailed(f"git {arguments[0]} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode()


def merge(mine: bytes, base: bytes, theirs: bytes) -> tuple[bytes, bool]:
    """Merge two versions of a file that come from the same one; return the text and whether it has conflicts.

    Raises:
        GitFailed: git couldn't merge them, for instance because they aren't text.
    """
    if base in (mine, theirs) or mine == theirs:  # only one side changed something: needs no git
        return (theirs if mine == base else mine), False
    with tempfile.TemporaryDirectory(prefix="merge-") as directory:
        for name, content in (("later-step", theirs), ("before", base), ("this-change", mine)):
            Path(directory, name).write_bytes(content)
        # It ends with the number of conflicts, and leaves the merged text in the first file.
        git("merge-file", "later-step", "before", "this-change", cwd=Path(directory), ok=range(128))
        merged = Path(directory, "later-step").read_bytes()
    return merged, b"<<<<<<< later-step" in merged and b"<<<<<<< later-step" not in theirs
