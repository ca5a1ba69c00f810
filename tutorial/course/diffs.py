"""What changes from one step to the next, for readers and for `docs/diffs`."""

import tempfile
from pathlib import Path

from tutorial.course.files import copy_project
from tutorial.course.git import git
from tutorial.course.steps import ROOT, all_steps, number

DIFFS = ROOT / "docs/diffs"


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
        for side, step in (("a", steps[number_after - 1]), ("b", steps[number_after])):
            copy_project(step, Path(directory, side), "README.md")  # the lesson is new in every step
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
