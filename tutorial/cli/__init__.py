"""The `tutorial` command."""

import contextlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tutorial.course.steps import UnknownStep, find_step, number
from tutorial.services.broker import NoBroker
from tutorial.services.doctor import doctor

if TYPE_CHECKING:
    from tutorial.course.assignment import Assignment

app = typer.Typer(
    help="Learn, run, test and compare the steps of the course. To learn: start, watch, hint, compare.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

STEP = typer.Argument(metavar="[STEP]", help="A step: 3, step03 or routing.")


def fail(reason: object, code: int = 1) -> typer.Exit:
    """Print a reason to standard error and return the exit to raise."""
    typer.echo(str(reason), err=True)
    return typer.Exit(code)


def step_or_exit(name: str) -> Path:
    """Return a step's directory, or end with code 2 and the names of the steps."""
    try:
        return find_step(name)
    except UnknownStep as error:
        raise fail(error, 2) from None


@app.command()
def run(
    step: Annotated[str, STEP] = "5",
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 for a whole classroom.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 8000,
) -> None:
    """Run a step, by default the finished app, with its broker, server and worker, until Ctrl-C."""
    from tutorial.services.run import CannotRun, run_step

    directory = step_or_exit(step)
    try:
        raise typer.Exit(run_step(directory, host, port))
    except (CannotRun, NoBroker) as error:
        raise fail(error) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@app.command()
def broker() -> None:
    """Run only the embedded broker, for a server and a worker that you start by hand."""
    from tutorial.services.run import CannotRun, run_broker

    try:
        run_broker()
    except (CannotRun, NoBroker) as error:
        raise fail(error) from None
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def test(
    context: typer.Context,
    step: Annotated[str | None, STEP] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what takes minutes.")] = False,
) -> None:
    """Test one step or, without a name, all of them and the course. What follows `--` is for pytest."""
    try:
        from tutorial.testing.suites import all_suites, one_suite, run_suites
    except ImportError as error:
        raise fail(f"The tests need more packages ({error}). Run `make test` once.") from None
    if step and step.startswith("-"):
        context.args.insert(0, step)
        step = None
    try:
        suites = [one_suite(step, context.args)] if step else all_suites(everything, context.args)
    except UnknownStep as error:
        raise fail(error, 2) from None
    raise typer.Exit(run_suites(suites))


@app.command()
def diff(
    step: Annotated[str | None, STEP] = None,
    stat: Annotated[bool, typer.Option("--stat", help="Only the number of lines per file.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Write docs/diffs again.")] = False,
) -> None:
    """Show what a step changes in the one before it; without a step, all of them in turn."""
    import sys

    from tutorial.course.diffs import step_diff, write_diffs
    from tutorial.course.steps import all_steps

    if write:
        for path in write_diffs():
            typer.echo(path.name)
        return
    chosen = [step_or_exit(step)] if step else all_steps()[1:]
    for directory in chosen:
        try:
            text = step_diff(number(directory), stat, colour=sys.stdout.isatty())
        except ValueError as error:
            raise fail(error, 2) from None
        if len(chosen) > 1:
            typer.echo(f"Step {number(directory) - 1} to step {number(directory)}:")
        typer.echo(text)


@app.command()
def propagate(step: Annotated[str, typer.Argument(metavar="STEP", help="The step you changed.")]) -> None:
    """Carry the uncommitted change of a step into all later steps, and report conflicts."""
    from tutorial.course.propagate import CannotPropagate
    from tutorial.course.propagate import propagate as carry_on

    try:
        result = carry_on(step_or_exit(step))
    except (CannotPropagate, RuntimeError) as error:
        raise fail(error) from None
    for label, names in (("written", result.written), ("conflict", result.conflicts), ("kept", result.kept)):
        for name in names:
            typer.echo(f"{label:9} {name}")
    if not (result.written or result.conflicts or result.kept):
        typer.echo("The later steps have the change already.")
    if result.conflicts:
        raise fail("Settle the lines between <<<<<<< and >>>>>>>, then test.")
    if result.kept:
        raise fail("Kept: one side removed the file and the other changed it. Settle these by hand.")


PLAYGROUND = "Your directory; by default the one you are in, else playground/ beside the steps."
NameArgument = Annotated[
    str | None,
    typer.Argument(metavar="[N]", help="A step (3, routing) or an exercise; by default the one you are at."),
]
DirectoryArgument = Annotated[Path | None, typer.Argument(metavar="[DIR]", help=PLAYGROUND)]
DirectoryOption = Annotated[Path | None, typer.Option("--dir", metavar="DIR", help=PLAYGROUND)]


# What runs the tests of a step, by the name it is imported by.
TEST_MODULES = ("pytest", "pytest_asyncio", "pytest_django", "aiosmtpd")


@contextlib.contextmanager
def learning(*modules: str) -> Iterator[None]:
    """Turn what can go wrong in a learner's command into a line on standard error and exit code 2.

    Args:
        modules: What must be installed for it besides what runs the steps.
    """
    if missing := [name for name in modules if find_spec(name) is None]:
        raise fail(f"This needs more packages ({', '.join(missing)}). Run `make .venv/ready-dev` once.", 2)
    try:
        from tutorial.course.assignment import UnknownAssignment
        from tutorial.learn.check import CannotCheck
        from tutorial.learn.playground import WrongUse
    except ImportError as error:
        raise fail(f"This needs more packages ({error}). Run `make .venv/ready-dev` once.", 2) from None
    try:
        yield
    except (CannotCheck, UnknownStep, UnknownAssignment, WrongUse) as error:
        raise fail(error, 2) from None
    except OSError as error:
        raise fail(
            f"{error.strerror or error}: {error.filename or 'the disk'}. Nothing of yours is lost.", 2
        ) from None
    except KeyboardInterrupt:
        raise fail("Stopped. Nothing of yours is lost.", 130) from None


@app.command()
def start(
    name: Annotated[str, typer.Argument(metavar="N", help="The step to begin: 3, step03 or routing.")],
    directory: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Where to make it; by default playground/.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Go on with your own code; only add what the lesson gives.")
    ] = False,
) -> None:
    """Lay out the step before N, and what lesson N gives, for you to build step N in.

    DIR becomes a git repository of its own, so `git diff` there shows what you wrote. A DIR that exists is
    moved aside first, to DIR with the date and time in its name. Nothing you wrote is lost.
    """
    with learning():
        from tutorial.course.assignment import step_assignment
        from tutorial.learn import playground

        assignment = step_assignment(name)
        if keep:
            project = playground.find_playground(directory)
            for file in playground.go_on(assignment, project):
                typer.echo(f"Kept as you wrote it: {file}. The lesson has a new version: tutorial compare")
        else:
            set_up(assignment, directory or playground.DEFAULT)
        typer.echo(f"The lesson: {assignment.readme}")
        typer.echo(f"Check as you type: tutorial watch{f' {directory}' if directory else ''}")


