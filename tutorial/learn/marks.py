"""What a check has shown, for another program: `tutorial check --json` and `tutorial report`."""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from tutorial.course.assignment import Assignment, UnknownAssignment, find_assignment
from tutorial.course.files import project_files
from tutorial.course.steps import all_steps, number
from tutorial.course.version import course_version
from tutorial.learn.check import CannotCheck, Verdict, check
from tutorial.learn.playground import STATE, State, WrongUse, current_assignment, find_playground
from tutorial.learn.problem import Problem
from tutorial.learn.sections import sections

# Of what `check --json` prints. A field more is no new version; one that is gone or means something else is.
VERSION = 1
MET = ("done", "skipped")  # states that count as met
AT_ONCE = 2  # playgrounds that are judged side by side: most of a check's time is waiting


def as_json(assignment: Assignment, verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as docs/check.schema.json describes it."""
    titles = {required: title for title, part in sections(assignment).items() for required in part}
    listed = list(dict.fromkeys([*assignment.requirements, *verdict.required]))
    first = {problem.requirement: problem for problem in reversed(verdict.problems)}
    return {
        "version": VERSION,
        "course": course_version(),
        "assignment": assignment.name,
        "done": verdict.good,
        "met": sum(its in MET for its in verdict.states.values()),
        "of": len(listed),
        "seconds": round(verdict.seconds, 1),
        "requirements": [
            {
                "name": required.name,
                "text": required.text,
                "assignment": required.module.removeprefix("test_"),
                "section": titles.get(required, ""),
                "state": verdict.states.get(required, "not judged"),
                "seconds": round(verdict.took[required], 2) if required in verdict.took else None,
                "problem": described(first.get(required)),
            }
            for required in listed
        ],
        # What keeps the project from being judged at all belongs to no requirement.
        "problems": [described(problem) for problem in verdict.problems if not problem.requirement],
        "notes": verdict.notes,
    }


def described(problem: Problem | None) -> dict[str, Any] | None:
    """Return what a program may want to know about a problem."""
    if problem is None:
        return None
    return {"what": problem.what, "file": problem.file, "line": problem.line or None}


@dataclass
class Mark:
    """What came of one playground.

    Attributes:
        name: What its owner's directory is called.
        assignment: The step or exercise that it was judged by.
        met: For each step and exercise judged, how many requirements are met.
        of: The same, how many there are.
        changed: When a file in it was last written, to the minute.
        course: The version of the course that it was begun with, or an empty text.
        note: Why it couldn't be judged, or its first problem.
    """

    name: str
    assignment: str = ""
    met: dict[str, int] = field(default_factory=dict)
    of: dict[str, int] = field(default_factory=dict)
    changed: str = ""
    course: str = ""
    note: str = ""


def mark(directory: Path, assignment: Assignment | None = None) -> Mark:
    """Judge a playground by all of its requirements.

    Args:
        directory: The playground, or a repository that has one in `playground/`.
        assignment: The step or exercise to judge it by; else the one that it is at.
    """
    found = Mark(directory.resolve().name)
    try:
        inner = directory / "playground"
        project = find_playground(inner if inner.is_dir() else directory)
        files = {path: file.stat().st_mtime for path, file in project_files(project).items() if path != STATE}
        found.changed = f"{datetime.fromtimestamp(max(files.values())):%Y-%m-%d %H:%M}" if files else ""
        found.course = State.read(project).course
        assignment = assignment or current_assignment(project, None)[0]
        found.assignment = assignment.name
        verdict = check(project, assignment, go_on="all")
    except (CannotCheck, WrongUse, UnknownAssignment, OSError) as error:
        found.note = " ".join(str(error).split())
        return found
    judged = as_json(assignment, verdict)["requirements"]
    met = Counter(each["assignment"] for each in judged if each["state"] in MET)
    found.of = dict(Counter(each["assignment"] for each in judged))
    found.met = {each: met[each] for each in found.of}
    if verdict.problems:
        found.note = f"{verdict.problems[0].place}: {verdict.problems[0].what}"
    return found


def mark_all(
    directories: Sequence[Path], name: str | None = None, on_mark: Callable[[Mark], None] = lambda mark: None
) -> list[Mark]:
    """Judge many playgrounds; return their marks in the same order.

    Args:
        directories: The playgrounds.
        name: The step or exercise to judge all by; else each by the one that it is at.
        on_mark: Called with each mark as it is known, in order.

    Raises:
        UnknownAssignment: There is no step or exercise of that name.
    """
    marks, assignment = [], find_assignment(name) if name else None
    with ThreadPoolExecutor(AT_ONCE) as lanes:
        for found in lanes.map(lambda directory: mark(directory, assignment), directories):
            marks.append(found)
            on_mark(found)
    return marks


def columns(marks: Sequence[Mark]) -> list[str]:
    """Return the steps and exercises that any playground was judged by, the steps first."""
    steps = {step.name for step in all_steps()}
    return sorted({name for mark in marks for name in mark.of}, key=lambda name: (name not in steps, name))


def table(marks: Sequence[Mark]) -> Table:
    """Return the table for a person, without the notes."""
    found = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    found.add_column("name", overflow="fold")
    found.add_column("at", overflow="fold")
    short = {step.name: f"step {number(step)}" for step in all_steps()}
    for name in columns(marks):
        found.add_column(short.get(name, name), justify="right")
    for title in ("last change", "course"):
        found.add_column(title)
    for each in marks:
        counts = [
            f"{each.met[name]} of {each.of[name]}" if name in each.of else "" for name in columns(marks)
        ]
        found.add_row(each.name, each.assignment, *counts, each.changed, each.course)
    return found


def as_csv(marks: Sequence[Mark]) -> str:
    """Return the marks as CSV: a line for each playground, two columns for each step or exercise."""
    text = io.StringIO()
    names = columns(marks)
    counts = [f"{name} {what}" for name in names for what in ("met", "of")]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "assignment", *counts, "changed", "course", "note"])
    for each in marks:
        numbers = [part.get(name, "") for name in names for part in (each.met, each.of)]
        row = [each.name, each.assignment, *numbers, each.changed, each.course, each.note]
        writer.writerow([harmless(cell) for cell in row])
    return text.getvalue()


def harmless(cell: object) -> object:
    """Return a cell that no spreadsheet takes for a formula: the texts come from learners."""
    return f"'{cell}" if str(cell).startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def report_json(marks: Sequence[Mark]) -> str:
    """Return the marks as one JSON object."""
    return json.dumps(
        {"version": VERSION, "course": course_version(), "playgrounds": [asdict(each) for each in marks]},
        ensure_ascii=False,
    )
