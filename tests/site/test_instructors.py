"""The instructor's guide: its plans add up, and everything it names exists."""

import re

import pytest
from timetable import WrongPlan, day

from tutorial.course.front_matter import NoFrontMatter, front_matter
from tutorial.course.steps import ROOT, all_steps

PAGE = ROOT / "docs/instructors.md"
PLAN = re.compile(r"^```\{plan\} (\S+)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
PLANS = PLAN.findall(PAGE.read_text())
FIELDS = ["The point", "The question", "Where people get stuck", "Show"]


def times(parts):
    """Return when the parts of a day begin, and what they are."""
    return [(f"{part.start:%H:%M}", part.title) for part in parts]


def lesson(directory, minutes):
    """Write a lesson that takes some minutes."""
    directory.mkdir(parents=True)
    (directory / "README.md").write_text(f"---\nminutes: {minutes}\n---\n\n# {directory.name}\n")


def test_a_day_is_summed_up_from_its_parts(tmp_path):
    """Each part begins when the ones before it are over, and the day ends after the last."""
    lesson(tmp_path / "step", 50)
    lesson(tmp_path / "exercises/one", 25)
    parts = day("9:30", "- step\n- Pause: 15\n- exercises/one", tmp_path)
    assert times(parts) == [("09:30", "step"), ("10:20", "Pause"), ("10:35", "one"), ("11:00", "End")]
    assert [bool(part.readme) for part in parts] == [True, False, True, False]


def test_a_lesson_that_takes_longer_moves_what_follows(tmp_path):
    """The minutes are in one place, at the top of the lesson."""
    lesson(tmp_path / "step", 60)
    assert times(day("23:30", "- step", tmp_path))[-1] == ("00:30", "End")


def test_a_plan_may_take_one_section_of_a_lesson(tmp_path):
    """The item names the section; the lesson counts with its minutes alone."""
    lesson(tmp_path / "step", "{The plain version: 15, Then it breaks: 20}")
    parts = day("9:00", "- step: The plain version\n- step", tmp_path)
    assert times(parts) == [("09:00", "step (The plain version)"), ("09:15", "step"), ("09:50", "End")]
    with pytest.raises(WrongPlan, match="another"):
        day("9:00", "- step: another", tmp_path)


@pytest.mark.parametrize("item", ["stpe01", "Pause: long", "Pause: true", "{a: 1, b: 2}", "7"])
def test_an_item_that_makes_no_sense_is_named(item):
    """An item that isn't a lesson and has no minutes is refused, with its text."""
    with pytest.raises(WrongPlan, match=re.escape(item.partition(":")[0].strip("{"))):
        day("9:00", f"- {item}")


def test_a_start_that_is_no_time_is_named():
    """So is a time of day that doesn't exist."""
    with pytest.raises(WrongPlan, match="25:00"):
        day("25:00", "- Pause: 1")


def test_a_lesson_without_minutes_is_named(tmp_path):
    """A README without front matter says so."""
    (tmp_path / "README.md").write_text("# A lesson\n")
    with pytest.raises(NoFrontMatter, match="minutes"):
        front_matter(tmp_path / "README.md")


@pytest.mark.parametrize(("plan", "hours"), [(0, 4), (1, 8)], ids=["half a day", "a day"])
def test_a_plan_has_every_step_and_is_not_too_long(plan, hours):
    """Half a day is at most 4 hours, a day at most 8, and both have the five steps in their order."""
    parts = day(*PLANS[plan])
    read = dict.fromkeys(part.readme.parent for part in parts if part.readme)
    assert [directory for directory in read if directory in all_steps()] == all_steps()
    assert (parts[-1].start - parts[0].start).total_seconds() <= hours * 3600


def test_no_time_is_typed():
    """Only the plans of the guide have times of day and minutes."""
    rest = PLAN.sub("", PAGE.read_text())
    assert re.findall(r"\b\d+ min|\b\d\d?:\d\d\b", rest) == []


@pytest.mark.parametrize("step", all_steps(), ids=lambda step: step.name)
def test_the_guide_says_of_each_step_what_to_do(step):
    """The point to make, the question to ask, where people get stuck, and what to show."""
    title = re.search(r"^# (.*)$", (step / "README.md").read_text(), re.MULTILINE)[1]
    part = re.search(rf"^### {title}\n(.*?)(?=^#|^\()", PAGE.read_text(), re.MULTILINE | re.DOTALL)[1]
    assert re.findall(r"^- \*\*(.*?):\*\*", part, re.MULTILINE) == FIELDS
    stuck = part[part.index(FIELDS[2]) : part.index(FIELDS[3])]
    anchors = re.findall(r"\(symptoms\.md#(\w+)\)", stuck)
    assert anchors
    symptoms = (ROOT / "docs/symptoms.md").read_text()
    assert all(f"\n({anchor})=\n" in symptoms for anchor in anchors)


def test_the_packages_to_carry_are_those_of_the_makefile():
    """Without a network you need the exact version of uv that the Makefile names."""
    version = re.search(r"^UV := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    assert set(re.findall(r"\buv==\S+", PAGE.read_text())) == {version}
