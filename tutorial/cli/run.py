"""What runs a step, tests it, and examines the machine."""

import contextlib
from typing import Annotated

import typer

from tutorial.cli.answers import need_tests
from tutorial.course.steps import find_step

FOR_PYTEST = {"allow_extra_args": True, "ignore_unknown_options": True}
A_STEP = typer.Argument(metavar="STEP", help="A step: 3, step03 or routing.")
Step = Annotated[str | None, A_STEP]


def run(
    step: Annotated[str, A_STEP] = "5",
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 for a whole classroom.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 8000,
) -> None:
    """Run a step with its broker, server and worker.

    Ctrl-C stops all of it.
    """
    directory = find_step(step)
    from tutorial.services.run import run_step

    raise typer.Exit(run_step(directory, host, port))


def broker() -> None:
    """Run only the embedded broker.

    It is for a server and a worker that you start by hand. Ctrl-C stops it.
    """
    from tutorial.services.run import run_broker

    with contextlib.suppress(KeyboardInterrupt):
        run_broker()


def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object, for an instructor who collects them.")
    ] = False,
) -> None:
    """See whether this machine is ready for the course.

    Each line says what was found. Where something is wrong, it says what to do.
    """
    from tutorial.services.doctor import examine_all

    if not examine_all(as_json):
        raise typer.Exit(1)


def test(
    context: typer.Context,
    step: Step = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what takes minutes.")] = False,
) -> None:
    """Test one finished step, or the whole course.

    What follows `--` is for pytest.
    """
    need_tests()
    from tutorial.testing.suites import all_suites, one_suite, run_suites

    if step and step.startswith("-"):
        context.args.insert(0, step)
        step = None
    suites = [one_suite(step, context.args)] if step else all_suites(everything, context.args)
    raise typer.Exit(run_suites(suites))
