"""Start the real things around a step and stop them again: server, worker, mail server.

Tests, notebooks and benchmarks share this module. Everything here is a context manager
or has a `stop()`, and ends what it started by its process id.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import httpx

from tutorial.ports import free_port

SERVERS = {
    "runserver": ["manage.py", "runserver", "--noreload", "{port}"],
    "daphne": ["-m", "daphne", "-b", "127.0.0.1", "-p", "{port}", "config.asgi:application"],
    # The production server: bounded frames, a silent client is gone within 12 s, and no 37 kB for each
    # client's compression, from which short messages gain nothing.
    "uvicorn": [
        *("-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--lifespan", "off"),
        *("--ws-max-size", "65536", "--ws-ping-interval", "5", "--ws-ping-timeout", "5"),
        *("--ws-per-message-deflate", "false"),
        "config.asgi:application",
    ],
}


class NotStarted(RuntimeError):
    """Raised when a process ended or stayed silent instead of starting; its text has the end of its log."""


def wait_until(condition: Callable[[], object], timeout: float = 10, what: str = "the condition") -> object:
    """Return the first true answer of a function, asking again every 20 ms.

    Args:
        condition: The function.
        timeout: Seconds to go on asking.
        what: What is waited for, in words for the error.

    Raises:
        TimeoutError: It was never true.
    """
    deadline = time.monotonic() + timeout
    while True:
        if answer := condition():
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited {timeout} s in vain for {what}.")
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
        self._popen: subprocess.Popen | None = None
        self._start = 0

    @property
    def pid(self) -> int:
        """The id of the running process."""
        return self._popen.pid

    @property
    def output(self) -> str:
        """Everything it has printed since it was started last."""
        return self._log.read_bytes()[self._start :].decode(errors="replace")

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._popen is not None and self._popen.poll() is None

    def spawn(self) -> None:
        """Start it in a session of its own, so that its children can be ended with it."""
        self._start = self._log.stat().st_size
        with self._log.open("ab") as log:
            self._popen = subprocess.Popen(  # noqa: S603
                self._command,
                cwd=self._cwd,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for_output(self, text: str, timeout: float = 20) -> None:
        """Wait until it has printed a text.

        Args:
            text: The text.
            timeout: Seconds to wait.

        Raises:
            NotStarted: It ended or did not print the text in time.
        """
        self._wait_for(lambda: text in self.output, timeout, f"{text!r} in its output")

    def stop(self, timeout: float = 10) -> int | None:
        """End it with SIGTERM, and after `timeout` seconds with SIGKILL; return its exit code."""
        return self._end(signal.SIGTERM, timeout)

    def kill(self) -> int | None:
        """End it and its children as a crash would, with SIGKILL; return its exit code."""
        return self._end(signal.SIGKILL, 10)

    def close(self) -> None:
        """End it and forget its output."""
        self.stop()
        self._log.unlink(missing_ok=True)

    def _end(self, signal_number: int, timeout: float) -> int | None:
        if self._popen is None:
            return None
        # SIGTERM goes to the process, which ends its children in order; SIGKILL to the whole group.
        if signal_number == signal.SIGKILL:
            self._signal_group(signal.SIGKILL)
        else:
            self._popen.send_signal(signal_number)
        try:
            code = self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self._signal_group(signal.SIGKILL)
            code = self._popen.wait()
        self._signal_group(signal.SIGKILL)
        self._popen = None
        return code

    def _signal_group(self, signal_number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal_number)

    def _wait_for(self, condition: Callable[[], object], timeout: float, what: str) -> None:
        def ready_or_ended() -> bool:
            return bool(condition()) or not self.running

        try:
            wait_until(ready_or_ended, timeout, what)
        except TimeoutError as error:
            raise NotStarted(f"{error}\n{self.output[-2000:]}") from error
        if not condition():
            raise NotStarted(f"{' '.join(self._command)} ended:\n{self.output[-2000:]}")

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *exc_info) -> None:
        self.close()


class Server(Process):
    """An ASGI server that serves a step.

    Args:
        site: The step with its database and environment.
        kind: A key of `SERVERS`: runserver, daphne or uvicorn.
        port: The port on 127.0.0.1; a free one if not given.
        arguments: More words for the server's command line.
    """

    def __init__(self, site: "Site", kind: str = "runserver", port: int | None = None, arguments: tuple = ()):
        self.site = site
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        words = [word.format(port=self.port) for word in SERVERS[kind]]
        super().__init__([sys.executable, *words, *arguments], site.step, site.env)

    def start(self, timeout: float = 20) -> "Server":
        """Start it and wait until it answers a request.

        Args:
            timeout: Seconds to wait.

        Raises:
            NotStarted: It did not.
        """
        self.spawn()
        self._wait_for(self._answers, timeout, f"an answer from {self.url}")
        return self

    def websocket_url(self, path: str) -> str:
        """Return the address of a WebSocket on this server, for a path such as `/ws/chat/room1/`."""
        return f"ws://127.0.0.1:{self.port}{path}"

    def _answers(self) -> bool:
        try:
            httpx.get(f"{self.url}/", timeout=5, trust_env=False)
        except httpx.TransportError:
            return False
        return True


class Worker(Process):
    """A Celery worker of a step.

    Args:
        site: The step with its database and environment.
        arguments: More words for its command line.
        env: More variables for its environment.
    """

    def __init__(self, site: "Site", arguments: tuple = (), env: dict[str, str] | None = None):
        command = [sys.executable, "-m", "celery", "-A", "config", "worker", "--loglevel", "INFO"]
        super().__init__(
            [*command, "--concurrency", "2", *arguments],
            site.step,
            site.env | (env or {}),
        )

    def start(self, timeout: float = 20) -> "Worker":
        """Start it and wait until it takes tasks.

        Args:
            timeout: Seconds to wait.

        Raises:
            NotStarted: It did not.
        """
        self.spawn()
        self.wait_for_output(" ready.", timeout)
        return self


class Site:
    """A step with a database of its own, two demo users and the processes that serve it.

    Args:
        step: The directory of the step.
        broker_url: The address of the broker its processes use.
        env: More variables for their environment.
    """

    def __init__(self, step: Path, broker_url: str, env: dict[str, str] | None = None):
        self.step = step
        self._directory = Path(tempfile.mkdtemp(prefix="site-"))
        self._processes: list[Process] = []
        self._shared: dict[str, Server] = {}
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
            "DATABASE_PATH": str(self._directory / "db.sqlite3"),
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PYTHONUNBUFFERED": "1",
            "REDIS_URL": broker_url,
            **(env or {}),
        }
        users = json.loads(self.run("-m", "tutorial.prepare", "--sessions"))
        self.user_ids: dict[str, int] = {name: user["id"] for name, user in users.items()}
        self.sessions: dict[str, str] = {name: user["sessionid"] for name, user in users.items()}

    def run(self, *arguments: str) -> str:
        """Run Python inside the step and return what it printed.

        Args:
            arguments: The words after `python`.

        Raises:
            NotStarted: It failed; the text has its output.
        """
        done = subprocess.run(  # noqa: S603
            [sys.executable, *arguments],
            cwd=self.step,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise NotStarted(f"python {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def server(self, kind: str = "runserver", **options) -> Server:
        """Start a server for the step; it ends with the site. The options are those of `Server`."""
        server = Server(self, kind, **options)
        self._processes.append(server)
        return server.start()

    def shared_server(self, kind: str) -> Server:
        """Return the server of a kind that all callers share; it starts with the first call."""
        if kind not in self._shared:
            self._shared[kind] = self.server(kind)
        return self._shared[kind]

    def worker(self, **options) -> Worker:
        """Start a worker for the step; it ends with the site. The options are those of `Worker`."""
        worker = Worker(self, **options)
        self._processes.append(worker)
        return worker.start()

    @property
    def output(self) -> str:
        """What its processes have printed, one after the other; not that of those which are closed."""
        return "".join(process.output for process in self._processes if process._log.exists())

    def headers(self, origin: str, user: str | None = None) -> dict[str, str]:
        """Return the headers a browser would send: its Origin and, for a demo user, the session cookie."""
        cookie = {"Cookie": f"sessionid={self.sessions[user]}"} if user else {}
        return {"Origin": origin, **cookie}

    def close(self) -> None:
        """End every process and remove the database."""
        for process in reversed(self._processes):
            process.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> "Site":
        return self

    def __exit__(self, *exc_info) -> None:
        self.close()


class MailServer:
    """A real SMTP server that keeps what it is sent.

    Args:
        port: The port on 127.0.0.1; a free one if not given.

    Attributes:
        messages: The mails it has taken, oldest first.
        attempts: How often a client has tried to hand over a mail, taken or not.
        refusal: What it answers to a mail instead of taking it, such as `451 later`; None to take it.
        recipient_refusal: The same for the recipient, whom a mail server is told before the mail.
        stall: An event; while it is clear, every mail waits before it is taken or refused.
    """

    def __init__(self, port: int | None = None):
        from aiosmtpd.controller import Controller

        self.messages: list[EmailMessage] = []
        self.attempts = 0
        self.refusal: str | None = None
        self.recipient_refusal: str | None = None
        self.stall = threading.Event()
        self.stall.set()
        self._controller = Controller(self, hostname="127.0.0.1", port=port or free_port())
        self.port = self._controller.port

    @property
    def env(self) -> dict[str, str]:
        """The variables that make a step send its mail here."""
        return {"EMAIL_HOST": "127.0.0.1", "EMAIL_PORT": str(self.port)}

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options) -> str:
        """Take or refuse a recipient. Called by aiosmtpd, whose name for it this is."""
        if self.recipient_refusal:
            self.attempts += 1
            return self.recipient_refusal
        envelope.rcpt_tos.append(address)
        return "250 taken"

    async def handle_DATA(self, server, session, envelope) -> str:
        """Take or refuse a mail. Called by aiosmtpd, whose name for it this is."""
        self.attempts += 1
        await asyncio.to_thread(self.stall.wait, 60)
        if self.refusal:
            return self.refusal
        self.messages.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 taken"

    def wait_for(self, count: int, timeout: float = 20) -> list[EmailMessage]:
        """Return the mails once there are `count`.

        Args:
            count: How many to wait for.
            timeout: Seconds to wait.

        Raises:
            TimeoutError: There were fewer.
        """
        wait_until(lambda: len(self.messages) >= count, timeout, f"{count} mail(s)")
        return self.messages

    def __enter__(self) -> "MailServer":
        self._controller.start()
        return self

    def __exit__(self, *exc_info) -> None:
        self.stall.set()
        self._controller.stop()