def set_up(assignment: "Assignment", directory: Path) -> None:
    """Make a playground and say what was made, and where an earlier one now is."""
    from tutorial.learn import playground

    aside = playground.start(assignment, directory)
    if aside:
        typer.echo(f"What was in {directory} is now in {aside}.")
        if Path.cwd().is_relative_to(aside):
            typer.echo(f"You are in it still. Go to the new one: cd {directory.absolute()}")
    typer.echo(f"{directory} is ready for {assignment.title}, about {assignment.about['minutes']} minutes.")
    if not (directory / ".git").exists():
        typer.echo("It is no git repository of its own, because git is not to be had here.")


@app.command()
def exercise(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An exercise: `tutorial list` names them.")],
    directory: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Where to make it; by default playground/.")
    ] = None,
) -> None:
    """Lay out the step that an exercise builds on, with the exercise's test, for you to solve it in.

    A DIR that exists is moved aside first, as by `tutorial start`.
    """
    with learning():
        from tutorial.course.assignment import exercise_assignment
        from tutorial.learn import playground

        assignment = exercise_assignment(name)
        set_up(assignment, directory or playground.DEFAULT)
        typer.echo(f"The task: {assignment.readme}")
        typer.echo(f"Check as you type: tutorial watch{f' {directory}' if directory else ''}")


