"""The `tutorial` command."""

from typing import Annotated

import typer

from tutorial.broker import NoBroker
from tutorial.steps import UnknownStep, find_step, number

app = typer.Typer(
    help="Run, test and compare the steps of the course.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

StepArgument = Annotated[str | None, typer.Argument(metavar="[STEP]", help="A step: 3, step03 or routing.")]


def fail(reason: object, code: int = 1) -> typer.Exit:
    """Print a reason to standard error and return the exit to raise."""
    typer.echo(str(reason), err=True)
    return typer.Exit(code)


def step_or_exit(name: str):
    """Return a step's directory, or end with code 2 and the names of the steps."""
    try:
        return find_step(name)
    except UnknownStep as error:
        raise fail(error, 2) from None


@app.command()
def run(
    step: StepArgument = "5",
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 for a whole classroom.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 8000,
) -> None:
    """Run a step, by default the finished app, with its broker, server and worker, until Ctrl-C."""
    from tutorial.run import CannotRun, run_step

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
    from tutorial.run import CannotRun, run_broker

    try:
        run_broker()
    except (CannotRun, NoBroker) as error:
        raise fail(error) from None
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def test(
    context: typer.Context,
    step: StepArgument = None,
    long: Annotated[
        bool, typer.Option("--long", help="The long suites: exercises, faults, symptoms.")
    ] = False,
) -> None:
    """Test one step or, without a name, all of them and the course. What follows `--` is for pytest."""
    try:
        from tutorial.testing import all_suites, run_suites
    except ImportError as error:
        raise fail(f"The tests need more packages ({error}). Run `make test` once.") from None
    if step and step.startswith("-"):
        context.args.insert(0, step)
        step = None
    chosen = [step_or_exit(step)] if step else all_suites(long)
    raise typer.Exit(run_suites(chosen, context.args))


@app.command()
def diff(
    step: StepArgument = None,
    stat: Annotated[bool, typer.Option("--stat", help="Only the number of lines per file.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Write docs/diffs again.")] = False,
) -> None:
    """Show what a step changes in the one before it; without a step, all of them in turn."""
    import sys

    from tutorial.diffs import step_diff, write_diffs
    from tutorial.steps import all_steps

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
    from tutorial.diffs import CannotPropagate
    from tutorial.diffs import propagate as carry_on

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
