"""Run a copy of a step with a mistake in it, and return what it says."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.mistakes.mistakes import change
from tutorial.course.files import copy_project
from tutorial.course.steps import find_step
from tutorial.services.broker import Broker
from tutorial.services.browser import chromium, launch_options
from tutorial.services.ports import port_problem
from tutorial.services.processes import PATIENCE, NotStarted, Process, wait_until
from tutorial.testing.site import Server, Site, Worker

GREETING = '{"message": "こんにちは!"}'
HANG = 600  # seconds in which a command ends, whatever else the machine does
_lock = threading.Lock()


@cache
def _site(step: int) -> Site:
    site = Site(find_step(str(step)), os.environ["REDIS_URL"])
    atexit.register(site.close)
    return site


class Project(Site):
    """A copy of a step with a broker, a database and processes of its own.

    Of the variables in `env`, None as a value takes one away.
    """

    def __init__(self, step: int, broker: Broker, env: Mapping[str, str | None]):
        with _lock:
            site = _site(step)
        self.broker, self.user_ids, self.sessions = broker, site.user_ids, site.sessions
        self._directory = Path(tempfile.mkdtemp(prefix="project-"))
        self._processes = []
        self.step = copy_project(site.step, self._directory / site.step.name)
        # A database of its own, so that an open transaction locks out no other project.
        database = shutil.copy(site.env["DATABASE_PATH"], self._directory)
        merged = {**site.env, "DATABASE_PATH": database, "REDIS_URL": broker.url, **env}
        self.env = {name: value for name, value in merged.items() if value is not None}

    def worker(self, env: dict[str, str] | None = None) -> Worker:
        """Start a worker that ends with the project."""
        return super().worker(arguments=("--without-mingle", "--without-gossip"), env=env)

    def spawn(self, *arguments: str) -> Process:
        process = Process([sys.executable, *arguments], self.step, self.env)
        self._processes.append(process)
        process.spawn()
        return process

    def run(self, *arguments: str, cwd: Path | None = None) -> str:
        """Run Python in the project to its end and return all that it printed, errors included."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd or self.step,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=HANG,
            check=False,
        ).stdout

    def shell(self, code: str) -> str:
        return self.run("manage.py", "shell", "-c", code)

    def join(self, server: Server, path: str = "/ws/chat/lobby/", **headers: str | None) -> ClientConnection:
        """Open a socket as a browser does; a header of None is not sent."""
        sent = {name: value for name, value in (self.headers(server.url) | headers).items() if value}
        address = server.websocket_url(path)
        return connect(address, additional_headers=sent, proxy=None, open_timeout=PATIENCE)


@contextmanager
def project(
    step: int,
    changes: Mapping[str, tuple[str, ...] | str] | None = None,
    env: Mapping[str, str | None] | None = None,
) -> Iterator[Project]:
    """Lend a copy of a step with a broker of its own, and with changes as for `tests.mistakes.mistakes`."""
    with Broker() as broker, Project(step, broker, env or {}) as lent:
        change(lent.step, changes or {})
        yield lent


@dataclass
class Symptom:
    """A mistake, as for `project`, and the probe that returns what was printed, logged or raised.

    `cure` is the probe for the project without the mistake, if it is another; False where the mistake isn't
    in the project.
    """

    step: int
    probe: Callable[[Project], str]
    changes: Mapping[str, tuple[str, ...] | str] = field(default_factory=dict)
    env: Mapping[str, str | None] = field(default_factory=dict)
    cure: Callable[[Project], str] | bool = True

    @property
    def cured(self) -> Callable[[Project], str]:
        """The probe for the project without the mistake."""
        return self.probe if self.cure is True else self.cure

    def make(self) -> str:
        """Make the mistake and return what it says."""
        with project(self.step, self.changes, self.env) as mistaken:
            return self.probe(mistaken)

    def mend(self) -> str:
        """Run the unchanged step and return what it says."""
        with project(self.step) as mended:
            return self.cured(mended)


