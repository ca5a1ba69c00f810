"""What an instructor runs: marks, the board, exercises."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tutorial.cli.answers import need_tests


class Form(StrEnum):
    """How a report is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def report(
    directories: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Playgrounds, or repositories with playground/.")
    ],
    form: Annotated[Form, typer.Option("--as", help="How to write it.")] = Form.TABLE,
    name: Annotated[
        str | None,
        typer.Option(
            "--by", metavar="N", help="Judge by this step or exercise, wherever each playground is."
        ),
    ] = None,
) -> None:
    """Judge many playgrounds and list what is met.

    Each is judged by all requirements of the step or exercise that it's at, on a copy and with the course's
    own tests. Nothing in a DIR is changed.

    Exit status: 0 all could be judged, 1 some could not, 2 none could.
    """
    need_tests()
    from tutorial.learn import marks
    from tutorial.learn.render import new_console

    found = marks.mark_all(directories, name, lambda mark: typer.echo(f"{mark.name} ...", err=True))
    if form is Form.TABLE:
        console = new_console()
        console.print(marks.table(found))
        for mark in found:
            if mark.note:
                console.print(f"{mark.name}: {mark.note}", markup=False, soft_wrap=True)
    else:
        typer.echo(marks.as_csv(found).rstrip() if form is Form.CSV else marks.report_json(found))
    if failed := [mark for mark in found if not mark.of]:
        raise typer.Exit(2 if len(failed) == len(found) else 1)
