"""Exercises of your own: a beginning that works, and what is wrong with the one you have written."""

import difflib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from tutorial.course.assignment import EXERCISES, Assignment, UnknownAssignment, all_exercises, own_places
from tutorial.course.compose import DoesNotFit, target_of
from tutorial.course.files import project_files, write_files
from tutorial.course.front_matter import front_matter
from tutorial.course.steps import find_step
from tutorial.learn.check import CannotCheck, check
from tutorial.learn.explain import graded_hints

NAME = re.compile(r"[a-z][a-z0-9_]{1,39}")
HEADINGS = ("What to do", "Why", "At the end", "Hints", "What the solution costs")
SHORTEST, LONGEST = 5, 120  # minutes
FEWEST_HINTS = 2
MOST_REPEATED = 0.1  # of a file's lines

README = """\
---
step: {step}
minutes: 15
---
# {title}

## What to do

Give the settings a `GREETING`, a text of your choice. (Replace this by your task.)

## Why

(One paragraph: what this is good for.)

## At the end

- `settings.GREETING` is a text and isn't empty.

## Hints

<details><summary>Where it goes</summary>

To the end of `config/settings.py`.

</details>

<details><summary>How it looks</summary>

A line such as `GREETING = "hello"`.

</details>

## What the solution costs

(What it is slower at, what it can't do.)
"""
TEST = '''\
"""Exercise: (say in a line what it is about)."""

from django.conf import settings


def test_there_is_a_greeting():
    """The settings have a GREETING, a text that isn't empty."""
    assert getattr(settings, "GREETING", None), "settings.GREETING is missing or empty"
'''
SOLUTION = 'GREETING = "hello"\n'


class CannotMake(ValueError):
    """Raised when an exercise cannot be made; its text says why and what to do."""


def new_exercise(name: str, step: str) -> Path:
    """Make an exercise that works, to be changed; return its directory.

    Args:
        name: What it is called: small letters, digits and underlines.
        step: The step it builds on, as a person names it.

    Raises:
        CannotMake: It has no proper name, or there is one of that name.
        UnknownStep: There is no such step.
        OSError: It cannot be written.
    """
    name, on = name.replace("-", "_"), find_step(step)
    if not NAME.fullmatch(name) or name in ("do", "new", "lint"):
        raise CannotMake(f"{name!r} is no name for an exercise. Use small letters, digits and _: my_exercise")
    directory = next(iter(own_places()), EXERCISES) / name
    if directory.exists() or name in {each.name for each in all_exercises()}:
        raise CannotMake(f"There is an exercise {name} already. Choose another name.")
    title = name.replace("_", " ").capitalize()
    files = {
        "README.md": README.format(step=on.name, title=title),
        f"test_{name}.py": TEST,
        "solution/config/settings.add.py": SOLUTION,
    }
    write_files({path: text.encode() for path, text in files.items()}, directory)
    return directory


def find_directory(name: str) -> Path:
    """Return the directory of an exercise, even of one that is too broken to be found otherwise.

    Raises:
        UnknownAssignment: There is none.
    """
    wanted = name.replace("-", "_")
    for place in (*own_places(), EXERCISES):
        if (place / wanted).is_dir():
            return place / wanted
    places = os.pathsep.join(map(str, (*own_places(), EXERCISES)))
    raise UnknownAssignment(
        f"There is no exercise {name!r} in {places}. To make it: tutorial exercise new {wanted}"
    )


