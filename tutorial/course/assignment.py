"""What a learner has to do: a step or an exercise, its finished files, and its tests' requirements."""

import ast
import difflib
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tutorial.course.compose import additions, compose, read_files
from tutorial.course.files import project_files
from tutorial.course.front_matter import front_matter, minutes
from tutorial.course.steps import ROOT, UnknownStep, all_steps, find_step, number

EXERCISES = ROOT / "exercises"
# Changes to the given files of a lesson, so that the learner types the rest.
BEGINNINGS = Path(__file__).parent / "beginnings"


class UnknownAssignment(ValueError):
    """Raised for a step or exercise that doesn't exist; its text names the nearest ones."""


@dataclass(frozen=True)
class Requirement:
    """One thing that a step or exercise asks for: a test function.

    Attributes:
        module: The name of its test file without `.py`.
        name: The name of the function.
        text: The first line of its docstring.
    """

    module: str
    name: str
    text: str


def requirements(test_file: Path) -> list[Requirement]:
    """Return what a test file requires, in its order."""
    tree = ast.parse(test_file.read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return [
        Requirement(test_file.stem, node.name, (ast.get_docstring(node) or node.name).splitlines()[0])
        for node in functions
        if node.name.startswith("test_")
    ]


@dataclass(frozen=True)
class Assignment:
    """A step, or an exercise on a step.

    Attributes:
        name: The name of its directory.
        step: The directory of the step; for an exercise, of the one it builds on.
        exercise: The directory of the exercise, or None.
    """

    name: str
    step: Path
    exercise: Path | None = None

    @property
    def title(self) -> str:
        """Its name in a sentence, such as `step 3 (routing)`."""
        if self.exercise:
            return f"exercise {self.name}"
        return f"step {number(self.step)} ({self.step.name.partition('_')[2]})"

    @cached_property
    def about(self) -> dict[str, Any]:
        return front_matter(self.readme)

    @property
    def readme(self) -> Path:
        """Its lesson, or the exercise's assignment."""
        return (self.exercise or self.step) / "README.md"

    @cached_property
    def test_file(self) -> Path:
        """Its own tests, without those of earlier steps."""
        if self.exercise:
            return self.exercise / f"test_{self.name}.py"
        return self.step / f"tests/test_{self.name}.py"

    @cached_property
    def requirements(self) -> list[Requirement]:
        """What its own tests require."""
        return requirements(self.test_file)

    def selection(self) -> tuple[list[str], str]:
        """Return the test files that judge it, and an expression for pytest's `-k` to choose among them."""
        if not self.exercise:
            return [f"tests/{path.name}" for path in sorted((self.step / "tests").glob("test_*.py"))], ""
        concerns = self.about.get("concerns") or {}
        chosen = [f"({name} and ({only}))" if only else name for name, only in concerns.items()]
        modules = [self.test_file.stem, *concerns]
        return [f"tests/{name}.py" for name in modules], " or ".join([self.test_file.stem, *chosen])

    @cached_property
    def solution(self) -> dict[str, bytes]:
        """The files of the finished project by their path in it, without lesson and tests."""
        found = compose(self.step, self.exercise / "solution" if self.exercise else None)
        return {
            name: content
            for name, content in found.items()
            if not name.startswith("tests/") and name not in ("README.md", "pytest.ini")
        }

    def tests(self) -> dict[str, Path]:
        """Return the files that tests need, by their path in a project: never the learner's own."""
        names = [name for name in project_files(self.step) if name.startswith("tests/")]
        found = {name: self.step / name for name in ["pytest.ini", *names]}
        if self.exercise:
            found |= {f"tests/{path.name}": path for path in self.exercise.glob("*.py")}
        return found

    @property
    def minutes(self) -> int:
        return minutes(self.about)

    @cached_property
    def _before(self) -> dict[str, bytes]:
        before = self.step if self.exercise else earlier_step(self.step)
        return read_files(before) if before else {}

    @cached_property
    def beginning(self) -> dict[str, bytes]:
        """The files that work on it begins with, by their path in the project."""
        found = self._before | self.given
        return {name: content for name, content in found.items() if name != "README.md"}

    @cached_property
    def given(self) -> dict[str, bytes]:
        """The files that the lesson hands out, so that nobody types them, tests included.

        The lesson names them or their directories. If the learner types a part of such a file, a directory
        in `beginnings/` has the changes to it.
        """
        tests = {name: path.read_bytes() for name, path in self.tests().items()}
        if self.exercise:
            return tests
        named = {
            name: content
            for name, content in read_files(self.step).items()
            if any(name == given or name.startswith(f"{given}/") for given in self.about.get("given", []))
        }
        own = self.step.name
        changed = additions(self._before | named, BEGINNINGS / own, f"beginnings/{own}", own)
        return named | changed | tests

    def must_have(self, name: str) -> None:
        """Raise UnknownAssignment where the finished project has no file of that name."""
        if name not in self.solution:
            near = nearest(name, self.solution)
            raise UnknownAssignment(f"The solution of {self.title} has no file {name!r}. {near}")


def earlier_step(step: Path) -> Path | None:
    """Return the step before a step, or None for the first."""
    return next((other for other in all_steps() if number(other) == number(step) - 1), None)


def step_assignment(name: str) -> Assignment:
    """Return the assignment of a step.

    Raises:
        UnknownStep: There is no such step.
    """
    step = find_step(name)
    return Assignment(step.name, step)


def own_places() -> list[Path]:
    """Return the directories with exercises outside the course, as `TUTORIAL_EXERCISES` names them."""
    return [Path(name) for name in os.environ.get("TUTORIAL_EXERCISES", "").split(os.pathsep) if name]


def all_exercises() -> list[Assignment]:
    """Return the exercises, those on earlier steps and shorter ones first."""
    found = []
    for readme in EXERCISES.glob("*/README.md"):
        about = front_matter(readme)
        found.append(Assignment(readme.parent.name, find_step(about["step"]), readme.parent))
    names = {assignment.name for assignment in found}
    for readme in (readme for place in own_places() for readme in place.glob("*/README.md")):
        # One that is half written is no reason for every command to fail: `exercise lint` names its faults.
        with suppress(Exception):
            step = find_step(front_matter(readme)["step"])
            assignment = Assignment(readme.parent.name, step, readme.parent)
            if assignment.name not in names and assignment.minutes > 0 and assignment.requirements:
                found.append(assignment)
    return sorted(found, key=lambda assignment: (assignment.step.name, assignment.minutes, assignment.name))


def exercise_assignment(name: str) -> Assignment:
    """Return an exercise that a person named.

    Raises:
        UnknownAssignment: There is none with that name.
    """
    exercises = {assignment.name: assignment for assignment in all_exercises()}
    wanted = name.strip().rstrip("/").replace("-", "_")
    if wanted not in exercises:
        raise UnknownAssignment(f"There is no exercise {name!r}. {nearest(wanted, exercises)}")
    return exercises[wanted]


def find_assignment(name: str) -> Assignment:
    """Return the step or exercise that a person named.

    Raises:
        UnknownAssignment: There is neither.
    """
    with suppress(UnknownAssignment):
        return exercise_assignment(name)
    try:
        return step_assignment(name)
    except UnknownStep:
        names = [step.name for step in all_steps()] + [exercise.name for exercise in all_exercises()]
        near = nearest(name.lower(), names + [step.name.partition("_")[2] for step in all_steps()], names)
        raise UnknownAssignment(f"There is no step or exercise {name!r}. {near}") from None


def nearest(name: str, names: Iterable[str], otherwise: Iterable[str] | None = None) -> str:
    """Return a sentence that offers the names most like one, or all (or others) if none is similar."""
    names = list(names)
    near = difflib.get_close_matches(name, names, 2, 0.55)
    return f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(otherwise or names)}."
