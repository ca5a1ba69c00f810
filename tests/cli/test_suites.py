"""`make test` shows how far it is, a failure when it happens, and ends at once with all it started."""

import contextlib
import os
import pty
import signal
import subprocess
import sys

import psutil
import pytest

from tutorial.course.steps import ROOT
from tutorial.services.processes import alive, end_tree, guard_children, wait_until

# Runs the directories it is given.
RUN = """
import sys
from pathlib import Path
from tutorial.testing.suites import Suite, run_suites
raise SystemExit(run_suites([Suite(Path(name)) for name in sys.argv[1:]]))
"""
# Waits for a file, so that a test decides when it ends.
WAITS = """
import pathlib, time
def test_first():
    pass
def test_waits():
    while not pathlib.Path("go").exists():
        time.sleep(0.05)
"""
FAILS = """
import pytest
def test_fails():
    assert "tea" == "coffee"
@pytest.mark.skip(reason="no kettle on PATH")
def test_skipped():
    pass
"""
# Starts a process that must not survive, and answers Ctrl-C with more waiting.
STUBBORN = """
import pathlib, subprocess, sys, time
def test_passes():
    pass
def test_never_ends():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], start_new_session=True)
    pathlib.Path("child").write_text(f"{child.pid}\\n")
    while True:
        try:
            time.sleep(1000)
        except KeyboardInterrupt:
            pass
"""


@pytest.fixture
def suites(tmp_path):
    """A function that writes suites, starts the command on them, and returns it with its output."""
    started = []

    def suites(terminal=False, **tests):
        for name, code in tests.items():
            (tmp_path / name).mkdir()
            (tmp_path / name / "pytest.ini").write_text("[pytest]")
            (tmp_path / name / "test_it.py").write_text(code)
        ours, theirs = pty.openpty() if terminal else os.pipe()
        command = [sys.executable, "-c", RUN, *(str(tmp_path / name) for name in tests)]
        env = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
        guard_children()
        popen = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        os.set_blocking(ours, False)
        started.append((popen, ours))
        shown = ""

        def output():
            nonlocal shown
            with contextlib.suppress(OSError):
                shown += os.read(ours, 1 << 20).decode()
            return shown

        return popen, output

    yield suites
    for popen, ours in started:
        end_tree(popen)
        os.close(ours)


def test_a_failure_is_shown_while_other_suites_run(tmp_path, suites):
    """You see a failure at once; the end has its name, why tests were skipped, and how to run them."""
    popen, output = suites(waits=WAITS, fails=FAILS)
    wait_until(lambda: "assert 'tea' == 'coffee'" in output(), 60, "the failure")
    assert "FAILED fails: test_it.py::test_fails" in output()
    assert popen.poll() is None
    (tmp_path / "waits/go").touch()
    assert popen.wait(600) == 1
    passed = wait_until(lambda: [line for line in output().splitlines() if line.startswith("passed")], 10)
    assert "waits" in passed[0]
    assert passed[0].endswith("2 passed")
    assert "Skipped 1: no kettle on PATH" in output()
    assert "2 passed, 1 failed, 1 skipped" in output()
    assert "To run fails alone: tutorial test fails" in output()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_everything_and_says_what_had_passed(tmp_path, suites, number):
    """Even a process in a session of its own ends, and a test that handles Ctrl-C itself."""
    popen, output = suites(stubborn=STUBBORN)
    file = tmp_path / "stubborn/child"
    wait_until(lambda: file.exists() and file.read_text().endswith("\n"), 60, "the child")
    child = psutil.Process(int(file.read_text()))
    popen.send_signal(number)
    assert popen.wait(600) == 128 + number
    assert f"Stopped by {'Ctrl-C' if number == signal.SIGINT else 'SIGTERM'}." in output()
    assert "1 passed of 2" in output()
    wait_until(lambda: not alive(child), 10, "its end")


def test_on_a_terminal_a_line_for_each_suite_grows(tmp_path, suites):
    """You see how many tests ended, of how many, and the share of the whole."""
    popen, output = suites(terminal=True, waits=WAITS)
    wait_until(lambda: "1/2" in output() and "0/1 suites" in output(), 60, "the live line")
    (tmp_path / "waits/go").touch()
    wait_until(lambda: "2 passed, 0 failed, 0 skipped" in output(), 60, "the end")
    assert popen.wait(600) == 0