@app.command()
def check(
    name: NameArgument = None,
    directory: DirectoryArgument = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Go on after the first requirement that is not met, and show all.")
    ] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show the full traceback too.")] = False,
    only: Annotated[
        str, typer.Option("-k", metavar="WORDS", help="Only requirements whose test's name has these words.")
    ] = "",
) -> None:
    """Judge your code by a step's tests: what is done, and where to look for the first thing that is not.

    Missing files, syntax and imports are looked at before any test runs. Then come the tests: what was
    not met last time first, then the fast ones. They run on a copy of DIR with the course's own tests,
    so nothing in DIR changes but the note of your progress.

    Ends with 0 when all is done, with 1 when not yet, with 2 when it could not judge.
    """
    with learning(*TEST_MODULES):
        from tutorial.learn.playground import current_assignment, find_playground
        from tutorial.learn.progress import judge
        from tutorial.learn.render import new_console

        project = find_playground(directory)
        assignment = current_assignment(project, name)
        verdict = judge(new_console(), project, assignment, everything=everything, verbose=verbose, only=only)
        if not verdict.good:
            raise typer.Exit(1)


@app.command()
def watch(directory: DirectoryArgument = None) -> None:
    """Check again whenever you save a file, and go on to the next step when one is done, until Ctrl-C.

    What the saved file concerns is checked first. Your code stays as it is from step to step. Progress is
    kept in DIR, so you can stop and come back.
    """
    with learning(*TEST_MODULES):
        from tutorial.learn.playground import find_playground
        from tutorial.learn.render import new_console
        from tutorial.learn.watch import watch as watch_playground

        try:
            watch_playground(new_console(), find_playground(directory))
        except KeyboardInterrupt:
            raise typer.Exit(0) from None


@app.command()
def hint(name: NameArgument = None, directory: DirectoryArgument = None) -> None:
    """Give a hint for the first thing that is not right yet. Each call says more."""
    with learning():
        from tutorial.learn.playground import State, current_assignment, find_playground
        from tutorial.learn.progress import next_hint

        project = find_playground(directory)
        typer.echo(next_hint(project, State.read(project), current_assignment(project, name)))


@app.command()
def compare(
    name: NameArgument = None,
    directory: DirectoryArgument = None,
    only: Annotated[str, typer.Option("--only", metavar="FILE", help="Only this file.")] = "",
) -> None:
    """Show where your files differ from the solution's: side by side from 120 columns on.

    Ends with 0 when they are the same, with 1 when not.
    """
    with learning():
        from tutorial.course.assignment import UnknownAssignment
        from tutorial.learn.playground import current_assignment, find_playground
        from tutorial.learn.render import new_console, show_comparison

        project = find_playground(directory)
        assignment = current_assignment(project, name)
        if only and only not in assignment.solution:
            raise UnknownAssignment(
                f"The solution of {assignment.title} has no file {only!r}. {assignment.nearest_file(only)}"
            )
        count = show_comparison(new_console(), assignment, project, only)
        typer.echo(f"{count} files differ." if count != 1 else "1 file differs.")
        if count:
            raise typer.Exit(1)


@app.command()
def solve(
    name: Annotated[str, typer.Argument(metavar="N", help="A step or an exercise.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file by its path in the project.")],
    directory: DirectoryOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Take one file from the solution, after asking. Yours is kept beside it, with the date in its name."""
    with learning():
        from tutorial.course.assignment import UnknownAssignment, find_assignment
        from tutorial.learn.playground import find_playground, refuse_course, take

        assignment = find_assignment(name)
        project = find_playground(directory)
        refuse_course(project)
        if file not in assignment.solution:
            raise UnknownAssignment(
                f"The solution of {assignment.title} has no file {file!r}. {assignment.nearest_file(file)}"
            )
        question = "Replace your" if (project / file).exists() else "Take"
        if not yes and not typer.confirm(f"{question} {file} by the solution's?"):
            raise typer.Exit(1)
        aside = take(assignment, file, project)
        typer.echo(f"{file} is now the solution's." + (f" Yours is kept as {aside.name}." if aside else ""))


@app.command(name="list")
def list_tasks(directory: DirectoryArgument = None) -> None:
    """List the steps and exercises: how long each takes, how far you are, and where."""
    with learning():
        from tutorial.learn.playground import State, WrongUse, find_playground
        from tutorial.learn.render import new_console, show_list

        try:
            project = find_playground(directory)
        except WrongUse:
            if directory:
                raise
            project = None
        show_list(new_console(), State.read(project) if project else State(), project)


app.command()(doctor)
