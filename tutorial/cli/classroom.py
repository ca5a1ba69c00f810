"""What a learner runs in a classroom: join the instructor's board, raise a hand, leave."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from tutorial.cli.answers import fail


class Hand(StrEnum):
    """What a hand says."""

    HELP = "help"
    DONE = "done"
    DOWN = "down"


def join(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="The board's address, as your instructor shows it.")
    ] = "",
    code: Annotated[str, typer.Argument(metavar="CODE", help="The room's six letters.")] = "",
    nickname: Annotated[
        str | None,
        typer.Argument(metavar="NICKNAME", help="What the board calls you; by default it's made up."),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Show what is sent, and to where.")] = False,
) -> None:
    """Join your instructor's board.

    From then on check, watch, hint and doctor tell it where you are: names of requirements, counts and times.
    Your code, paths and names of files, machine and account are never sent. `tutorial leave` ends it.
    """
    from tutorial.learn import classroom

    if show:
        return show_what_is_sent()
    if not (url and code):
        raise fail("Type the board's address and its code: tutorial join URL CODE NICKNAME", 2)
    joined = classroom.join(url, code, nickname)
    typer.echo(f"You're on the board as {joined.nickname}. What it gets: tutorial join --show")
    typer.echo("Raise your hand: tutorial hand help. Leave: tutorial leave")


def show_what_is_sent() -> None:
    """Print where signs of life go and what the last one was."""
    from tutorial.learn import classroom

    joined = classroom.Joined.read()
    if joined is None:
        typer.echo("You haven't joined a board, so nothing is sent.")
        return
    typer.echo(
        f"Sent to {joined.url}, as {joined.nickname}, whenever something changes. Nothing else is sent:"
    )
    typer.echo(json.dumps(joined.sign_now().data(), indent=2, ensure_ascii=False))


def leave() -> None:
    """Leave your instructor's board.

    It forgets you, and nothing is sent any more.
    """
    from tutorial.learn import classroom

    joined = classroom.leave()
    if joined:
        typer.echo(f"You left the board at {joined.url}. Nothing is sent any more.")
    else:
        typer.echo("You haven't joined a board.")


def hand(
    what: Annotated[Hand, typer.Argument(metavar="help|done|down", help="What your hand says.")] = Hand.HELP,
    text: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="A line to go with it.")] = None,
) -> None:
    """Raise your hand on the board, or lower it.

    The board lists raised hands first.
    """
    from tutorial.learn import classroom

    joined = classroom.raise_hand(what.value, " ".join(text or []))
    said = f" with: {joined.sign.hand_text}" if joined.sign.hand_text else ""
    states = {
        "help": f"Your hand is up{said}. Lower it: tutorial hand down",
        "done": f"The board shows that you're done{said}.",
    }
    typer.echo(states.get(joined.sign.hand, "Your hand is down."))
