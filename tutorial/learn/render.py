"""What the learner's commands print."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as RichProgress
from rich.progress_bar import ProgressBar
from rich.syntax import Syntax
from rich.table import Column, Table
from rich.text import Text

from tutorial.course.assignment import Assignment, Requirement, all_exercises, step_assignment
from tutorial.course.steps import all_steps, number
from tutorial.learn.check import Verdict
from tutorial.learn.playground import State
from tutorial.learn.problem import Problem
from tutorial.learn.sections import plain, sections, why

MARKS = {
    "done": ("✓", "green"),
    "not yet": ("✗", "bold red"),
    "skipped": ("-", "yellow"),
    "kept": ("✓", "dim green"),
    "before": ("·", "dim"),
}
# What was met and not tried now; `before` where nothing can be, and it may hold no longer.
NOTES = {"kept": "not looked at again", "before": "met before"}
RANK = ["done", "kept", "before", "skipped"]  # of the states of what is met, the most remarkable last
BEGINNING = 5  # lines of a missing file that a comparison shows
WIDE = 120  # columns from which two versions of a file fit side by side
CONTEXT = 3  # lines around a difference


def new_console(quiet: bool = False) -> Console:
    """Return a console; its colours go away by themselves where the output is no terminal."""
    return Console(highlight=False, quiet=quiet)


@dataclass(frozen=True)
class Words:
    """What a learner does for help, and to go on to the next step, such as `press n`."""

    help: str
    go_on: str  # empty after the last step


class Progress:
    """A line on a terminal that says how far a check is, and that goes away with it."""

    def __init__(self, console: Console):
        # With a ratio, the text alone gives way.
        rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        columns = (BarColumn(20), MofNCompleteColumn(), TextColumn("{task.description}", table_column=rest))
        shown = console.is_terminal
        self._bar = RichProgress(
            *columns,
            console=console,
            transient=True,
            disable=not shown,
            refresh_per_second=4,
            expand=True,
        )
        self._id = self._bar.add_task("loads the project", total=None)

    def show(self, verdict: Verdict) -> None:
        """Show how many requirements have been judged."""
        waiting = next((each.text for each in verdict.required if each not in verdict.states), "")
        done, total = len(verdict.states), len(verdict.required)
        self._bar.update(self._id, completed=done, total=total, description=waiting)

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._bar.stop()


def show_requirement(console: Console, required: Requirement, state: str, indent: int = 0) -> None:
    """Print one requirement and whether it is met."""
    mark, style = MARKS.get(state, ("·", "dim"))
    text = f"{required.text} ({NOTES[state]})" if state in NOTES else required.text
    row = Table.grid(padding=(0, 1))
    row.add_row(Text(mark, style), Text(text, "" if state in ("done", "not yet") else "dim"))
    console.print(Padding(row, (0, 0, 0, indent)))


def show_sections(
    console: Console, assignment: Assignment, verdict: Verdict, state: State, everything: bool, only: str
) -> None:
    """Print the lesson's sections, and the requirements of those in work; all of them if asked to."""
    met = set(state.done.get(assignment.name, []))
    judged = {required.name: its for required, its in verdict.states.items()}
    chosen = {required.name for required in verdict.required} if only else set()
    parts = {
        title: [required for required in part if not only or required.name in chosen]
        for title, part in sections(assignment).items()
    }
    in_work = next((title for title, part in parts.items() if {each.name for each in part} - met), None)
    failed = [
        title for title, part in parts.items() if any(judged.get(each.name) == "not yet" for each in part)
    ]
    for title, part in parts.items():
        kept = "kept" if verdict.required else "before"
        states = [judged.get(required.name) or (kept if required.name in met else "") for required in part]
        count = sum(its not in ("not yet", "") for its in states)
        if part:
            mark = "not yet" if "not yet" in states else ""
            mark = max(states, key=RANK.index) if count == len(part) else mark
            show_row(console, mark, title or assignment.title.capitalize(), f"{count} of {len(part)}")
        if everything or title in failed or (title == in_work and not failed):
            for required, its in zip(part, states, strict=True):
                show_requirement(console, required, its, indent=2)
    show_earlier(console, assignment, verdict, state)


def show_earlier(console: Console, assignment: Assignment, verdict: Verdict, state: State) -> None:
    """Print what has become of the requirements of earlier steps."""
    earlier = [required for required in verdict.required if required.module != assignment.test_file.stem]
    states = [verdict.states.get(required, "") for required in earlier]
    if not any(states):
        return
    tried, broken = len(earlier) - states.count(""), states.count("not yet")
    left = f", {len(state.left_open)} you left open" if state.left_open else ""
    mark = "not yet" if broken else "done" if tried == len(earlier) else ""
    show_row(
        console, mark, "What earlier steps taught still works", f"{tried - broken} of {len(earlier)}{left}"
    )
    for required, its in zip(earlier, states, strict=True):
        if its == "not yet":
            show_requirement(console, required, its, indent=2)


def show_row(console: Console, state: str, title: str, count: str) -> None:
    """Print a section's line."""
    mark, style = MARKS.get(state, ("·", "dim"))
    note = f", {NOTES[state]}" if state in NOTES else ""
    row = Table.grid(Column(), Column(width=42), Column(), padding=(0, 1))
    row.add_row(Text(mark, style), Text(title, "bold"), Text(count + note, "dim"))
    console.print(row)


