"""What a learner runs: a playground, its checks, and help on the way."""

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tutorial.cli.answers import fail, need_tests

if TYPE_CHECKING:
    from tutorial.course.assignment import Assignment

PLAYGROUND = "Your directory; by default the one you are in, else playground/ beside the steps."
Name = Annotated[
    str | None,
    typer.Argument(metavar="N", help="A step (3, routing) or an exercise; by default the one you are at."),
]
Directory = Annotated[Path | None, typer.Argument(metavar="DIR", help=PLAYGROUND)]
NewDirectory = Annotated[
    Path | None, typer.Argument(metavar="DIR", help="Where to make it; by default playground/.")
]


def start(
    name: Annotated[str, typer.Argument(metavar="N", help="The step to begin: 3, step03 or routing.")],
    directory: NewDirectory = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Go on with your own code; only add what the lesson gives.")
    ] = False,
) -> None:
    """Create a playground in which you build step N.

    It begins with the finished step before N and with what lesson N gives.

    DIR becomes a git repository of its own, so `git diff` there shows what you wrote. If DIR exists, a copy
    of it is kept as DIR with the date and time in its name. A server that runs in DIR goes on.
    """
    from tutorial.course.assignment import step_assignment
    from tutorial.learn import playground

    assignment = step_assignment(name)
    if not keep:
        return set_up(assignment, directory)
    for file in playground.go_on(assignment, playground.find_playground(directory)):
        typer.echo(f"Kept as you wrote it: {file}. The lesson has a new version: tutorial compare")
    say_what_next(assignment, directory)


def set_up(assignment: "Assignment", directory: Path | None) -> None:
    """Make a playground and say what was made, and where an earlier one now is."""
    from tutorial.learn import classroom, playground

    target = directory or playground.DEFAULT
    aside = playground.start(assignment, target)
    if aside:
        typer.echo(f"A copy of what was in {target} is in {aside}.")
    typer.echo(f"{target} is ready for {assignment.title}, about {assignment.minutes} minutes.")
    classroom.tell(playground.State.read(target), assignment)
    if not (target / ".git").exists():
        typer.echo("git isn't installed, so no git repository was created.")
    say_what_next(assignment, directory)


def say_what_next(assignment: "Assignment", directory: Path | None) -> None:
    """Say where an assignment is described, and what checks it."""
    typer.echo(f"The {'exercise' if assignment.exercise else 'lesson'}: {assignment.readme}")
    typer.echo(f"Check as you type: tutorial watch{f' {directory}' if directory else ''}")


def find(directory: Path | None, name: str | None, quiet: bool = False) -> tuple[Path, "Assignment"]:
    """Return the project and the assignment that a command is about; say it where the latter is a guess."""
    from tutorial.learn.playground import current_assignment, find_playground

    project = find_playground(directory)
    assignment, guessed = current_assignment(project, name)
    if guessed:
        typer.echo(guessed, err=quiet)
    return project, assignment


def check(
    name: Name = None,
    directory: Directory = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Go on after the first requirement that is not met, and show all.")
    ] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show the full traceback too.")] = False,
    only: Annotated[
        str, typer.Option("-k", metavar="WORDS", help="Only requirements whose test's name has these words.")
    ] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object about all requirements, for another program.")
    ] = False,
) -> None:
    """Check your code against the tests of a step.

    It says what is done, and where to look for the first thing that is not.

    Missing files, syntax and imports are looked at before any test runs. Then come the tests: what was
    not met last time first, then the lesson's sections in their order. They run on a copy of DIR with the
    course's own tests: only your progress file in DIR changes.

    Exit status: 0 done, 1 not yet, 2 could not check.
    """
    need_tests()
    from tutorial.learn.marks import as_json as verdict_json
    from tutorial.learn.progress import judge
    from tutorial.learn.render import new_console
    from tutorial.learn.watch import words_for

    project, assignment = find(directory, name, quiet=as_json)
    words, go_on = words_for(assignment, project), "all" if everything or as_json else ""
    console = new_console(quiet=as_json)
    verdict = judge(console, project, assignment, words, go_on=go_on, verbose=verbose, only=only)
    if as_json:
        typer.echo(json.dumps(verdict_json(assignment, verdict), ensure_ascii=False))
    if not verdict.good:
        raise typer.Exit(1)


