"""The files of a project: which belong to it, and how a copy is made."""

import fnmatch
import math
import shutil
from collections.abc import Mapping
from pathlib import Path

# Files that a running project leaves behind, and others too heavy to be part of one.
LEFT_BEHIND = (
    "__pycache__",
    "*.pyc",
    "db.sqlite3*",
    ".*_cache",
    "staticfiles",
    ".git",
    ".venv",
    "node_modules",
)


def project_files(directory: Path) -> dict[str, Path]:
    """Return the files of a project by their path in it, without what running it leaves behind."""
    found = {}
    for path in sorted(directory.rglob("*")):
        parts = path.relative_to(directory).parts
        left_behind = any(fnmatch.fnmatch(part, pattern) for part in parts for pattern in LEFT_BEHIND)
        if path.is_file() and not left_behind:
            found["/".join(parts)] = path
    return found


def write_files(files: Mapping[str, bytes], directory: Path) -> None:
    """Write files into a directory by their path in it, over what is there."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def copy_project(project: Path, target: Path, *leave_out: str, largest: float = math.inf) -> Path:
    """Copy a project, without what running it leaves behind; return the copy.

    Args:
        project: The directory of a step, or of a learner's project.
        target: Where to; existing files are overwritten.
        leave_out: Patterns of further names to leave out, such as `tests`.
        largest: Bytes; a larger file is left out. So is anything that isn't a file: a pipe never ends.
    """
    passed_over = shutil.ignore_patterns(*LEFT_BEHIND, *leave_out)

    def ignored(directory: str, names: list[str]) -> set[str]:
        found = passed_over(directory, names)
        for name in set(names) - found:
            path = Path(directory, name)
            if not path.is_dir() and not (path.is_file() and path.stat().st_size <= largest):
                found.add(name)
        return found

    return Path(shutil.copytree(project, target, ignore=ignored, dirs_exist_ok=True))
