"""The closing report of a session, which the instructor asks for."""

from collections import Counter
from math import ceil
from typing import Any

from tutorial.board.room import Room, clock

SLOT = 300  # seconds: a column of the timeline, or a multiple of it
COLUMNS = 12  # there are so many at most, or one more


def closing_report(room: Room) -> str:
    """Return what the board has seen, as Markdown."""
    view = room.view(nameless=False)
    people = sorted(view["people"], key=lambda person: person["number"])
    for person in people:
        person["nickname"] = person["nickname"] or f"person {person['number']}"
        person["met"] = f"{person['met']} of {person['of']}" if person["of"] else ""
    for part in view["sections"]:
        part["section"] = ": ".join(filter(None, (part["assignment"], part["section"])))
    for crowd in view["places"]:
        crowd["text"] = f"{crowd['assignment']}: {crowd['text']}"
    began = min((when for when, _ in room.events), default=room.clock())
    lines = ["# The session", "", f"From {clock(began)} to {clock(room.clock())}, {len(people)} people.", ""]
    lines += ["## Where everybody is", ""]
    rows = cells(people, "nickname", "assignment", "met", "hints", "at", "hand")
    lines += table("who | at | met | hints | in work | hand", rows)
    lines += ["## Timeline", "", "A dot is a requirement, at the time when it was first met.", ""]
    lines += timeline(room, [person["nickname"] for person in people])
    lines += ["## Minutes, planned and real", "", "Real: the median of those who have left the section.", ""]
    rows = cells(view["sections"], "section", "planned", "median", "people")
    lines += table("section | planned | real | people", rows)
    lines += ["## Where people were at the end", ""]
    lines += table("requirement | people | for long", cells(view["places"], "text", "count", "stuck"))
    lines += ["## What happened", "", *(f"- {clock(when)} {escaped(what)}" for when, what in room.events)]
    return "\n".join(lines) + "\n"


def timeline(room: Room, names: list[str]) -> list[str]:
    """Return a table with a row for each person, in the order in which they came."""
    people = room.people.values()
    times = [when for person in people for when in person.reached.values()] or [room.clock()]
    width = SLOT * max(1, ceil((max(times) - min(times)) / SLOT / COLUMNS))
    slots = range(int(min(times) // width), int(max(times) // width) + 1)
    met = [Counter(when // width for when in person.reached.values()) for person in people]
    rows = [[name, *("●" * its[slot] for slot in slots)] for name, its in zip(names, met, strict=True)]
    return table(" | ".join(["who", *(clock(slot * width) for slot in slots)]), rows)


def cells(found: list[dict[str, Any]], *names: str) -> list[list[Any]]:
    """Return the rows of a table from what a page shows."""
    return [[each[name] for name in names] for each in found]


def table(head: str, rows: list[list[Any]]) -> list[str]:
    """Return the lines of a table, and an empty one."""
    rule = " | ".join("---" for _ in head.split("|"))
    lines = (" | ".join(escaped(str(cell)) for cell in row) for row in rows)
    return [*(f"| {line} |" for line in (head, rule, *lines)), ""]


def escaped(text: str) -> str:
    """Return a text that Markdown shows as it is: nicknames and hands come from anybody."""
    return "".join(f"\\{each}" if each in "\\`*_[]<>|#!~" else each for each in text)
