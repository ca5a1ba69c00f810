"""Check a playground and remember what came of it: what `check` and `watch` share."""

import re
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tutorial.course.assignment import Assignment, UnknownAssignment
from tutorial.course.steps import number
from tutorial.learn import classroom
from tutorial.learn.check import Cancelled, Verdict, check
from tutorial.learn.explain import graded_hints
from tutorial.learn.playground import State, current_assignment, may_remember, test_id
from tutorial.learn.problem import Problem
from tutorial.learn.render import (
    Progress,
    Words,
    plain_works,
    problem_text,
    show_requirement,
    show_verdict,
    why_text,
)
from tutorial.learn.sections import ahead, plain, why


def judge(
    console: Console,
    project: Path,
    assignment: Assignment,
    words: Words,
    *,
    go_on: str = "",
    verbose: bool = False,
    only: str = "",
    first: Sequence[str] = (),
    on_problem: Callable[[], None] | None = None,
    cancel: threading.Event | None = None,
) -> Verdict:
    """Check a project, print what comes of it and remember it in the playground.

    Args:
        go_on: As for `check`, like all others that are not described here.
        verbose: Show tracebacks.
        first: As for `check`; before it comes what was not met last time.
        on_problem: Called when the first problem is known. It is printed then, before the rest is judged.

    Raises:
        CannotCheck: Nothing could be judged.
        Cancelled: It was given up.
        OSError: The temporary copy could not be made.
    """
    state = State.read(project)
    classroom.tell(state, assignment)
    stuck, later = state.stuck, ahead(assignment, state.done)
    order = [stuck, *first] if stuck in first else [*first, stuck]
    needs_more = 0 < len(plain(assignment)) < len(assignment.requirements)
    # With the time: a save that changes nothing shows the same again.
    begins = f"{datetime.now():%H:%M:%S} Checking {project} against {assignment.title} ..."
    console.print(Text(begins, "dim"), soft_wrap=True)
    with Progress(console) as progress:
        said, reason = set[str](), ""

        def on_change(verdict: Verdict) -> None:
            nonlocal reason
            progress.show(verdict)
            if on_problem and verdict.problems and "problem" not in said:
                said.add("problem")
                console.print(problem_text(verdict.problems[0], verbose))
                console.print()
                on_problem()
            for required, its in verdict.states.items():
                if on_problem and required.name == stuck and its == "done" and stuck not in said:
                    said.add(stuck)
                    show_requirement(console, required, its)
            unknown = [required for required in plain(assignment) if verdict.states.get(required) != "done"]
            if on_problem and needs_more and not unknown and not {"plain", "problem"} & said:
                # Now: to judge the rest may take a minute.
                said.add("plain")
                console.print(plain_works(assignment, words))
            if not reason and (reason := next_reason(assignment, state, verdict, new=True)) and on_problem:
                console.print(why_text(assignment, reason))

        try:
            verdict = check(
                project,
                assignment,
                # What is in work first: the last problem, unless the saved files don't concern it.
                first=[name for name in order if name and name not in later],
                leave_out=state.left_open if assignment.name == state.assignment else (),
                go_on=go_on,
                only=only,
                on_change=on_change,
                cancel=cancel,
            )
        except Cancelled as given_up:
            keep(console, project, state, assignment, given_up.args[0])
            raise
    shown = bool(reason and on_problem)
    # One a check: of several that were met at a time, the others have their turn when nothing new is met.
    if not reason and not verdict.problems:
        reason = next_reason(assignment, state, verdict, new=False)
    keep(console, project, state, assignment, verdict)
    show_verdict(console, assignment, verdict, state, words, go_on == "all", verbose, only, "problem" in said)
    if reason and not shown:
        console.print(why_text(assignment, reason))
    return verdict


def next_reason(assignment: Assignment, state: State, verdict: Verdict, *, new: bool) -> str:
    """Choose a requirement that is met and wasn't explained, note that it is, and return its name or nothing.

    Args:
        assignment: A step or an exercise.
        state: What was met before this check, and what was explained.
        verdict: What this check has shown so far.
        new: Leave out those that were met before.
    """
    before = state.done.get(assignment.name, []) if new else []
    known = {*state.explained.get(assignment.name, []), *before}
    for name in verdict.names("done"):
        if name not in known and why(assignment, name)[0]:
            state.explained.setdefault(assignment.name, []).append(name)
            return name
    return ""


def keep(console: Console, project: Path, state: State, assignment: Assignment, verdict: Verdict) -> None:
    """Write what a check has shown into the playground, and say it where that cannot be done."""
    remember(state, assignment, verdict)
    classroom.tell(state, assignment, verdict)
    if may_remember(project):
        try:
            state.write(project)
        except OSError as error:
            console.print(f"Your progress could not be written to {project}: {error.strerror}.")


def remember(state: State, assignment: Assignment, verdict: Verdict) -> None:
    """Note what a check has shown. What was met before and was not tried now stays met."""
    for required, its in verdict.states.items():
        own = required.module == assignment.test_file.stem
        name = assignment.name if own else required.module.removeprefix("test_")
        met = set(state.done.get(name, []))
        state.done[name] = sorted(met | {required.name} if its != "not yet" else met - {required.name})
        if its != "not yet":
            state.left_open = [test for test in state.left_open if test != test_id(required)]
    if state.assignment and is_earlier(assignment, state.assignment):
        return  # a look back; the learner stays where they are
    state.assignment = assignment.name
    problem = verdict.problems[0] if verdict.problems else None
    if problem or verdict.good:
        state.stuck = problem.requirement.name if problem and problem.requirement else ""
        state.place = problem.file if problem else ""
        state.mistake, state.hint = (mistake(problem), problem.hint) if problem else ("", "")


def is_earlier(assignment: Assignment, name: str) -> bool:
    """Tell whether an assignment is a step before the step of that name."""
    now, _ = current_assignment(Path(), name)
    return not assignment.exercise and not now.exercise and number(assignment.step) < number(now.step)


def mistake(problem: Problem) -> str:
    """Return what went wrong, without what differs from run to run."""
    said = problem.server or problem.seen or problem.what
    return re.sub(r"\b\w*\d\w*\b", "#", said.partition("\n")[0])[:100]


def next_hint(project: Path, assignment: Assignment) -> str:
    """Return the next hint for what is not met, and remember that it was given.

    Raises:
        UnknownAssignment: There is nothing to help with.
    """
    state = State.read(project)
    place = state.place
    about = f"{state.stuck or place}: {state.mistake}"
    if not place:
        raise UnknownAssignment("No problem is known. Check everything: tutorial check --all")
    graded = [text for text in graded_hints(assignment, state.stuck) if text != state.hint]
    known = [*graded, f"The text about {place} is in {assignment.readme}."]
    if place in assignment.solution:
        name = assignment.name if assignment.exercise else str(number(assignment.step))
        known.append(f"See what differs: tutorial compare {name} --only {place}")
        known.append(f"Take that file from the solution: tutorial solve {name} {place}")
    given = min(state.hints.get(about, 0), len(known) - 1)
    state.hints[about] = given + 1
    if may_remember(project):
        state.write(project)
    classroom.tell(state, assignment)
    return f"Hint {given + 1} of {len(known)} for {place}: {known[given]}"
