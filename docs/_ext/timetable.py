"""The plan of a day, added up from the minutes in lessons and exercises."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import yaml

from tutorial.course.front_matter import front_matter, minutes
from tutorial.course.steps import ROOT

TITLE = re.compile(r"^# (.*)$", re.MULTILINE)


class WrongPlan(ValueError):
    """Raised for the plan of a day that can't be read; its text says what is wrong with it."""


@dataclass(frozen=True)
class Part:
    """A part of a day.

    Attributes:
        title: The activity.
        minutes: How long it takes.
        readme: Where the lesson or exercise is; None for a pause or a talk.
        start: When it begins.
    """

    title: str
    minutes: int
    readme: Path | None
    start: datetime


def day(start: str, plan: str, root: Path = ROOT) -> list[Part]:
    """Return the parts of a day with the time at which each begins; the last is its end, of 0 minutes.

    Args:
        start: When the day begins, such as `9:00`.
        plan: A YAML list. An item is the directory of a lesson or exercise, whose README says how long it
            takes; one of its sections, `step02_consumer: The plain version`; or a text with its own
            minutes: `Pause: 15`.
        root: The directory that holds the lessons and exercises.

    Raises:
        WrongPlan: An item is neither, or the time isn't one.
    """
    try:
        now = datetime.strptime(start, "%H:%M")
    except ValueError:
        raise WrongPlan(f"A day cannot begin at {start!r}. Write it like 9:00.") from None
    parts = []
    for item in yaml.safe_load(plan) or []:
        [(name, what)] = item.items() if isinstance(item, dict) and len(item) == 1 else [(str(item), None)]
        readme = root / name / "README.md"
        if not readme.is_file():
            title, length, readme = name, what, None
        else:
            title, about = TITLE.search(readme.read_text(encoding="utf-8"))[1], front_matter(readme)
            length = minutes(about)
            if what is not None:
                sections = about["minutes"] if isinstance(about["minutes"], dict) else {}
                title, length = f"{title} ({what})", sections.get(what)
        if type(length) is not int:
            raise WrongPlan(f"{item!r} is no lesson, section or exercise, and has no minutes of its own.")
        parts.append(Part(title, length, readme, now))
        now += timedelta(minutes=length)
    return [*parts, Part("End", 0, None, now)]
