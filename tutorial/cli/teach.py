"""What an instructor runs: marks, the board, exercises."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tutorial.cli.answers import fail, need_tests


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


class Names(StrEnum):
    """Whether pages show nicknames."""

    SHOWN = "shown"
    HIDDEN = "hidden"


def board(
    host: Annotated[
        str, typer.Option(help="The address to listen on; 127.0.0.1 to try it alone.")
    ] = "0.0.0.0",  # noqa: S104 - it is for a room
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 8800,
    names: Annotated[Names, typer.Option(help="Hidden: no page ever shows a nickname.")] = Names.SHOWN,
    code: Annotated[str, typer.Option(help="The room's code, to open it again after an end.")] = "",
    key: Annotated[str, typer.Option(help="The key in your page's address, likewise.")] = "",
    file: Annotated[
        Path | None, typer.Option("--report", metavar="FILE", help="Write a closing report at Ctrl-C.")
    ] = None,
) -> None:
    """Show where everybody in the room is, live.

    Learners join by themselves, with the line that this prints. It shows requirements, counts and times,
    never code. It needs no internet and keeps nothing: at Ctrl-C all is forgotten, except the report.
    """
    if code and not (code.isascii() and code.isalpha() and len(code) == 6):
        raise fail(f"A room's code is six letters, not {code!r}. Leave it out for a new one.", 2)
    if key and not (key.isascii() and key.isalnum() and 12 <= len(key) <= 64):
        raise fail("A key is 12 or more letters and digits. Leave it out for a new one.", 2)
    from tutorial.board.serve import run_board

    run_board(host, port, code, key, names is Names.HIDDEN, file)
