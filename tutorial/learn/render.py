"""What the learner's commands print."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from tutorial.course.assignment import Assignment, Requirement, all_exercises, step_assignment
from tutorial.course.steps import all_steps, number
from tutorial.learn.check import Verdict
from tutorial.learn.explain import Problem
from tutorial.learn.playground import State

MARKS = {"done": ("✓", "green"), "not yet": ("✗", "bold red"), "skipped": ("-", "yellow")}
WIDE = 120  # columns from which two versions of a file stand side by side
CONTEXT = 3  # lines around a difference


def new_console() -> Console:
    """Return a console; its colours go away by themselves where the output is no terminal."""
    return Console(highlight=False)


def show_requirement(console: Console, required: Requirement, state: str) -> None:
    """Print one requirement and whether it is met."""
    mark, style = MARKS.get(state, ("·", "dim"))
    row = Table.grid(padding=(0, 1))
    row.add_row(Text(mark, style), Text(required.text, "dim" if state not in MARKS else ""))
    console.print(row)


def show_verdict(
    console: Console,
    assignment: Assignment,
    verdict: Verdict,
    everything: bool = False,
    verbose: bool = False,
    only: str = "",
) -> None:
    """Print what came of a check, after the requirements that were printed as they were judged.

    Args:
        console: Where to print.
        assignment: What was judged.
        verdict: What came of it.
        everything: Show all problems, not only the first.
        verbose: Show tracebacks.
        only: What the requirements were chosen by.
    """
    waiting = [required for required in verdict.required if required not in verdict.states]
    for required in waiting:
        if required.module == assignment.test_file.stem:
            show_requirement(console, required, "")
    for note in verdict.notes:
        console.print(Text(f"Note: {note}", "yellow"))
    for problem in verdict.problems if everything else verdict.problems[:1]:
        console.print()
        console.print(problem_text(problem, verbose))
    if len(verdict.problems) > 1 and not everything:
        others = ", ".join(problem.place for problem in verdict.problems[1:])
        console.print(Text(f"\nAnd {len(verdict.problems) - 1} more: {others}"))
    console.print()
    console.print(summary(assignment, verdict, len(waiting), only))


def problem_text(problem: Problem, verbose: bool) -> RenderableType:
    """Return a problem as a person should read it: its place first, then what to compare, then a hint."""
    head = Text()
    head.append(problem.place, "bold cyan")
    head.append(f": {problem.what}", "bold")
    rows = Table.grid(padding=(0, 2))
    for label, value in (
        ("expected", problem.expected),
        ("seen", problem.seen),
        ("the server says", problem.server),
        ("hint", problem.hint),
    ):
        if value:
            rows.add_row(Text(label, "dim"), Text(value))
    parts: list[RenderableType] = [head, Padding(rows, (0, 0, 0, 2))]
    if verbose and problem.traceback:
        parts.append(Padding(Text(problem.traceback.strip(), "dim"), (1, 0, 0, 2)))
    return Group(*parts)


def summary(assignment: Assignment, verdict: Verdict, waiting: int, only: str) -> Text:
    """Return the last line of a check."""
    took = f" ({verdict.seconds:.0f} s)"
    skipped = len(verdict.names("skipped"))
    if verdict.good and only:
        return Text(
            f"What you chose of {assignment.title} is done: {len(verdict.names('done'))}.{took}", "green"
        )
    if verdict.good:
        text = Text(
            f"{assignment.title.capitalize()} is done: {len(verdict.names('done'))} requirements are met",
            "green",
        )
        text.append(f", {skipped} need what this machine lacks, such as Chromium" if skipped else "")
        return text.append(f".{took}")
    met = len(verdict.names("done"))
    text = Text(f"{assignment.title.capitalize()}: not yet. ", "bold")
    if verdict.required:
        text.append(f"{met} of {len(verdict.required)} requirements are met")
        text.append(f", {waiting} were not tried yet" if waiting else "")
        return text.append(f".{took} More help: tutorial hint")
    return text.append(f"The tests begin when this is settled.{took}")


def show_progress(console: Console, state: State) -> None:
    """Print a bar over all steps."""
    done, total = 0, 0
    for step in all_steps():
        met, all_of_it = progress(step_assignment(step.name), state)
        done, total = done + met, total + all_of_it
    row = Table.grid(padding=(0, 1))
    row.add_row("The course", ProgressBar(total, done, width=30), f"{done} of {total} requirements")
    console.print(row)


def progress(assignment: Assignment, state: State) -> tuple[int, int]:
    """Return how many of an assignment's requirements are met, and how many it has."""
    names = {required.name for required in assignment.requirements}
    return len(names & set(state.done.get(assignment.name, []))), len(names)


