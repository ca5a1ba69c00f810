"""Run notebooks, each in a kernel of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nbformat

from tutorial.course.steps import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# Notebooks mostly wait for processes, but each starts several.
LANES = 2
CELL_TIMEOUT = 180  # seconds


@dataclass
class Run:
    """What came of a notebook.

    Attributes:
        code: nbmake's exit code, 0 when every cell ran.
        output: What nbmake printed.
        seconds: How long it took.
    """

    code: int
    output: str
    seconds: float


def run(path: Path, env: dict[str, str] | None = None, write: bool = False) -> Run:
    """Run a notebook from a clean kernel with nbmake.

    Args:
        path: The notebook.
        env: More variables for its environment.
        write: Whether the outputs replace those in the file.
    """
    words = ["--nbmake", f"--nbmake-timeout={CELL_TIMEOUT}", *(["--overwrite"] if write else [])]
    # A pytest of its own: no configuration of ours, and no plugin but nbmake.
    plain = [
        "-q",
        "-c",
        os.devnull,
        "--rootdir",
        ROOT,
        "-p",
        "nbmake.pytest_plugin",
        "-p",
        "no:cacheprovider",
    ]
    # Not the broker and the settings of the tests that call this: a notebook has its own.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("REDIS_URL", "DJANGO_SETTINGS_MODULE") and not name.startswith("PYTEST_")
    }
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plain, *words, path],
        cwd=ROOT,
        env=inherited | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | (env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return Run(done.returncode, done.stdout + done.stderr, time.monotonic() - start)


def run_all(paths: Sequence[Path], run_one: Callable[[Path], Run]) -> dict[Path, Run]:
    """Run notebooks, two at a time, the longest (the last) first, and return what came of each."""
    longest_first = list(reversed(paths))
    with ThreadPoolExecutor(LANES) as lanes:
        return dict(zip(longest_first, lanes.map(run_one, longest_first), strict=True))


def tidy(path: Path) -> None:
    """Take out of a notebook what differs between two runs without a reason: times and versions."""
    notebook = nbformat.read(path, 4)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    nbformat.write(notebook, path)
