"""Where the steps are and what they are called."""

import difflib
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class UnknownStep(ValueError):
    """Raised for a step that doesn't exist; its text names those that do."""


def all_steps(root: Path = ROOT) -> list[Path]:
    """Return the step directories in the order of the course.

    Args:
        root: The directory that holds them.
    """
    return sorted(path for path in root.glob("step[0-9][0-9]_*") if path.is_dir())


def number(step: Path) -> int:
    """Return the number in a step's name, 3 for `step03_routing`."""
    return int(step.name[4:6])


def find_step(name: str, root: Path = ROOT) -> Path:
    """Return the directory of a step that a person named.

    Args:
        name: A number or a name: `3`, `03`, `step03`, `routing`, `step03_routing` or `step03_routing/`.
        root: The directory that holds the steps.

    Raises:
        UnknownStep: No step, or more than one, has that name.
    """
    steps = all_steps(root)
    wanted = name.strip().rstrip("/").lower()
    digits = re.fullmatch(r"(?:step)?0*(\d+)", wanted)
    for step in steps:
        by_number = digits and int(digits[1]) == number(step)
        if by_number or wanted in (step.name, step.name.partition("_")[2]):
            return step
    names = [step.name for step in steps]
    near = difflib.get_close_matches(wanted, names + [name.partition("_")[2] for name in names], 1, 0.5)
    meant = f" Did you mean {near[0]}?" if near else ""
    raise UnknownStep(f"There is no step {name!r}.{meant} The steps: {', '.join(names)}.")
