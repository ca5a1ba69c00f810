"""Load the project in the current directory as a server would, and say what is wrong with it.

`tutorial check` runs it before any server, with the words SECONDS MODULE... -- TEMPLATE...
Each line of the report is JSON: the module that begins to load, and at last the problem or null.
"""

import faulthandler
import importlib
import importlib.abc
import json
import os
import sys
import traceback
from pathlib import Path

ROOT = Path.cwd()
_pid = os.getpid()


def tell(**event: object) -> None:
    """Write a line of the report. A process that a learner's code has forked off stays silent."""
    if os.getpid() == _pid:
        with open(os.environ["TUTORIAL_REPORT"], "a", encoding="utf-8", errors="replace") as report:
            report.write(json.dumps(event) + "\n")


class Watcher(importlib.abc.MetaPathFinder):
    """Notes which of the project's own modules is loaded; Python goes on to find it elsewhere."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Called by Python for every import."""
        file = ROOT / f"{name.replace('.', '/')}.py"
        if file.is_file():
            tell(loads=file.relative_to(ROOT).as_posix())


def place(error: BaseException) -> list[str | int | None] | None:
    """Return the file and line of the project's own where an exception was raised, or None."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).is_relative_to(ROOT):
        return [Path(error.filename).relative_to(ROOT).as_posix(), error.lineno or 1]
    frames = [
        [Path(frame.filename).relative_to(ROOT).as_posix(), frame.lineno]
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(ROOT)
    ]
    if not frames and error.__cause__ is not None:
        return place(error.__cause__)
    return frames[-1] if frames else None


def shown_by_django(error: BaseException) -> bool:
    """Tell whether `manage.py check` would raise an exception too: it loads settings, apps and URLs only."""
    frames = traceback.extract_tb(error.__traceback__)
    return not isinstance(error, SystemExit) and any(
        frame.name in ("populate", "_setup", "run_checks") and "/django/" in frame.filename
        for frame in frames
    )


def load(modules: list[str], templates: list[str]) -> dict[str, object] | None:
    """Load everything; return the problem, or None.

    The ASGI application comes first and without Django's set-up, as daphne and uvicorn load it.
    """
    import django
    from django.core import checks
    from django.template import TemplateSyntaxError, engines

    importlib.import_module("config.asgi")
    django.setup()
    wrong = [message for message in checks.run_checks() if message.level >= checks.ERROR]
    if wrong:
        return problem(wrong[0].id, wrong[0].msg, by_django=True)
    for module in modules:
        importlib.import_module(module)
    for template in templates:
        try:
            engines["django"].get_template(template.rpartition("templates/")[2])
        except TemplateSyntaxError as error:
            return problem("TemplateSyntaxError", error, [template, 0])
    return None


def problem(
    error: str | None, message: object, place: object = None, by_django: bool = False, text: str = ""
) -> dict[str, object]:
    """Return what is wrong, as the report says it."""
    found = {"error": error, "message": str(message), "place": place}
    return {**found, "shown_by_django": by_django, "traceback": text}


def main(limit: float, arguments: list[str]) -> None:
    """Load what the command line names and report what came of it."""
    faulthandler.dump_traceback_later(limit, exit=True)
    sys.meta_path.insert(0, Watcher())
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    split = arguments.index("--")
    try:
        found = load(arguments[:split], arguments[split + 1 :])
    except BaseException as error:
        # Also SystemExit: whatever the learner's code raises is what the learner must hear.
        text = traceback.format_exc()[-20_000:]
        found = problem(type(error).__name__, error, place(error), shown_by_django(error), text)
    tell(problem=found)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
