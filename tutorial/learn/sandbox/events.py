"""A pytest plugin that tells `tutorial check` what happens: one line of JSON for each event, as it happens.

Loaded with `-p`. The environment names the file (`TUTORIAL_REPORT`), the tests to begin with
(`TUTORIAL_FIRST`, names with commas between, in groups with semicolons between), and those without which
the others need not run (`TUTORIAL_NEEDED`).
"""

import inspect
import linecache
import os
import re
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from tutorial.learn.sandbox.load_check import tell
from tutorial.services.processes import patience

LONGEST = 2000  # characters of any text that is passed on
# Later for what takes longer to start: servers and commands, then a worker, then a browser.
# A test that starts and stops nothing itself has its answers in milliseconds. It waits for them this part of
# what tests wait elsewhere, so that a mistake is known soon.
HURRY = 0.2
COSTS = {"site": 1, "server": 1, "pytestconfig": 1, "mail_server": 2, "worker": 2, "mail": 2, "browser": 3}

_patience = os.environ.get("TUTORIAL_PATIENCE", "inf")
_comparison: dict[str, str] | None = None
_failed: set[str] = set()


def pytest_configure() -> None:
    """Tell that pytest has started."""
    tell(event="starts")


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Tell that a file is being read."""
    tell(event="reads", name=collector.name)


def pytest_sessionfinish() -> None:
    """Tell that the last test has ended: what was started for all of them is ended next."""
    tell(event="ends")


def cost(item: pytest.Item) -> int:
    """Return how late a test should run."""
    return max((COSTS.get(name, 0) for name in getattr(item, "fixturenames", ())), default=0)


def function_name(item: pytest.Item) -> str:
    """Return the name of a test's function, without its parameters."""
    return (item.originalname if isinstance(item, pytest.Function) else "") or item.name


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run first what was asked for, then the fast tests."""
    groups = os.environ.get("TUTORIAL_FIRST", "").split(";")
    ranks: dict[str, int] = {}
    for rank, group in enumerate(groups):
        for name in group.split(","):
            ranks.setdefault(name, rank)
    items.sort(key=lambda item: (ranks.get(function_name(item), len(groups)), cost(item)))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell what is going to run, in its order."""
    tests = []
    for item in session.items:
        text = (getattr(item, "function", item).__doc__ or item.name).strip().splitlines()[0]
        tests.append({"module": item.path.stem, "name": function_name(item), "text": text})
    tell(event="collected", tests=tests)


def pytest_runtest_logstart(nodeid: str) -> None:
    """Tell that a test begins."""
    tell(event="begins", test=nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out the other cases of a requirement that has failed, and say how long to wait for answers."""
    global _comparison
    _comparison = None
    os.environ["TUTORIAL_PATIENCE"] = _patience
    if isinstance(item, pytest.Function) and "site" not in inspect.signature(item.function).parameters:
        os.environ["TUTORIAL_PATIENCE"] = str(HURRY * patience(1))
    if item.nodeid.partition("[")[0] in _failed:
        pytest.skip("another case of it has failed")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call() -> None:
    """Say anew how long a page may take: the machine may be busier than when the browser started."""
    if playwright := sys.modules.get("playwright.async_api"):
        playwright.expect.set_options(timeout=1000 * patience(10))


def pytest_assertrepr_compare(op: str, left: object, right: object) -> None:
    """Keep the two sides of a comparison that did not hold; pytest goes on to explain it as ever."""
    global _comparison
    _comparison = {"op": op, "left": shown(left), "right": shown(right)}


def shown(value: object) -> str:
    """Return a value as text, of bounded length whatever its own code does."""
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__name__}, whose repr() raises {type(error).__name__}>"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell how each phase of a test has ended."""
    report = yield
    event: dict[str, object] = {
        "event": report.when,
        "outcome": report.outcome,
        "seconds": report.duration,
        "module": item.path.stem,
        "name": function_name(item),
        "case": item.callspec.id if hasattr(item, "callspec") else "",
    }
    if report.failed and call.excinfo:
        _failed.add(item.nodeid.partition("[")[0])
        if function_name(item) in os.environ.get("TUTORIAL_NEEDED", "").split(","):
            item.session.shouldfail = "the others build on it"
        event |= failure(item, call.excinfo, report)
    tell(**event)
    return report


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Tell why a test file could not be read."""
    if report.failed:
        text = str(report.longrepr)
        tell(event="not collected", module=Path(report.nodeid).stem, traceback=text[-4 * LONGEST :])


def failure(
    item: pytest.Item, excinfo: pytest.ExceptionInfo[BaseException], report: pytest.TestReport
) -> dict[str, object]:
    """Return what is known about a failed test."""
    root = item.config.rootpath
    error = excinfo.value
    frames: list[list[str | int]] = []
    test: list[str | int] | None = None
    for entry in excinfo.traceback:
        path, line = Path(str(entry.path)), entry.lineno + 1
        if path == item.path:
            test = [path.name, line, linecache.getline(str(path), line).strip()]
        elif place := own_place(root, path, line):
            frames.append(place)
    site = getattr(item, "funcargs", {}).get("site")
    said = server_said(getattr(site, "output", ""))
    return {
        "error": type(error).__name__,
        "message": shown_message(error),
        "comparison": _comparison if isinstance(error, AssertionError) else None,
        "frames": frames,
        "test": test,
        "server": last_error(said),
        "server_frames": own_frames(root, said),
        "page": next(iter(getattr(site, "page_errors", ())), "")[:LONGEST],
        "traceback": str(report.longrepr)[-10 * LONGEST :],
    }


def shown_message(error: BaseException) -> str:
    """Return what an exception says."""
    try:
        return str(error)[:LONGEST]
    except Exception:
        return ""


def own_place(root: Path, path: Path, line: int) -> list[str | int] | None:
    """Return file and line if a file is the learner's own, else None."""
    if path.is_relative_to(root) and not path.is_relative_to(root / "tests"):
        return [path.relative_to(root).as_posix(), line]
    return None


def server_said(output: str) -> str:
    """Return the last traceback that a server or worker has printed, or an empty text."""
    return (
        output[-100_000:].rpartition("Traceback (most recent call last)")[2] if "Traceback" in output else ""
    )


def last_error(said: str) -> str:
    """Return the line of a traceback that names the exception."""
    found = re.findall(
        r"^(?:[\w.]*\s*\|\s*)?([A-Za-z_][\w.]*(?:Error|Exception|Exit|Denied|Found|Ready|Exist|Match|Configured)\b.*)$",
        said,
        re.M,
    )
    return found[0][:LONGEST] if found else ""


def own_frames(root: Path, said: str) -> list[list[str | int]]:
    """Return file and line of the learner's own files in a traceback."""
    frames = (
        own_place(root, Path(path), int(line)) for path, line in re.findall(r'File "(.+?)", line (\d+)', said)
    )
    return [frame for frame in frames if frame]
