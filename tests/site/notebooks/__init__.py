"""Run notebooks, each in a kernel of its own."""

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal

from tutorial.course.steps import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# Notebooks mostly wait for processes, but each starts several.
LANES = 2
CELL_TIMEOUT = 600  # seconds; only a cell that hangs takes this long


@dataclass
class Run:
    """The result of a notebook.

    Attributes:
        cells: Its cells with code, with the outputs of this run.
        error: What ended it, or an empty text.
    """

    cells: list[nbformat.NotebookNode]
    error: str = ""


def code_cells(notebook: nbformat.NotebookNode | Path) -> list[nbformat.NotebookNode]:
    """Return the cells with code of a notebook or its file."""
    notebook = nbformat.read(notebook, 4) if isinstance(notebook, Path) else notebook
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def run(path: Path, env: dict[str, str] | None = None, keep: bool = False) -> Run:
    """Run a notebook from a clean kernel.

    Args:
        path: The notebook.
        env: More variables for its environment.
        keep: Whether the outputs replace those in the file, unless a cell fails.
    """
    notebook = nbformat.read(path, 4)
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    # Without the broker and settings of the calling tests: a notebook has its own.
    ours = ("REDIS_URL", "DJANGO_SETTINGS_MODULE", "PYTEST_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    client = NotebookClient(notebook, timeout=CELL_TIMEOUT, kernel_name="python3", record_timing=False)
    try:
        asyncio.run(client.async_execute(cwd=str(path.parent), env=inherited | (env or {})))
    except (CellControlSignal, RuntimeError) as error:  # a cell failed or took too long; the kernel died
        return Run(code_cells(notebook), str(error) or type(error).__name__)
    if keep:
        # The version of Python differs from machine to machine.
        notebook.metadata = {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
        nbformat.write(notebook, path)
    return Run(code_cells(notebook))


def run_all(paths: Sequence[Path], run_one: Callable[[Path], Run] = run) -> dict[Path, Run]:
    """Run notebooks, two at a time, the longest (the last) first, and return the result of each."""
    longest_first = list(reversed(paths))
    with ThreadPoolExecutor(LANES) as lanes:
        return dict(zip(longest_first, lanes.map(run_one, longest_first), strict=True))