def show_list(console: Console, state: State, directory: Path | None) -> None:
    """Print all steps and exercises, how far each is, and where the learner is."""
    for title, assignments in (
        ("Steps", [step_assignment(step.name) for step in all_steps()]),
        ("Exercises", all_exercises()),
    ):
        table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 1))
        for heading in ("", "", "builds on" if title == "Exercises" else "", "minutes", "done", "", ""):
            table.add_column(heading, justify="right" if heading == "minutes" else "left", header_style="dim")
        for assignment in assignments:
            met, total = progress(assignment, state)
            table.add_row(
                Text("✓" if total and met == total else " ", "green"),
                assignment.name,
                f"step {number(assignment.step)}" if assignment.exercise else "",
                str(assignment.minutes),
                f"{met}/{total}".rjust(5),
                ProgressBar(max(total, 1), met, width=10),
                Text("you are here" if assignment.name == state.assignment else "", "bold cyan"),
            )
        console.print(table)
        console.print()
    if directory:
        console.print(f"Your code: {directory}", soft_wrap=True)
    else:
        console.print("You have no playground yet. Begin with: tutorial start 2")


def show_comparison(console: Console, assignment: Assignment, project: Path, only: str = "") -> int:
    """Print where a learner's files differ from the solution's; return in how many files they do.

    Args:
        console: Where to print.
        assignment: The step or exercise whose solution is meant.
        project: The learner's project.
        only: The path of one file, or an empty text for all.
    """
    count = 0
    for name, content in assignment.solution.items():
        if only and name != only:
            continue
        mine = project / name
        left = mine.read_text(errors="replace").splitlines() if mine.is_file() else []
        right = content.decode().splitlines()
        if left == right and mine.is_file():
            continue
        count += 1
        console.rule(Text(name if mine.is_file() else f"{name} (you do not have it)", "bold"), align="left")
        if not right:
            console.print("It is empty.")
        elif console.width >= WIDE:
            console.print(side_by_side(left, right, console.width))
        else:
            lines = list(difflib.unified_diff(left, right, "yours", "the solution", lineterm="", n=CONTEXT))
            console.print(
                Syntax(
                    "\n".join(lines), "diff", theme="ansi_dark", background_color="default", word_wrap=True
                )
            )
    return count


def side_by_side(left: Sequence[str], right: Sequence[str], width: int) -> Table:
    """Return two versions of a file as a table: yours on the left, the solution on the right."""
    half = (width - 12) // 2
    table = Table.grid(padding=(0, 1))
    for columns in (4, half, 4, half):
        table.add_column(justify="right" if columns == 4 else "left", width=columns, overflow="fold")
    table.add_row("", Text("yours", "dim"), "", Text("the solution", "dim"))
    groups = list(difflib.SequenceMatcher(None, left, right, autojunk=False).get_grouped_opcodes(CONTEXT))
    for index, group in enumerate(groups):
        if index:
            table.add_row("", Text("…", "dim"), "", Text("…", "dim"))
        for kind, i1, i2, j1, j2 in group:
            for offset in range(max(i2 - i1, j2 - j1)):
                i, j = i1 + offset, j1 + offset
                mine = ("", "") if i >= i2 else (str(i + 1), left[i])
                theirs = ("", "") if j >= j2 else (str(j + 1), right[j])
                styles = ("dim", "dim") if kind == "equal" else ("red", "green")
                table.add_row(
                    Text(mine[0], "dim"),
                    Text(mine[1], styles[0]),
                    Text(theirs[0], "dim"),
                    Text(theirs[1], styles[1]),
                )
    return table
