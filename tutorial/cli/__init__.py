"""The `tutorial` command."""

from collections.abc import Callable

import typer

from tutorial.cli import classroom, dev, exercises, learn, run, teach
from tutorial.cli.answers import answering

app = typer.Typer(
    help="Learn, run and test the steps of the course. To learn: start, watch, hint, compare.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
maintain = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")

PANELS: dict[str, list[Callable[..., None]]] = {
    "Learn": [
        learn.start,
        learn.watch,
        learn.check,
        learn.hint,
        learn.compare,
        learn.solve,
        learn.catchup,
    ],
    "Run": [run.run, run.preview, run.broker, run.doctor],
    "Classroom": [classroom.join, classroom.hand, classroom.leave],
    "Teach": [teach.board, teach.report],
}
for panel, commands in PANELS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(answering(command))
own = typer.Typer(cls=exercises.NameFirst, no_args_is_help=True, rich_markup_mode="markdown")
for command in (exercises.do, exercises.new, exercises.lint):
    own.command()(answering(command))
app.add_typer(own, name="exercise", rich_help_panel="Learn", help="Do an exercise; make and prove your own.")
app.command("list", rich_help_panel="Learn")(answering(learn.list_assignments))
app.command(rich_help_panel="Run", context_settings=run.FOR_PYTEST)(answering(run.test))
maintain.command()(answering(dev.diff))
maintain.command()(answering(dev.propagate))
app.add_typer(
    maintain, name="dev", rich_help_panel="Maintain", help="Keep the steps in step: diff and propagate."
)
