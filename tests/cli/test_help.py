"""`tutorial --help`: what it shows, and that it loads nothing it doesn't need."""

import subprocess
import sys

from typer.core import TyperGroup
from typer.main import get_command

from tutorial.cli import app

# Prints the packages that a program has loaded, those of Python itself aside.
LOADED = """
import atexit, sys
def report():
    names = {name.partition(".")[0] for name in sys.modules if not name.startswith("_")}
    print(*sorted(names - set(sys.stdlib_module_names)), file=sys.stderr)
atexit.register(report)
"""


def commands(group, *words):
    """Yield the words that call a command and each one below it, with the command."""
    yield words, group
    if isinstance(group, TyperGroup):
        for name, command in group.commands.items():
            yield from commands(command, *words, name)


def test_help_fits_into_80_columns(tutorial, monkeypatch):
    """No summary is cut or wrapped, each is in its panel, and an argument has one pair of brackets."""
    monkeypatch.setenv("COLUMNS", "80")
    panels = {}
    for words, command in commands(get_command(app)):
        text = tutorial(*words, "--help").output
        assert max(map(len, text.splitlines())) <= 80
        assert "…" not in text
        assert "[[" not in text
        if words:
            overview = tutorial(*words[:-1], "--help").output
            before, found, _ = overview.partition(f"│ {words[-1]} ")
            assert found
            assert f" {command.help.splitlines()[0]} " in overview
            panels.setdefault(before.rpartition("─ ")[2].partition(" ")[0], []).append(words[-1])
    assert set(panels) == {"Learn", "Run", "Classroom", "Teach", "Maintain", "Commands"}
    assert {"start", "watch", "check", "hint"} <= set(panels["Learn"])
    assert set(panels["Run"]) == {"run", "preview", "test", "broker", "doctor"}
    assert panels["Maintain"] == ["dev"]


def test_help_loads_no_more_than_the_help_needs():
    """Help is quick: it loads neither the broker's client nor pytest."""

    def loaded(code):
        done = subprocess.run(
            [sys.executable, "-c", f"{LOADED}\n{code}"], capture_output=True, text=True, timeout=600
        )
        return set(done.stderr.split())

    yardstick = loaded("import typer, typer.rich_utils")
    assert loaded("from tutorial.cli import app; app(['--help'])") - yardstick == {"tutorial"}
