"""Facts that pages quote, read from what they are about: `{{ plain_minutes }}` in a page's text."""

import os
import tomllib

from tutorial.course.assignment import all_exercises, step_assignment
from tutorial.course.front_matter import minutes
from tutorial.course.steps import ROOT, all_steps


def facts() -> dict[str, int]:
    """Return the numbers by their names."""
    steps = [step_assignment(step.name) for step in all_steps()]
    return {
        "plain_minutes": sum(step.about["minutes"]["The plain version"] for step in steps),
        "all_minutes": sum(minutes(step.about) for step in steps),
        "requirements": sum(len(step.requirements) for step in steps),
        "exercises": len(all_exercises()),
    }


def repository() -> str:
    """Return the repository's address: REPOSITORY_URL if that is set, else the one in pyproject.toml."""
    about = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return os.environ.get("REPOSITORY_URL") or about["project"]["urls"]["Repository"]


def site_address() -> str:
    """Return where the code host publishes the repository's site, with a slash at the end."""
    owner, name = repository().rstrip("/").split("/")[-2:]
    return f"https://{owner.lower()}.github.io/{name}/"


def add_facts(app, config) -> None:
    """Called when Sphinx has read its configuration."""
    config.myst_substitutions |= facts()
    config.html_theme_options["footer_icons"] = [
        {"name": "Repository", "url": repository(), "html": "Repository", "class": ""}
    ]


def name_repository(app, docname, source) -> None:
    """Called when a page is read: a code block can't have a substitution, so its REPOSITORY is replaced."""
    if docname == "index":
        source[0] = source[0].replace("REPOSITORY", repository())


def setup(app) -> None:
    """Called by Sphinx."""
    app.connect("config-inited", add_facts)
    app.connect("source-read", name_repository)