def watch(directory: Directory = None) -> None:
    """Check whenever you save a file.

    What was not met and what the saved file concerns is checked first, then the rest. Progress is kept in
    DIR, so you can stop and come back.

    On a terminal, single keys give a hint, check everything, go on to the next step or quit. The next step
    begins with your code as it is. Your project is never changed without your asking.
    """
    need_tests()
    from tutorial.learn.render import new_console
    from tutorial.learn.watch import watch as watch_playground

    with contextlib.suppress(KeyboardInterrupt):
        watch_playground(new_console(), *find(directory, None))


def hint(name: Name = None, directory: Directory = None) -> None:
    """Give a hint for the first problem. Each call says more."""
    from tutorial.learn.progress import next_hint

    typer.echo(next_hint(*find(directory, name)))


def compare(
    name: Name = None,
    directory: Directory = None,
    only: Annotated[str, typer.Option("--only", metavar="FILE", help="Only this file.")] = "",
) -> None:
    """Show where your files differ from the solution's.

    They are side by side if the terminal has 120 columns or more.

    Exit status: 0 where they are the same, 1 where not.
    """
    from tutorial.learn.render import new_console, show_comparison

    project, assignment = find(directory, name)
    if only:
        assignment.must_have(only)
    count = show_comparison(new_console(), assignment, project, only)
    typer.echo(f"{count} files differ." if count != 1 else "1 file differs.")
    if count:
        raise typer.Exit(1)


def solve(
    name: Annotated[str, typer.Argument(metavar="N", help="A step or an exercise.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file by its path in the project.")],
    directory: Annotated[Path | None, typer.Option("--dir", metavar="DIR", help=PLAYGROUND)] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Take one file from the solution, after asking.

    Yours is kept beside it, with the date in its name.
    """
    from tutorial.course.assignment import find_assignment
    from tutorial.learn.playground import find_playground, refuse_course, take

    assignment = find_assignment(name)
    project = find_playground(directory)
    refuse_course(project)
    assignment.must_have(file)
    question = "Replace your" if (project / file).exists() else "Take"
    if not yes and not typer.confirm(f"{question} {file} by the solution's?"):
        raise typer.Exit(1)
    aside = take(assignment, file, project)
    typer.echo(f"{file} is now the solution's." + (f" Yours is kept as {aside.name}." if aside else ""))


def catchup(
    requirement: Annotated[
        str,
        typer.Argument(
            metavar="REQUIREMENT",
            help="A requirement, as check shows it, or a section's title; else the section in work.",
        ),
    ] = "",
    directory: Annotated[Path | None, typer.Option("--dir", metavar="DIR", help=PLAYGROUND)] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Bring your playground to the beginning of a section.

    For a requirement, it is the section that it's in. You get the files as the lesson has them there. Your
    own are kept beside them, with the date in their names, and files that the lesson doesn't know stay as
    they are.
    """
    from tutorial.learn import classroom
    from tutorial.learn.playground import State, refuse_course
    from tutorial.learn.sections import in_work
    from tutorial.learn.typed import catch_up, find_section

    project, assignment = find(directory, None)
    refuse_course(project)
    if assignment.exercise:
        raise fail(f"{assignment.title.capitalize()} has no sections. Begin again: tutorial exercise NAME", 2)
    state = State.read(project)
    title, asked = in_work(assignment, state.done, state.stuck), ""
    if requirement:
        title, asked = find_section(assignment, requirement)
    if not title:
        raise fail(f"You have met all of {assignment.title}. Name a section to go back to it.", 2)
    place = f"just before “{title}”" + (f", where “{asked}” is" if asked else "")
    if not yes and not typer.confirm(f"Bring {project} to {place}?"):
        raise typer.Exit(1)
    changed = catch_up(assignment, project, title)
    for name, kept in changed:
        typer.echo(f"{name}: the lesson's." + (f" Yours is kept as {kept}." if kept else ""))
    classroom.tell(state, assignment)
    if not changed:
        typer.echo("Nothing to change: your files are the lesson's.")
    typer.echo(f"You are {place}. Read on there: {assignment.readme}")


def list_assignments(directory: Directory = None) -> None:
    """List steps and exercises, and how far you are."""
    from tutorial.learn.playground import State, WrongUse, find_playground
    from tutorial.learn.render import new_console, show_list

    project = None
    with contextlib.suppress(*() if directory else (WrongUse,)):
        project = find_playground(directory)
    show_list(new_console(), State.read(project) if project else State(), project)
