"""Provoke every fault at full length and print what happened to everything that was sent.

`make faults` runs it. It ends with 0 when every account is right, with 1 when
one isn't, and with 2 when it can't run here.
"""

import argparse
import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from benchmarks.measure import allow_files
from tests.promises.faults import broker_figures, chat_figures, data_figures, line_figures, mail_figures
from tests.promises.faults.account import Account
from tutorial.services.broker import NoBroker, server_binary
from tutorial.services.browser import chromium
from tutorial.services.signals import ended_by_signals
from tutorial.testing.postgres import NoPostgres, postgres_programs
from tutorial.testing.rabbitmq import NoRabbit, rabbit_programs

MODULES = (chat_figures, mail_figures, line_figures, data_figures, broker_figures)
FIGURES = {figure.__name__: figure for module in MODULES for figure in module.FIGURES}
NUMBERS = ("sent", "delivered", "refused", "lost", "doubled")
# 1,000 clients in one process and 1,000 sockets in another, with files and libraries besides.
DESCRIPTORS = 1500


class CannotRun(RuntimeError):
    """Raised when the faults can't be provoked here; its text says why and what to do, in a line."""


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str):
        """Raise what is wrong with the command line."""
        raise CannotRun(message)


def missing(name: str) -> str | None:
    """Return what a figure needs and this machine lacks, or None."""
    if name == "browsers" and chromium() is None:
        return "No Chromium or Chrome is on PATH"
    if name == "line_of_a_server" and sys.version_info < (3, 12):
        return "With Python 3.11 the channel layer has no timeout"
    try:
        if name.startswith("rabbit"):
            rabbit_programs()
        if name in (data_figures.authors_on_postgres.__name__, data_figures.database_restarts.__name__):
            postgres_programs()
    except (NoPostgres, NoRabbit) as reason:
        return str(reason)
    return None


def prepare(words: list[str]) -> tuple[list[Callable], bool]:
    """Read the command line, and check that the machine has what the figures need.

    Returns:
        The figures that were asked for, and whether at full length.

    Raises:
        CannotRun: Something is missing or wrong.
    """
    parser = OneLineParser(prog="python -m tests.promises.faults", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="FIGURE", help="only these; all if none is named")
    parser.add_argument("--short", action="store_true", help="in the short form of the tests")
    options = parser.parse_args(words)
    if unknown := [name for name in options.names if name not in FIGURES]:
        raise CannotRun(f"There is no figure {unknown[0]!r}. The figures: {', '.join(FIGURES)}.")
    chosen = options.names or list(FIGURES)
    if (allowed := allow_files(DESCRIPTORS)) < DESCRIPTORS:
        few = f"Too few file descriptors: {allowed}, where {DESCRIPTORS} are needed."
        raise CannotRun(f"{few} Raise the limit (ulimit -Hn).")
    try:
        server_binary()
    except NoBroker:
        raise CannotRun(
            "No broker binary for this platform, and the faults kill and restart the embedded broker."
        ) from None
    lacking = {name: reason for name in chosen if (reason := missing(name))}
    for name, reason in lacking.items():
        # A browser can be installed anywhere; the others are left out where they don't run.
        if options.names or name == "browsers":
            raise CannotRun(f"{reason}; the figure named {name} needs it.")
        print(f"Left out: {name}. {reason}.")
    chosen = [name for name in chosen if name not in lacking]
    return [FIGURES[name] for name in chosen], not options.short


def run(figures: list[Callable[[bool], Account]], full: bool, console: Console) -> int:
    """Provoke the figures one after another, and print a line for each and a table of all.

    Args:
        figures: Functions that return an account; the first line of their docstring is the title.
        full: Whether at full length.
        console: Where to print.

    Returns:
        0 when every account is right, else 1.
    """
    table = Table(title="What became of it", title_justify="left")
    table.add_column("fault", ratio=2)
    for word in (*NUMBERS, "s"):
        table.add_column(word, justify="right")
    table.add_column("besides", ratio=3)
    problems = {}
    began = time.monotonic()
    for number, figure in enumerate(figures, start=1):
        title = figure.__doc__.splitlines()[0].rstrip(".")
        counter = f"{number}/{len(figures)}"
        start = time.monotonic()
        account = None
        with console.status(f"{counter} {title} …"):
            try:
                account = figure(full)
                account.check()
            except Exception as error:  # one broken figure must not hide the others
                problems[title] = f"{type(error).__name__}: {error}"
        seconds = f"{time.monotonic() - start:.1f}"
        mark = "[red]FAILED[/]" if title in problems else "[green]right[/] "
        console.print(f"{mark}  {counter:>5}  {seconds:>6} s  {title}")
        counts = [f"{getattr(account, word):,}" if account else "–" for word in NUMBERS]
        besides = account.note if account else "see below"
        table.add_row(title, *counts, seconds, besides, style="red" if title in problems else None)
    console.print(table)
    for title, problem in problems.items():
        console.print(f"[red]FAILED[/] {title}")
        console.print(problem, markup=False)
    right, total = len(figures) - len(problems), time.monotonic() - began
    console.print(f"{right} of {len(figures)} accounts are right, after {total:.0f} s.")
    return 1 if problems else 0


def main(words: list[str]) -> int:
    """Run the command; return its exit code."""
    try:
        figures, full = prepare(words)
    except CannotRun as error:
        print(error, file=sys.stderr)
        return 2
    # A table of eight columns needs room, even if the output isn't a terminal.
    console = Console(highlight=False)
    with ended_by_signals():
        return run(figures, full, console if console.is_terminal else Console(highlight=False, width=140))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
