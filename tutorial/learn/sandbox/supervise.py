"""Run a learner's code so that it can't hang, flood or leave anything behind."""

import contextlib
import json
import os
import re
import subprocess
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tutorial.services.processes import end_tree, guard_children, marked, patience
from tutorial.services.signals import uninterrupted

OUTPUT_KEPT = 64 * 1024  # bytes
OUTPUT_LIMIT = 64 * 1024 * 1024  # bytes; what prints more is ended
# What Python's faulthandler prints above the stacks of a program that took too long.
# pytest's dots may be before it, in the same line.
TIMEOUT = re.compile(r"Timeout \(\d+:\d\d:\d\d(?:\.\d+)?\)!$", re.MULTILINE)
# What a learner may have exported for a try is no part of the project that is judged.
UNWANTED = (
    *("PYTEST_", "DJANGO_SETTINGS_MODULE", "TUTORIAL_FIRST", "COV_", "COVERAGE"),
    *("SECRET_KEY", "ALLOWED_HOSTS", "HTTPS", "EMAIL_", "DATABASE_"),
    *("CELERY_BROKER_URL", "VISIBILITY_TIMEOUT"),
)


@dataclass
class Ended:
    """How a process came to its end.

    Attributes:
        code: Its exit code; None if it was ended from here.
        why: `ended`, `hung`, `printed too much` or `cancelled`.
        silent: Seconds since its last sign of life.
        output: The end of what it printed; the stacks of its threads, where it hung.
        printed: How many bytes it printed.
    """

    code: int | None
    why: str
    silent: float
    output: str
    printed: int


def supervise(
    command: list[str],
    cwd: Path,
    report: Path,
    limit: float,
    on_event: Callable[[dict[str, Any]], None],
    cancel: Callable[[], bool] = lambda: False,
    env: dict[str, str] | None = None,
) -> Ended:
    """Run a learner's code and end it, with all that it has started, when it is done or hangs.

    Args:
        command: The words of the command line. The program itself watches its time, by Python's faulthandler.
        cwd: Where it runs.
        report: A file to which it appends lines of JSON.
        limit: Seconds without a new line after which it hangs, even if its faulthandler says nothing.
        on_event: Called with each line.
        cancel: Ends it when this is true.
        env: More variables for its environment.
    """
    mark = uuid.uuid4().hex
    guard_children()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(UNWANTED)}
    report.touch()
    popen = subprocess.Popen(  # noqa: S603
        command,
        cwd=cwd,
        env={
            **marked(inherited, mark),
            "TUTORIAL_REPORT": str(report),
            "PYTHONUNBUFFERED": "1",
            **(env or {}),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert popen.stdout  # noqa: S101 - a pipe
    printed = Printed(popen.stdout)
    try:
        with report.open(encoding="utf-8", errors="replace") as lines:
            last, why = time.monotonic(), "ended"
            while why == "ended":
                running = popen.poll() is None
                for event in new_events(lines):
                    last = time.monotonic()
                    on_event(event)
                if not running:
                    break
                if cancel():
                    why = "cancelled"
                elif printed.size > OUTPUT_LIMIT:
                    why = "printed too much"
                elif time.monotonic() - last > limit and time.monotonic() - last > patience(limit):
                    why = "hung"
                else:
                    time.sleep(0.03)
    finally:
        code = popen.poll()
        with uninterrupted():
            end_tree(popen, mark=mark)
        printed.finish()
    if code == 1 and TIMEOUT.search(printed.text):
        why = "hung"
    return Ended(code, why, time.monotonic() - last, printed.text, printed.size)


def new_events(lines: IO[str]) -> list[dict[str, Any]]:
    """Return what has been appended to a report since it was read last."""
    events: list[dict[str, Any]] = []
    while True:
        position = lines.tell()
        line = lines.readline()
        if not line.endswith("\n"):
            lines.seek(position)
            return events
        with contextlib.suppress(ValueError):
            events.append(json.loads(line))


class Printed:
    """Reads what a process prints, all of it, and keeps the end."""

    def __init__(self, pipe: IO[bytes]):
        self.size = 0
        self._pipe = pipe
        self._kept: deque[bytes] = deque()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        kept = 0
        with contextlib.suppress(OSError, ValueError):
            while chunk := os.read(self._pipe.fileno(), OUTPUT_KEPT):
                self._kept.append(chunk)
                self.size += len(chunk)
                kept += len(chunk)
                while kept - len(self._kept[0]) > OUTPUT_KEPT:
                    kept -= len(self._kept.popleft())

    def finish(self) -> None:
        """Wait until everything has been read."""
        self._thread.join(5)
        self._pipe.close()

    @property
    def text(self) -> str:
        """The end of what was printed."""
        return b"".join(self._kept)[-OUTPUT_KEPT:].decode(errors="replace")
