"""Facts that pages quote, read from what they are about: `{{ plain_minutes }}` in a page's text."""

from tutorial.course.assignment import all_exercises, step_assignment
from tutorial.course.front_matter import minutes
from tutorial.course.steps import all_steps


def facts() -> dict[str, int]:
    """Return the numbers by their names."""
    steps = [step_assignment(step.name) for step in all_steps()]
    return {
        "plain_minutes": sum(step.about["minutes"]["The plain version"] for step in steps),
        "all_minutes": sum(minutes(step.about) for step in steps),
        "requirements": sum(len(step.requirements) for step in steps),
        "exercises": len(all_exercises()),
    }


def add_facts(app, config) -> None:
    """Called when Sphinx has read its configuration."""
    config.myst_substitutions |= facts()


def setup(app) -> None:
    """Called by Sphinx."""
    app.connect("config-inited", add_facts)
