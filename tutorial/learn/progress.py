"""Check a playground and remember what came of it: what `check` and `watch` share."""

import threading
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tutorial.course.assignment import Assignment, Requirement, UnknownAssignment
from tutorial.learn.check import Verdict, check
from tutorial.learn.explain import graded_hints
from tutorial.learn.playground import State, may_remember
from tutorial.learn.render import show_requirement, show_verdict


def judge(
    console: Console,
    project: Path,
    assignment: Assignment,
    *,
    everything: bool = False,
    verbose: bool = False,
    only: str = "",
    first: Iterable[str] = (),
    cancel: threading.Event | None = None,
) -> Verdict:
    """Check a project, print what comes of it and remember it in the playground.

    Args:
        console: Where to print.
        verbose: Show tracebacks.
        first: As for `check`, like all others; before it comes what was not met last time.

    Raises:
        CannotCheck: Nothing could be judged.
        Cancelled: It was given up.
        OSError: The temporary copy could not be made.
    """
    state = State.read(project)
    console.print(Text(f"Checking {project} against {assignment.title} ...", "dim"), soft_wrap=True)
    own = assignment.test_file.stem

    def on_state(required: Requirement, met: str) -> None:
        # What earlier steps require is a line for each of them, unless it broke.
        if required.module == own or met != "done":
            show_requirement(console, required, met)

    verdict = check(
        project,
        assignment,
        first=list(filter(None, [state.stuck, *first])),
        everything=everything,
        only=only,
        on_state=on_state,
        cancel=cancel,
    )
    met = [required.module for required, its in verdict.states.items() if its == "done"]
    for module in sorted({*met} - {own}):
        total = sum(required.module == module for required in verdict.required)
        name = module.removeprefix("test_")
        text = f"Still met from {name}: {met.count(module)} of {total}"
        show_requirement(
            console, Requirement(module, name, text), "done" if met.count(module) == total else ""
        )
    show_verdict(console, assignment, verdict, everything, verbose, only)
    if may_remember(project):
        try:
            remember(project, state, assignment, verdict)
        except OSError as error:
            console.print(f"Your progress could not be written to {project}: {error.strerror}.")
    return verdict


def remember(project: Path, state: State, assignment: Assignment, verdict: Verdict) -> None:
    """Write what a check has shown into the playground."""
    state.assignment = assignment.name
    for required, its in verdict.states.items():
        own = required.module == assignment.test_file.stem
        name = assignment.name if own else required.module.removeprefix("test_")
        met = set(state.done.get(name, []))
        state.done[name] = sorted(met | {required.name} if its != "not yet" else met - {required.name})
    problem = verdict.problems[0] if verdict.problems else None
    state.stuck = problem.requirement.name if problem and problem.requirement else ""
    state.place = problem.file if problem else ""
    state.write(project)


def next_hint(project: Path, assignment: Assignment) -> str:
    """Return the next hint for what is not met, and remember that it was given.

    Raises:
        UnknownAssignment: There is nothing to help with.
    """
    state = State.read(project)
    about, place = state.stuck or state.place, state.place
    if not about:
        raise UnknownAssignment("No failed check yet. `tutorial check` says what is not right yet.")
    known = [*graded_hints(assignment, state.stuck), f"The text about {place} is in {assignment.readme}."]
    if place in assignment.solution:
        name = assignment.name if assignment.exercise else assignment.step.name[4:6].lstrip("0")
        known.append(f"See what differs: tutorial compare {name} --only {place}")
        known.append(f"Take that file from the solution: tutorial solve {name} {place}")
    given = min(state.hints.get(about, 0), len(known) - 1)
    state.hints[about] = given + 1
    if may_remember(project):
        state.write(project)
    return f"Hint {given + 1} of {len(known)} for {place}: {known[given]}"
