"""Which version of the course this is."""

import tomllib

from tutorial.course.steps import ROOT


def course_version() -> str:
    """Return the version in pyproject.toml: that of an installed package is as old as `make setup`."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        version: str = tomllib.load(file)["project"]["version"]
    return version
