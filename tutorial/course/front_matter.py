"""What lessons and exercises say about themselves."""

import re
from pathlib import Path
from typing import Any

import yaml

FRONT_MATTER = re.compile(r"\A---\n(.*?)^---\n", re.DOTALL | re.MULTILINE)


class NoFrontMatter(ValueError):
    """Raised for a README that doesn't say how long it takes; its text names the file."""


def front_matter(readme: Path) -> dict[str, Any]:
    """Return what a lesson or an exercise says about itself between its first two lines of dashes.

    Raises:
        NoFrontMatter: It says nothing.
    """
    found = FRONT_MATTER.match(readme.read_text(encoding="utf-8"))
    if not found:
        raise NoFrontMatter(f"{readme} does not begin with `minutes:` between two lines of dashes.")
    about: dict[str, Any] = yaml.safe_load(found[1])
    return about


def minutes(about: dict[str, Any]) -> int:
    """Return how long it takes: front matter states a number, or one for each section of a lesson."""
    stated: int | dict[str, int] = about["minutes"]
    return sum(stated.values()) if isinstance(stated, dict) else stated
