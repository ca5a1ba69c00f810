"""`tutorial exercise`: do one, and for an instructor: make one and prove it."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tutorial.cli.answers import fail, need_tests
from tutorial.cli.learn import NewDirectory, set_up


class NameFirst(TyperGroup):
    """Takes `tutorial exercise echo` for `tutorial exercise do echo`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command in front of a word that is none."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["do", *args]
        return super().parse_args(ctx, args)


def do(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An exercise: `tutorial list` names them.")],
    directory: NewDirectory = None,
) -> None:
    """Create a playground in which you do an exercise.

    It is the step that the exercise builds on, with the exercise's test. If DIR exists, a copy of it is kept,
    as by `tutorial start`. The word `do` may be left out.
    """
    from tutorial.course.assignment import exercise_assignment

    set_up(exercise_assignment(name), directory)


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Small letters, digits and _.")],
    step: Annotated[str, typer.Option("--step", metavar="N", help="The step that it builds on.")] = "5",
) -> None:
    """Make an exercise of your own.

    It has a README, a test and a solution that already work together. Change them, and let
    `tutorial exercise lint NAME` prove them. It's made in the first directory of TUTORIAL_EXERCISES, if that
    is set, else in the course.
    """
    from tutorial.learn.own_exercises import new_exercise

    directory = new_exercise(name, step)
    typer.echo(f"{directory} has a README, a test and a solution. Change all three, then prove them:")
    typer.echo(f"tutorial exercise lint {directory.name}")


def lint(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="By default all in TUTORIAL_EXERCISES.")
    ] = None,
) -> None:
    """Prove exercises of your own.

    Each must fail on the bare step, pass with its solution, and have text, hints, minutes and a solution that
    doesn't repeat the step. Each fault is named with its file.

    Exit status: 0 all are good, 1 some are not, 2 there is none.
    """
    need_tests()
    from tutorial.learn.own_exercises import lint as lint_all

    through, wrong = 0, 0
    for name, fault in lint_all(names or []):
        if fault:
            wrong += 1
            typer.echo(f"{name}: {fault}")
        else:
            through += 1
    if not through:
        raise fail("No exercise is named, and TUTORIAL_EXERCISES names no directory with any.", 2)
    typer.echo(f"{through} looked at, {wrong} faults." if wrong else f"{through} looked at: good.")
    if wrong:
        raise typer.Exit(1)
