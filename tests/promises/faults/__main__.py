"""Provoke every fault at full length and print what became of everything that was sent.

`make faults` runs it. It ends with 0 when every account is right, with 1 when
one is not, and with 2 when it cannot run here.
"""

import argparse
import os
import resource
import signal
import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from tutorial.services.broker import NoBroker, server_binary
from tutorial.services.ports import port_problem

# 1,000 clients in one process and 1,000 sockets in another, with files and libraries besides.
DESCRIPTORS = 1500


class CannotRun(RuntimeError):
    """Raised when the faults cannot be provoked here; its text says why and what to do, in a line."""


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str):
        """Raise what is wrong with the command line.

        Raises:
            CannotRun: Always.
        """
        raise CannotRun(message)


def all_figures() -> dict[str, Callable]:
    """Return the figures of both halves by name."""
    # Here, so that what cannot run is said before their packages are loaded.
    from tests.promises.faults import celery_figures, websocket_figures

    return {figure.__name__: figure for figure in websocket_figures.FIGURES + celery_figures.FIGURES}


def raise_descriptor_limit() -> None:
    """Allow this process and those it starts as many file descriptors as the system lets them have.

    Raises:
        CannotRun: Those are too few.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        raise CannotRun(
            f"Too few file descriptors: {hard}, where {DESCRIPTORS} are needed. Raise the limit (ulimit -Hn)."
        )
    # macOS refuses to make the soft limit infinite.
    wanted = 65_536 if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def prepare(words: list[str]) -> tuple[list[Callable], bool]:
    """Read the command line, and check that the machine has what the figures need.

    Returns:
        The figures that were asked for, and whether at full length.

    Raises:
        CannotRun: Something is missing or wrong.
    """
    parser = OneLineParser(prog="python -m tests.promises.faults", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="FIGURE", help="only these; all if none is named")
    parser.add_argument("--port", type=int, help="where the chat's server listens; a free port if not given")
    parser.add_argument("--short", action="store_true", help="in the short form of the tests")
    options = parser.parse_args(words)
    if options.port is not None:
        if not 1 <= options.port <= 65535:
            raise CannotRun(f"{options.port} is no port: a port is a number from 1 to 65535.")
        if problem := port_problem("127.0.0.1", options.port):
            raise CannotRun(f"Cannot listen on 127.0.0.1 port {options.port}: {problem}.")
        os.environ["FAULTS_PORT"] = str(options.port)
    raise_descriptor_limit()
    try:
        server_binary()
    except NoBroker:
        raise CannotRun(
            "No broker binary for this platform, and the faults kill and restart the embedded broker."
        ) from None
    figures = all_figures()
    if unknown := [name for name in options.names if name not in figures]:
        raise CannotRun(f"There is no figure {unknown[0]!r}. The figures: {', '.join(figures)}.")
    chosen = options.names or list(figures)
    from tutorial.services.browser import chromium

    if "browsers" in chosen and chromium() is None:
        raise CannotRun("No Chromium or Chrome is on PATH; the figure named browsers needs one.")
    return [figures[name] for name in chosen], not options.short


def run(figures: list[Callable], full: bool, console: Console) -> int:
    """Provoke the figures one after another, and print a line for each and a table of all.

    Args:
        figures: Functions from (full, report) to an account; the first line of their docstring is the title.
        full: Whether at full length.
        console: Where to print.

    Returns:
        0 when every account is right, else 1.
    """
    numbers = ("sent", "delivered", "refused", "lost", "doubled")
    table = Table(title="What became of it", title_justify="left")
    table.add_column("fault", ratio=2)
    for word in numbers:
        table.add_column(word, justify="right")
    table.add_column("s", justify="right")
    table.add_column("besides", ratio=3)
    failed = []
    began = time.monotonic()
    for number, figure in enumerate(figures, start=1):
        title = figure.__doc__.splitlines()[0].rstrip(".")
        start = time.monotonic()
        counter = f"{number}/{len(figures)}"
        with console.status(f"{counter} {title} …") as status:

            def report(text: str, status=status, head=f"{counter} {title}") -> None:
                status.update(f"{head}: {text} …")

            account, problem = None, ""
            try:
                account = figure(full, report)
                account.check()
            except Exception as error:  # one broken figure must not hide the others
                problem = f"{type(error).__name__}: {error}"
        seconds = f"{time.monotonic() - start:.1f}"
        mark = "[red]FAILED[/]" if problem else "[green]right[/] "
        console.print(f"{mark}  {counter:>5}  {seconds:>6} s  {title}")
        counts = [f"{getattr(account, word):,}" if account else "–" for word in numbers]
        besides = account.note if account else "see below"
        table.add_row(title, *counts, seconds, besides, style="red" if problem else None)
        if problem:
            failed.append((title, problem))
    console.print(table)
    for title, problem in failed:
        console.print(f"[red]FAILED[/] {title}")
        console.print(problem, markup=False)
    right = len(figures) - len(failed)
    total = time.monotonic() - began
    console.print(f"{right} of {len(figures)} accounts are right, after {total:.0f} s.")
    return 1 if failed else 0


def main(words: list[str]) -> int:
    """Run the command; return its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        figures, full = prepare(words)
    except CannotRun as error:
        print(error, file=sys.stderr)
        return 2
    try:
        # A table of eight columns needs room, also where the output is no terminal.
        console = Console(highlight=False)
        return run(figures, full, console if console.is_terminal else Console(highlight=False, width=140))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
