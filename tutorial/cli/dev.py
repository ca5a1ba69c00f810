"""What a maintainer of the course runs: `tutorial dev ...`."""

import sys
from typing import Annotated

import typer

from tutorial.cli.answers import fail
from tutorial.cli.run import Step
from tutorial.course.steps import all_steps, find_step, number


def diff(
    step: Step = None,
    stat: Annotated[bool, typer.Option("--stat", help="Only the number of lines per file.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Write docs/diffs again.")] = False,
) -> None:
    """Show what a step changes in the one before it.

    Without a step, show all of them in turn.
    """
    from tutorial.course.diffs import step_diff, write_diffs

    if write:
        for path in write_diffs():
            typer.echo(path.name)
        return
    chosen = [find_step(step)] if step else all_steps()[1:]
    for directory in chosen:
        try:
            text = step_diff(number(directory), stat, colour=sys.stdout.isatty())
        except ValueError as error:
            raise fail(error, 2) from None
        if len(chosen) > 1:
            typer.echo(f"Step {number(directory) - 1} to step {number(directory)}:")
        typer.echo(text)


def propagate(step: Annotated[str, typer.Argument(metavar="STEP", help="The step you changed.")]) -> None:
    """Carry a step's uncommitted change into the later ones.

    Conflicts are marked in the files and reported.
    """
    from tutorial.course.propagate import propagate as carry_on

    result = carry_on(find_step(step))
    for label, names in (("written", result.written), ("conflict", result.conflicts), ("kept", result.kept)):
        for name in names:
            typer.echo(f"{label:9} {name}")
    if result.conflicts:
        raise fail("Settle the lines between <<<<<<< and >>>>>>>, then test.", 1)
    if result.kept:
        raise fail("Kept: one side removed the file and the other changed it. Settle these by hand.", 1)
    if not result.written:
        typer.echo("The later steps have the change already.")
