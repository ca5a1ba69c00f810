"""A pytest plugin that reports what happens: a line of JSON per event, in the file TUTORIAL_EVENTS."""

import json
import os

import pytest


def tell(**event: object) -> None:
    with open(os.environ["TUTORIAL_EVENTS"], "a", encoding="utf-8", errors="replace") as events:
        events.write(json.dumps(event) + "\n")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Report how many tests are going to run."""
    tell(collected=len(session.items))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Report why a test file couldn't be read, or is left out as a whole."""
    if not report.passed:
        tell(test=report.nodeid, outcome=report.outcome, text=reason(report))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Report anything but a success, and that a test has ended."""
    if hasattr(report, "wasxfail"):
        if not report.passed:
            tell(test=report.nodeid, outcome="xfailed", text="")
    elif not report.passed:
        tell(test=report.nodeid, outcome=report.outcome, text=reason(report))
    if report.when == "teardown":
        tell(ended=report.nodeid)


def reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return why a test was skipped, or how it failed."""
    if report.skipped and isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return "\n".join([report.longreprtext, *(f"--- {name} ---\n{text}" for name, text in report.sections)])
