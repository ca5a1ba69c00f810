"""What a command answers when it cannot do its work: a line on standard error, and an exit code."""

import functools
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import ParamSpec

import typer

Arguments = ParamSpec("Arguments")
# What `make setup` adds and the tests of a step import.
TEST_MODULES = ("pytest", "pytest_asyncio", "pytest_django", "aiosmtpd")


def fail(reason: object, code: int) -> typer.Exit:
    """Print a reason to standard error and return the exit to raise."""
    typer.echo(str(reason), err=True)
    return typer.Exit(code)


def need_tests() -> None:
    """End with code 2 where the packages that run tests are missing.

    Raises:
        MixedLanes: Packages of the other lane are installed.
    """
    if missing := [name for name in TEST_MODULES if find_spec(name) is None]:
        raise fail(f"This needs more packages ({', '.join(missing)}). Run `make setup` once.", 2)
    from tutorial.services.lanes import need_one_lane  # not for --help: it loads packaging

    need_one_lane()


def answering(command: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Return a command that answers in a line and with a code: 1 where something would not run, else 2.

    An exception of our own has a text for a person. Any other is a mistake in the course, and shows itself.
    """

    @functools.wraps(command)
    def answer(*args: Arguments.args, **options: Arguments.kwargs) -> None:
        try:
            try:
                command(*args, **options)
            finally:
                # Not at the interpreter's exit: Python 3.12 starts no thread then, and a board needs one.
                if classroom := sys.modules.get("tutorial.learn.classroom"):
                    classroom.finish()
        except KeyboardInterrupt:
            raise fail("Stopped. Nothing of yours is lost.", 130) from None
        except ModuleNotFoundError as error:
            raise fail(f"This needs more packages ({error.name}). Run `make setup` once.", 2) from None
        except BrokenPipeError:
            # The reader has seen enough, as `head` has. What is still to be written goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except OSError as error:
            place = error.filename or "the disk"
            raise fail(f"{error.strerror or error}: {place}. Nothing of yours is lost.", 2) from None
        except Exception as error:
            module = type(error).__module__
            if not module.startswith("tutorial."):
                raise
            raise fail(error, 1 if module.startswith("tutorial.services.") else 2) from None

    return answer
