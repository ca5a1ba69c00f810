"""What runs a step, tests it, and examines the machine."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from tutorial.cli.answers import need_tests
from tutorial.cli.learn import Directory
from tutorial.course.steps import UnknownStep, all_steps, find_step

FOR_PYTEST = {"allow_extra_args": True, "ignore_unknown_options": True}
A_STEP = typer.Argument(metavar="STEP", help="A step: 3, step03 or routing.")
Step = Annotated[str | None, A_STEP]


def run(
    project: Annotated[
        str | None,
        typer.Argument(
            metavar="STEP|DIR",
            help="A step (3, step03, routing) or a directory with a project; "
            "by default the project you are in, else the finished app.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 for a whole classroom.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 8000,
) -> None:
    """Run your project or a step with broker, server and worker.

    Demo users are made where there is a login page. Server and worker restart when you save. Ctrl-C stops
    all of it.
    """
    directory = find_project(project)
    from tutorial.services.lanes import need_one_lane

    need_one_lane()
    from tutorial.services.run import run_step

    raise typer.Exit(run_step(directory, host, port))


def find_project(name: str | None) -> Path:
    """Return the directory to run: what is named, else the project around the current directory, else step 5.

    Raises:
        UnknownStep: What is named is neither a step nor a directory.
        WrongUse: It is a directory without a Django project.
    """
    if name is None:
        here = Path.cwd()
        around = (path for path in (here, *here.parents) if (path / "manage.py").is_file())
        return next((path for path in around if (path / "config/settings.py").is_file()), all_steps()[-1])
    try:
        return find_step(name)
    except UnknownStep:
        if not (name and Path(name).is_dir()):
            raise
    from tutorial.learn.playground import find_playground

    return find_playground(Path(name))


def preview(
    directory: Directory = None,
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 8001,
) -> None:
    """Try your consumer in a page, before it has an address.

    The page has a window each for alice, bob and a visitor without a name. Your code is read again with each
    save, and what it raises appears in this terminal. Ctrl-C ends it.
    """
    from tutorial.learn.playground import find_playground

    project = find_playground(directory)
    from tutorial.services.lanes import need_one_lane

    need_one_lane()
    from tutorial.services.preview import run_preview

    run_preview(project, port)


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
    from tutorial.learn.classroom import tell
    from tutorial.services.doctor import examine_all

    ready = examine_all(as_json)
    tell(doctor=ready)
    if not ready:
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