def show_verdict(
    console: Console,
    assignment: Assignment,
    verdict: Verdict,
    state: State,
    words: Words,
    everything: bool = False,
    verbose: bool = False,
    only: str = "",
    shown: bool = False,
) -> None:
    """Print what came of a check.

    Args:
        state: What the playground remembers, this check included.
        everything: Show all requirements and all problems, not only what is in work.
        verbose: Show tracebacks.
        only: What the requirements were chosen by.
        shown: Whether the first problem was printed already.
    """
    show_sections(console, assignment, verdict, state, everything, only)
    for note in verdict.notes:
        console.print(Text(f"Note: {note}", "yellow"))
    problems = verdict.problems if everything else verdict.problems[:1]
    for problem in problems[shown:]:
        console.print()
        console.print(problem_text(problem, verbose))
    if len(verdict.problems) > len(problems):
        others = [*dict.fromkeys(problem.file for problem in verdict.problems[1:])]
        rest = f" and {len(others) - 3} other files" if len(others) > 4 else ", ".join(["", *others[3:]])
        console.print(Text(f"\nAnd {len(verdict.problems) - 1} more, in {', '.join(others[:3])}{rest}"))
    console.print()
    console.print(summary(assignment, verdict, state, words, only))


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


def summary(assignment: Assignment, verdict: Verdict, state: State, words: Words, only: str) -> Text:
    """Return the last lines of a check: how far the learner is, and what to do next."""
    took, title = f" ({verdict.seconds:.0f} s)", assignment.title.capitalize()
    met, total = progress(assignment, state)
    if verdict.good and only:
        done = len(verdict.names("done"))
        return Text(f"What you chose of {assignment.title} is done: {done}.{took}", "green")
    if verdict.good:
        lacking = len(verdict.names("skipped"))
        text = Text().append(f"{title} is done: {met} of {total} requirements are met", "green")
        text.append(f", {lacking} need what this machine lacks, such as Chromium" if lacking else "", "green")
        text.append(f".{took}", "green")
        if words.go_on:
            next_one = f"step {number(assignment.step) + 1}"
            keys = words.go_on.startswith("press")
            go_on = f"{words.go_on} for {next_one}." if keys else f"go on to {next_one}: {words.go_on}"
            text.append(f"\nFinish reading, then {go_on}")
        return text
    needed = {required.name for required in plain(assignment)}
    plain_met = len(needed & set(state.done.get(assignment.name, [])))
    if needed:
        counts = f"{plain_met} of {len(needed)} plain, {met - plain_met} of {total - len(needed)} hardened"
    else:
        counts = f"{met} of {total} requirements are met"
    text = Text().append(f"{title}: {counts}.{took}", "bold")
    if not verdict.required:
        text.append("\nThe tests begin when this is settled.")
    if needed and plain_met == len(needed) and verdict.required:
        text.append("\n").append(plain_works(assignment, words))
    return text.append(f"\nMore help: {words.help}")


def plain_works(assignment: Assignment, words: Words) -> Text:
    """Return what to say once the plain version of a step works."""
    step = number(assignment.step)
    go_on = (
        f"You can go on to step {step + 1} ({words.go_on}), or make it hold."
        if words.go_on
        else "Make it hold."
    )
    return Text(f"The plain version of step {step} works. {go_on}", "green")


def why_text(assignment: Assignment, name: str) -> Text:
    """Return why a requirement that is met matters, and where there is more about it."""
    sentence, link = why(assignment, name)
    return Text("Why it matters: ", "green").append(sentence, "default").append(f" {link}", "dim cyan")


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
        console.print("You have no playground yet. Begin with: tutorial start 1")


def show_comparison(console: Console, assignment: Assignment, project: Path, only: str = "") -> int:
    """Print where a learner's files, or only one, differ from the solution's; return in how many they do."""
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
        elif not (mine.is_file() or only):
            shown = "\n".join(right[:BEGINNING])
            console.print(coloured(shown, Syntax.guess_lexer(name)))
            if len(right) > BEGINNING:
                rest = f"… {len(right)} lines. All of it: tutorial compare --only {name}"
                console.print(Text(rest, "dim"), soft_wrap=True)
        elif console.width >= WIDE:
            console.print(side_by_side(left, right, console.width))
        else:
            lines = list(difflib.unified_diff(left, right, "yours", "the solution", lineterm="", n=CONTEXT))
            console.print(coloured("\n".join(lines), "diff"))
    return count


def coloured(text: str, language: str) -> Syntax:
    """Return a text in the terminal's own colours."""
    return Syntax(text, language, theme="ansi_dark", background_color="default", word_wrap=True)


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
            styles = ("dim", "dim") if kind == "equal" else ("red", "green")
            for places in zip_longest(range(i1, i2), range(j1, j2)):
                row = []
                for place, lines, style in zip(places, (left, right), styles, strict=True):
                    row.append(Text("" if place is None else str(place + 1), "dim"))
                    row.append(Text("" if place is None else lines[place], style))
                table.add_row(*row)
    return table
