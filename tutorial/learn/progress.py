"""Check a playground and remember what came of it: what `check` and `watch` share."""

import threading
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
    first: list[str] | None = None,
    cancel: threading.Event | None = None,
) -> Verdict:
    """Check a project, print what comes of it and remember it in the playground.

    Args:
        console: Where to print.
        project: The playground.
        assignment: The step or exercise that judges it.
        everything: Go on after the first requirement that is not met, and show all.
        verbose: Show tracebacks.
        only: An expression as for pytest's `-k`.
        first: Names of the requirements to begin with; else the one that was not met last time.
        cancel: Gives the check up when it is set.

    Raises:
        CannotCheck: Nothing could be judged.
        Cancelled: It was given up.
        OSError: The temporary copy could not be made.
    """
    state = State.read(project)
    if first is None:
        first = [state.stuck] if state.stuck else []
    console.print(Text(f"Checking {project} against {assignment.title} ...", "dim"), soft_wrap=True)
    earlier: set[str] = set()

    def on_state(required: Requirement, met: str) -> None:
        # What earlier steps require is a line for each of them, unless it broke.
        if met == "done" and required.module != assignment.test_file.stem:
            if required.module not in earlier:
                earlier.add(required.module)
        else:
            show_requirement(console, required, met)

    verdict = check(
        project, assignment, first=first, everything=everything, only=only, on_state=on_state, cancel=cancel
    )
    for module in sorted(earlier):
        met = sum(required.module == module for required, its in verdict.states.items() if its == "done")
        total = sum(required.module == module for required in verdict.required)
        name = module.removeprefix("test_")
        text = f"Still met from {name}: {met} of {total}"
        show_requirement(console, Requirement(module, name, text), "done" if met == total else "")
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
        name = (
            assignment.name
            if required.module == assignment.test_file.stem
            else required.module.removeprefix("test_")
        )
        met = set(state.done.get(name, []))
        state.done[name] = sorted(met | {required.name} if its != "not yet" else met - {required.name})
    problem = verdict.problems[0] if verdict.problems else None
    state.stuck = problem.requirement.name if problem and problem.requirement else ""
    state.place = problem.file if problem else ""
    state.write(project)


def next_hint(project: Path, state: State, assignment: Assignment) -> str:
    """Return the next hint for what is not met, and remember that it was given.

    Raises:
        UnknownAssignment: There is nothing to help with.
    """
    if not state.stuck and not state.place:
        raise UnknownAssignment("Nothing is known to be wrong. `tutorial check` says what is not right yet.")
    about = state.stuck or state.place
    known = graded_hints(assignment, state.stuck)
    known = [*known, *last_hints(assignment, state.place)]
    given = state.hints.get(about, 0)
    state.hints[about] = given + 1
    if may_remember(project):
        state.write(project)
    shown = known[min(given, len(known) - 1)]
    return f"Hint {min(given + 1, len(known))} of {len(known)} for {state.place}: {shown}"


def last_hints(assignment: Assignment, place: str) -> list[str]:
    """Return the hints that help with anything: where the lesson says it, and the solution itself."""
    found = [f"The text about {place} stands in {assignment.readme}."]
    if place in assignment.solution:
        name = assignment.name if assignment.exercise else assignment.step.name[4:6].lstrip("0")
        found.append(f"See what differs: tutorial compare {name} --only {place}")
        found.append(f"Take that file from the solution: tutorial solve {name} {place}")
    return found