def faults(directory: Path) -> Iterator[str]:
    """Yield what is wrong with an exercise, each in a line that names the file and says what to do.

    Args:
        directory: The exercise.

    Raises:
        CannotCheck: Its tests can't be run at all, for instance because there is no broker.
    """
    name, readme, test = directory.name, directory / "README.md", directory / f"test_{directory.name}.py"
    if missing := [path.name for path in (readme, test, directory / "solution") if not path.exists()]:
        yield f"{', '.join(missing)}: missing. To see what belongs there: tutorial exercise new example"
        return
    try:
        about = front_matter(readme)
        assignment = Assignment(name, find_step(str(about["step"])), directory)
    except (ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        yield f"README.md: it must begin with `step:` and `minutes:` between two lines of dashes ({why})."
        return
    try:
        asked = assignment.requirements
    except (SyntaxError, UnicodeDecodeError) as error:
        yield f"{test.name}: Python can't read it ({error})."
        return
    yield from text_faults(assignment)
    try:
        solution = assignment.solution
    except DoesNotFit as error:
        yield str(error).partition("\n")[0]
        return
    if not asked:
        yield f"{test.name}: it has no test. Write functions whose names begin with test_."
        return
    yield from judged(assignment, {}, solved=False)
    yield from judged(assignment, solution, solved=True)


def text_faults(assignment: Assignment) -> Iterator[str]:
    """Yield what is wrong with an exercise's README, its docstrings and the size of its solution."""
    assert assignment.exercise  # noqa: S101 - for the type checker
    text, minutes = assignment.readme.read_text(encoding="utf-8"), assignment.about.get("minutes")
    if type(minutes) is not int or not SHORTEST <= minutes <= LONGEST:
        yield f"README.md: minutes is {minutes!r}. Write a whole number from {SHORTEST} to {LONGEST}."
    for heading in HEADINGS:
        if f"\n## {heading}\n" not in text:
            yield f"README.md: the section `## {heading}` is missing."
    for required in assignment.requirements:
        if required.text == required.name:
            yield f"test_{assignment.name}.py: {required.name} has no docstring. Write the requirement there."
    if assignment.requirements:
        count = len(graded_hints(assignment, assignment.requirements[0].name))
        if count < FEWEST_HINTS:
            yield f"README.md: it has {count} hints. Write {FEWEST_HINTS} or more, each in <details>."
    for name, path in project_files(assignment.exercise / "solution").items():
        text = path.read_text(encoding="utf-8", errors="replace")
        count = sum(bool(line.strip()) for line in text.splitlines())
        again = 0 if name.endswith(".patch") else repeated(name, text, assignment.step)
        if again > MOST_REPEATED * count:
            yield (
                f"solution/{name}: {again} of {count} lines are the step's. Write a patch, "
                f"{target_of(name)}.patch, or what is added: exercises/README.md says how."
            )


def repeated(name: str, text: str, step: Path) -> int:
    """Return how many lines of a solution's file its step has too, without blank ones."""
    lines = text.splitlines()
    if name.endswith(".patch"):
        return sum(bool(re.match(r"[ -]\s*\S", line)) and not line.startswith("---") for line in lines)
    old = step / target_of(name)
    blocks = difflib.SequenceMatcher(None, old.read_text().splitlines() if old.exists() else [], lines)
    return sum(
        bool(lines[at + i].strip()) for _, at, size in blocks.get_matching_blocks() for i in range(size)
    )


def judged(assignment: Assignment, files: dict[str, bytes], solved: bool) -> Iterator[str]:
    """Yield what is wrong with what the tests say about the bare step, or about the solution."""
    with tempfile.TemporaryDirectory(prefix="lint-", ignore_cleanup_errors=True) as scratch:
        project = Path(scratch) / "project"
        write_files(assignment.beginning | files, project)
        shutil.rmtree(project / "tests", ignore_errors=True)
        if not solved:
            # Files that the solution adds would be missed before any test runs.
            write_files({name: b"" for name in assignment.solution if not (project / name).exists()}, project)
        verdict = check(project, assignment, go_on="all")
    tried = {verdict.states.get(required) for required in assignment.requirements} - {None}
    if solved and not verdict.good:
        wrong = [f"it isn't done: {problem.place}: {problem.what}" for problem in verdict.problems[:1]]
        yield f"With the solution {wrong[0] if wrong else 'nothing was judged.'}"
    elif not solved and tried and "not yet" not in tried:
        yield f"test_{assignment.name}.py: without the solution it passes too, so it asks for nothing."


def lint(names: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the exercises with their faults, and each exercise with an empty text once it is through.

    Args:
        names: The exercises; all that are outside the course if there are none.

    Raises:
        UnknownAssignment: There is none of that name.
        CannotCheck: Nothing can be run here.
    """
    every = (path for place in own_places() for path in sorted(place.glob("[a-z]*/")))
    for directory in [find_directory(name) for name in names] or every:
        try:
            for fault in faults(directory):
                yield directory.name, fault
        except CannotCheck as error:
            yield directory.name, str(error)
        yield directory.name, ""
