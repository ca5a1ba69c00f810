"""Start programs, and end them with everything they have started.

Every process that ours starts carries a mark in its environment. A guard ends all with that mark as soon
as our process is gone, even by SIGKILL. (Linux could signal the children, but does so when the *thread* ends
that started them.)
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Self

import psutil

MARKS = "TUTORIAL_FAMILY"
GUARD = Path(__file__).with_name("guard.py")
# Seconds after which a start has failed. A busy machine takes long; only a hang takes this long.
PATIENCE = 120


class NotStarted(RuntimeError):
    """Raised when a process ended or stayed silent instead of starting; its text has the end of its log."""


def marked(env: Mapping[str, str], mark: str) -> dict[str, str]:
    """Return an environment with one more mark in it."""
    return {**env, MARKS: ",".join(filter(None, (env.get(MARKS), mark)))}


@cache
def _guard(pid: int, *directories: str) -> None:
    mark = uuid.uuid4().hex
    os.environ.update(marked(os.environ, mark))
    subprocess.Popen(  # noqa: S603
        [sys.executable, "-I", GUARD, str(pid), mark, *directories],
        env={},  # it doesn't belong to the family it ends
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ).returncode = 0  # nobody waits for it


def guard_children(*directories: str) -> None:
    """Make sure that everything this process starts from now on ends with it. You may call it again.

    Args:
        directories: What to remove then, too.
    """
    _guard(os.getpid(), *directories)


def alive(process: psutil.Process) -> bool:
    """Tell whether a process runs; one that has ended and whose parent hasn't asked about it does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def family(mark: str) -> list[psutil.Process]:
    """Return the processes that run and carry a mark, except this one."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            marks = process.environ().get(MARKS, "").split(",")
            if mark in marks and process.pid != os.getpid() and alive(process):
                found.append(process)
    return found


def end_family(mark: str) -> None:
    """Kill all processes that carry a mark, except this one, until none is left."""
    for _ in range(200):
        if not (left := family(mark)):
            return
        # First stop them, so that a process that keeps forking can't run away.
        for act in (psutil.Process.suspend, psutil.Process.kill):
            for process in left:
                with contextlib.suppress(psutil.Error):
                    act(process)
        # Not psutil's wait: for a while, process 1 of a container may not ask about the dead.
        until = time.monotonic() + 1
        while any(map(alive, left)) and time.monotonic() < until:
            time.sleep(0.01)


def end_tree(popen: subprocess.Popen[bytes] | subprocess.Popen[str], grace: float = 0, mark: str = "") -> int:
    """End a process and everything it has started; return its exit code.

    Args:
        popen: The process. If it leads a session, everything in that session ends too.
        grace: Seconds it has after SIGTERM to end by itself, and its children in order. With 0 it is
            killed, as by a crash.
        mark: A mark for finding processes that have left the session.
    """
    if grace and popen.poll() is None:
        popen.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            popen.wait(grace)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(popen.pid, signal.SIGKILL)
    if popen.poll() is None:
        popen.kill()
    if mark:
        end_family(mark)
    return popen.wait()


def patience(seconds: float) -> float:
    """Return how long to wait on this machine for something that takes some seconds on an idle one.

    The more processes want to run at this moment, the longer. Slow machines wait too long only
    for something that never comes. If you expect that, set TUTORIAL_PATIENCE to the highest factor.
    """
    wanting = os.getloadavg()[0]
    with contextlib.suppress(OSError):  # only Linux says how many want to run now
        wanting = max(wanting, int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0]))
    times = max(1.0, 2 * wanting / (os.cpu_count() or 1))
    return seconds * min(times, float(os.environ.get("TUTORIAL_PATIENCE", "inf")))


def wait_until(condition: Callable[[], object], timeout: float = 10, what: str = "the condition") -> object:
    """Return the first true answer of a function, asking again every 20 ms.

    Args:
        condition: The function.
        timeout: Seconds to go on asking on an idle machine; longer on a busy one, see `patience`.
        what: What is waited for, in words for the error.

    Raises:
        TimeoutError: It was never true.
    """
    start = time.monotonic()
    while True:
        if answer := condition():
            return answer
        waited = time.monotonic() - start
        if waited > timeout and waited > patience(timeout):
            raise TimeoutError(f"Waited {waited:.0f} s for {what}.")
        time.sleep(0.02)


class Process:
    """A program that runs inside a step, with its output in a file.

    Args:
        command: The words of the command line.
        cwd: The directory it runs in.
        env: Its whole environment.
    """

    def __init__(self, command: list[str], cwd: Path, env: dict[str, str]):
        self._command, self._cwd, self._env = command, cwd, env
        handle, name = tempfile.mkstemp(prefix="process-", suffix=".log")
        os.close(handle)
        self._log = Path(name)
        self._popen: subprocess.Popen[bytes] | None = None
        self._start = 0

    @property
    def pid(self) -> int:
        """The id of the running process."""
        if self._popen is None:
            raise NotStarted(f"{' '.join(self._command)} does not run.")
        return self._popen.pid

    @property
    def output(self) -> str:
        """Everything it has printed since it was started last."""
        return self._log.read_bytes()[self._start :].decode(errors="replace")

    @property
    def running(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    def spawn(self) -> None:
        """Start it in a session of its own, so that its children can be ended with it."""
        guard_children()
        self._start = self._log.stat().st_size
        with self._log.open("ab") as log:
            self._popen = subprocess.Popen(  # noqa: S603
                self._command,
                cwd=self._cwd,
                env=self._env | {MARKS: os.environ[MARKS]},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start(self, timeout: float = 20) -> Self:
        """Start it and wait until it is ready.

        Args:
            timeout: Seconds to wait.

        Raises:
            NotStarted: It ended or wasn't ready in time.
        """
        self.spawn()
        self.wait_until_ready(timeout)
        return self

    def wait_until_ready(self, timeout: float = 20) -> None:
        """Wait until it is ready; the arguments and errors are those of `start()`."""

    def wait_for_output(self, text: str, timeout: float = 20) -> None:
        """Wait until it has printed a text.

        Args:
            text: The text.
            timeout: Seconds to wait.

        Raises:
            NotStarted: It ended or didn't print the text in time.
        """
        self._wait_for(lambda: text in self.output, timeout, f"{text!r} in its output")

    def stop(self, timeout: float = 10) -> int | None:
        """End it with SIGTERM, and after `timeout` seconds with SIGKILL; return its exit code."""
        return self._end(patience(timeout))

    def kill(self) -> int | None:
        """End it and its children as a crash would, with SIGKILL; return its exit code."""
        return self._end(0)

    def close(self) -> None:
        """End it and forget its output."""
        self.stop()
        self._log.unlink(missing_ok=True)

    def _end(self, grace: float) -> int | None:
        if self._popen is None:
            return None
        code = end_tree(self._popen, grace)
        self._popen = None
        return code

    def _wait_for(self, condition: Callable[[], object], timeout: float, what: str) -> None:
        def ready_or_ended() -> bool:
            return bool(condition()) or not self.running

        try:
            wait_until(ready_or_ended, timeout, what)
        except TimeoutError as error:
            raise NotStarted(f"{error}\n{self.output[-2000:]}") from error
        if not condition():
            raise NotStarted(f"{' '.join(self._command)} ended:\n{self.output[-2000:]}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