class Chat:
    """A probe that opens a socket for each frame, or for a greeting, and returns what client and server say.

    `headers` replace a browser's; one of None is not sent.
    """

    def __init__(
        self,
        *frames: str | bytes,
        path: str = "/ws/chat/lobby/",
        headers: dict[str, str | None] | None = None,
        user: str | None = None,
    ):
        self.frames, self.path, self.headers, self.user = frames or (GREETING,), path, headers or {}, user

    def __call__(self, project: Project) -> str:
        """Serve the project with runserver and talk to it."""
        server = project.server()
        told = self.talk(project, server)
        if "HTTP 404" in told:
            # Django's own server logs a request after it has answered.
            server.wait_for_output('" 404')
        server.stop()
        return told + server.output

    def talk(self, project: Project, server: Server) -> str:
        """Talk to a running server; return what the client gets: answers, a refusal or a close code."""
        told = []
        headers = project.headers(server.url, self.user) | self.headers
        for frame in self.frames:
            try:
                with project.join(server, self.path, **headers) as socket:
                    told.append("the socket is open")
                    socket.send(frame)
                    told.append(f"answer: {socket.recv(timeout=PATIENCE)}")
            except InvalidStatus as refusal:
                told.append(f"HTTP {refusal.response.status_code}")
            except ConnectionClosed as closed:
                told.append(f"close code {closed.rcvd.code if closed.rcvd else 1006}")
        return "".join(f"{line}\n" for line in told)


@cache
def start(kind: str) -> Callable[[Project], str]:
    """Return a probe that starts a server of a kind and returns what it says, whether it runs or not."""

    def probe(project: Project) -> str:
        try:
            server = project.server(kind)
        except NotStarted as ended:
            return str(ended)
        server.stop()
        return server.output

    return probe


@cache
def command(*arguments: str) -> Callable[[Project], str]:
    return lambda project: project.run(*arguments)


@cache
def shell(code: str) -> Callable[[Project], str]:
    return lambda project: project.shell(code)


def opens(
    address: str, script: str = "address => { new WebSocket(address) }", kind: str = "runserver"
) -> Callable[[Project], str]:
    """Return a probe that opens a socket from a page by a script; it returns what the console says."""

    def probe(project: Project) -> str:
        server = project.server(kind)
        with page_of() as page:
            page.goto(f"{server.url}/")
            page.evaluate(script, address.format(host=f"127.0.0.1:{server.port}"))
            return console_of(page)

    return probe


LATE_COMMIT = """
import time
from pathlib import Path
from django.contrib.auth.models import User
from django.db import transaction
from blog.tasks import send_notification_email
with transaction.atomic():
    user = User.objects.create_user("carol", "carol@example.com")
    send_notification_email.delay(user.id, "hello")
    while not Path("seen").exists():
        time.sleep(0.02)
"""


def late_commit(project: Project) -> str:
    """End a transaction only when the worker has looked for the user it makes."""
    worker = project.worker()
    sender = project.spawn("manage.py", "shell", "-c", LATE_COMMIT)
    wait_until(lambda: "raised unexpected" in worker.output or not sender.running, 30, "the task's failure")
    (project.step / "seen").touch()
    return sender.output + worker.output


def skip_beside_rabbitmq() -> None:
    """Skip if something answers on the port of RabbitMQ, Celery's default, which must be missing."""
    if problem := port_problem("127.0.0.1", 5672):
        pytest.skip(f"port 5672 is not free: {problem}")


@contextmanager
def page_of() -> Iterator[Page]:
    """Open a page in a headless Chromium that reaches only 127.0.0.1; without one, skip or, in CI, fail."""
    if chromium() is None:
        say = pytest.fail if os.environ.get("CI") else pytest.skip
        say("no Chromium or Chrome on PATH; the console's texts need one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**launch_options("--host-resolver-rules=MAP * 127.0.0.1"))
        page = browser.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        page.said = []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        yield page
        browser.close()


def console_of(page: Page, about: str = "WebSocket") -> str:
    """Return what a page's console says, once it says a certain word."""

    def speaks() -> bool:
        page.wait_for_timeout(20)  # lets Playwright hand over what has come
        return any(about in text for text in page.said)

    wait_until(speaks, 20, f"a word about {about} in the console")
    return "\n".join(page.said)
