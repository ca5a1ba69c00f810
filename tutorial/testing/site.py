"""A step with its own database, and the servers and workers that serve it.

Tests, notebooks and the load lab share this module. Everything ends with its context manager or `close()`.
"""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import httpx

from tutorial.services.ports import free_port
from tutorial.services.processes import NotStarted, Process, guard_children, patience

SERVERS = {
    "runserver": ["manage.py", "runserver", "--noreload", "{port}"],
    "daphne": ["-m", "daphne", "-b", "127.0.0.1", "-p", "{port}", "config.asgi:application"],
    # The production server: bounded frames, a silent client is gone within 12 s, and no 37 kB for each
    # client's compression, from which short messages gain nothing.
    "uvicorn": [
        *("-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}"),
        *("--ws-max-size", "65536", "--ws-ping-interval", "5", "--ws-ping-timeout", "5"),
        *("--ws-per-message-deflate", "false"),
        "config.asgi:application",
    ],
}
# Step 5 as on a server for others, but on this machine and so without HTTPS.
PRODUCTION = {
    "DJANGO_SETTINGS_MODULE": "config.production",
    "SECRET_KEY": secrets.token_urlsafe(50),
    "ALLOWED_HOSTS": "127.0.0.1",
    "HTTPS": "0",
}


class Server(Process):
    """An ASGI server that serves a step.

    Args:
        site: The step with its database and environment.
        kind: A key of `SERVERS`: runserver, daphne or uvicorn; or the words after `python`.
        port: The port on 127.0.0.1; a free one if not given. `{port}` in the words is replaced by it.
        arguments: More words for the server's command line.
        env: More variables for its environment.
    """

    def __init__(
        self,
        site: "Site",
        kind: str | Sequence[str] = "runserver",
        port: int | None = None,
        arguments: Sequence[str] = (),
        env: dict[str, str] | None = None,
    ):
        self.site = site
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        words = [word.format(port=self.port) for word in (SERVERS[kind] if isinstance(kind, str) else kind)]
        super().__init__([sys.executable, *words, *arguments], site.step, site.env | (env or {}))

    def wait_until_ready(self, timeout: float = 20) -> None:
        """Wait until it answers a request."""
        self._wait_for(self._answers, timeout, f"an answer from {self.url}")

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

    def __init__(self, site: "Site", arguments: Sequence[str] = (), env: dict[str, str] | None = None):
        command = [sys.executable, "-m", "celery", "-A", "config", "worker", "--loglevel", "INFO"]
        command += ["--concurrency", "2", *arguments]
        super().__init__(command, site.step, site.env | (env or {}))

    def wait_until_ready(self, timeout: float = 20) -> None:
        """Wait until it takes tasks."""
        self.wait_for_output(" ready.", timeout)

    def end_of(self, task_id: str) -> str:
        """Return how a task first ended by the log: `succeeded`, `raised`, `retry`, or empty before."""
        found = re.search(rf"\[{task_id}\] (succeeded|raised|retry)", self.output)
        return found[1] if found else ""


class Site:
    """A step with a database of its own, two demo users and the processes that serve it.

    Args:
        step: The directory of the step.
        broker_url: The address of the broker its processes use.
        env: More variables for their environment.
    """

    def __init__(self, step: Path, broker_url: str, env: dict[str, str] | None = None):
        guard_children()
        self.step = step
        self._directory = Path(tempfile.mkdtemp(prefix="site-"))
        self._processes: list[Process] = []
        self._shared: dict[str, Server] = {}
        self.page_errors: list[str] = []  # what scripts did not catch, in pages of the test that runs
        self.env = {
            "DJANGO_SETTINGS_MODULE": "config.settings",
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
            "DATABASE_PATH": str(self._directory / "db.sqlite3"),
            "PYTHONUNBUFFERED": "1",
            "REDIS_URL": broker_url,
            **(env or {}),
        }
        users = json.loads(self.run("-m", "tutorial.services.demo_data", "--sessions"))
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
            timeout=patience(60),
            check=False,
        )
        if done.returncode:
            raise NotStarted(f"python {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def server(
        self, kind: str = "runserver", port: int | None = None, arguments: Sequence[str] = ()
    ) -> Server:
        """Start a server for the step; it ends with the site. The arguments are those of `Server`."""
        server = Server(self, kind, port, arguments)
        self._processes.append(server)
        return server.start()

    def spawn_shared(self, kind: str) -> None:
        """Start the server of a kind that all callers share, and don't wait for it."""
        self._shared[kind] = Server(self, kind)
        self._processes.append(self._shared[kind])
        self._shared[kind].spawn()

    def shared_server(self, kind: str) -> Server:
        """Return the server of a kind that all callers share; it starts with the first call."""
        if kind not in self._shared:
            self.spawn_shared(kind)
        self._shared[kind].wait_until_ready()
        return self._shared[kind]

    def worker(self, arguments: Sequence[str] = (), env: dict[str, str] | None = None) -> Worker:
        """Start a worker for the step; it ends with the site. The arguments are those of `Worker`."""
        worker = Worker(self, arguments, env)
        self._processes.append(worker)
        return worker.start()

    def stop_workers(self) -> None:
        """End the workers, so that what is queued stays in the queue."""
        for process in self._processes:
            if isinstance(process, Worker):
                process.stop()

    @property
    def output(self) -> str:
        """The output of its processes, one after the other, without closed ones."""
        return "".join(process.output for process in self._processes if process._log.exists())

    def headers(self, origin: str, user: str | None = None) -> dict[str, str]:
        """Return the headers a browser would send: its Origin and, for a demo user, the session cookie."""
        cookie = {"Cookie": f"sessionid={self.sessions[user]}"} if user else {}
        return {"Origin": origin, **cookie}

    def close(self) -> None:
        """End every process and remove the database."""
        for process in reversed(self._processes):
            process.kill()  # its database goes with it, so it needs no end in order: that takes seconds
            process.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
