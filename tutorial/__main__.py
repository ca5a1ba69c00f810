"""Lets `python -m tutorial` do what `tutorial` does."""

from tutorial.cli import app

app(prog_name="tutorial")
