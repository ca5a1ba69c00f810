"""Make a mistake in a copy of a step, run it, and compare what it says with a page of the docs."""

import atexit
import copy
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from mdit_py_plugins.myst_blocks import myst_block_plugin
from playwright.sync_api import Page, sync_playwright
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tutorial.course.files import copy_project
from tutorial.course.steps import ROOT
from tutorial.services.broker import Broker
from tutorial.services.browser import CHROMIUM_FLAGS, chromium
from tutorial.services.processes import NotStarted, Process, wait_until
from tutorial.testing.site import Server, Site, Worker

GREETING = '{"message": "こんにちは!"}'
OWNERS = {"channels": "django", "channels_redis": "django", "celery": "celery", "kombu": "celery"}
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
# What differs from run to run, and what stands for it on both sides of a comparison.
VARIABLE = [
    (r"(127\.0\.0\.1|localhost)(:|', )\d+", r"\1\2PORT"),
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID"),
    (r"0x[0-9a-f]+", "ADDRESS"),
    (r"\d+\.\d+(e-\d+)?s\b", "SECONDS"),
    (r"\[?\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+: ?", "[TIME: "),
    (r"\[\d\d/\w{3}/\d{4} \d\d:\d\d:\d\d\]", "[TIME]"),
    (r"ForkPoolWorker-\d+", "ForkPoolWorker-N"),
]


class Project:
    """A copy of a step with a broker, a database and processes of its own.

    Args:
        directory: Where the copy stands.
        site: The step's database and demo users; the project gets a copy.
        broker: The running broker.
        stack: What ends the processes.
        env: More variables for the environment; None as a value takes a variable away.
    """

    def __init__(
        self,
        directory: Path,
        site: Site,
        broker: Broker,
        stack: ExitStack,
        env: Mapping[str, str | None],
    ):
        self.directory, self.broker, self._stack = directory, broker, stack
        self._site = copy.copy(site)
        self._site.step = directory
        # A database of its own, so that an open transaction locks no other project out.
        database = shutil.copy(site.env["DATABASE_PATH"], directory.parent)
        merged = {**site.env, "DATABASE_PATH": database, "REDIS_URL": broker.url, **env}
        self._site.env = {name: value for name, value in merged.items() if value is not None}
        self.env = self._site.env
        self.users = site.user_ids

    def server(self, kind: str = "runserver", **options) -> Server:
        """Start a server that ends with the project."""
        return self._stack.enter_context(Server(self._site, kind, **options)).start()

    def worker(self, env: dict[str, str] | None = None) -> Worker:
        """Start a worker that ends with the project."""
        arguments = ("--without-mingle", "--without-gossip")
        return self._stack.enter_context(Worker(self._site, arguments, env)).start()

    def spawn(self, *arguments: str) -> Process:
        """Start Python in the project without waiting for anything."""
        process = self._stack.enter_context(Process([sys.executable, *arguments], self.directory, self.env))
        process.spawn()
        return process

    def run(self, *arguments: str, cwd: Path | None = None) -> str:
        """Run Python in the project to its end and return all that it printed, errors included."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd or self.directory,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=90,
            check=False,
        )
        return done.stdout

    def manage(self, *arguments: str) -> str:
        """Run manage.py and return all that it printed."""
        return self.run("manage.py", *arguments)

    def shell(self, code: str) -> str:
        """Run code in Django's shell and return all that it printed."""
        return self.manage("shell", "-c", code)

    def headers(self, server: Server, user: str | None = None) -> dict[str, str]:
        """Return the headers a browser would send to a server."""
        return self._site.headers(server.url, user)


_sites: dict[str, Site] = {}
_lock = threading.Lock()


def site_of(step: str) -> Site:
    """Return the database with its demo users that every project of a step gets a copy of."""
    with _lock:
        if step not in _sites:
            _sites[step] = Site(ROOT / step, os.environ["REDIS_URL"])
            atexit.register(_sites[step].close)
        return _sites[step]


@contextmanager
def project(
    step: str,
    edits: Mapping[str, tuple | None] = (),
    files: Mapping[str, str] = (),
    env: Mapping[str, str | None] = (),
) -> Iterator[Project]:
    """Copy a step, change the copy and lend it with a broker of its own.

    Args:
        step: The name of the step.
        edits: For a file's name pairs of what to replace once and what with, one pair after the
            other in one flat tuple; None removes the file.
        files: Whole files to write.
        env: More variables for its processes.

    Raises:
        AssertionError: A text to replace does not stand in its file exactly once.
    """
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="project-")) / step
        stack.callback(shutil.rmtree, directory.parent)
        copy_project(ROOT / step, directory)
        for name, replacements in dict(edits).items():
            path = directory / name
            if replacements is None:
                path.unlink()
                continue
            text = path.read_text()
            for old, new in zip(replacements[::2], replacements[1::2], strict=True):
                assert text.count(old) == 1, f"{step}/{name} has {old!r} {text.count(old)} times, not once."
                text = text.replace(old, new)
            path.write_text(text)
        for name, text in dict(files).items():
            (directory / name).write_text(text)
        broker = stack.enter_context(Broker())
        yield Project(directory, site_of(step), broker, stack, dict(env))


@dataclass
class Mistake:
    """A mistake and what shows it.

    Attributes:
        step: The step it is made in.
        probe: Runs the project and returns everything that was printed, logged or raised.
        edits: As for `project`.
        files: As for `project`.
        env: As for `project`.
        cure: The probe for the project without the mistake, if it is another; False where the
            mistake is not in the project.
    """

    step: str
    probe: Callable[[Project], str]
    edits: Mapping[str, tuple | None] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str | None] = field(default_factory=dict)
    cure: Callable[[Project], str] | bool = True

    @property
    def chats(self) -> bool:
        """Whether its cure is to open a socket, so that a server can be shared by many."""
        return hasattr(self.probe if self.cure is True else self.cure, "talk")

    def make(self) -> str:
        """Make the mistake and return what it says."""
        with project(self.step, self.edits, self.files, self.env) as mistaken:
            return self.probe(mistaken)

    def mend(self) -> str:
        """Run the step as it stands and return what it says."""
        with project(self.step) as mended:
            return (self.probe if self.cure is True else self.cure)(mended)


def visit(
    server: Server, headers: Mapping[str, str], *frames: str | bytes, path: str = "/ws/chat/lobby/"
) -> str:
    """Open a socket, send frames, and return what a client is told: answers, a refusal or a close code.

    Args:
        server: The running server.
        headers: What the client sends with the handshake.
        frames: What it sends then; each is answered before the next is sent.
        path: The path of the socket.
    """
    told = []
    try:
        with connect(
            server.websocket_url(path), additional_headers=headers, proxy=None, close_timeout=5
        ) as socket:
            told.append("the socket is open")
            for frame in frames:
                socket.send(frame)
                told.append(f"answer: {socket.recv(timeout=20)}")
    except InvalidStatus as refusal:
        told.append(f"HTTP {refusal.response.status_code}")
    except ConnectionClosed as closed:
        told.append(f"close code {closed.rcvd.code if closed.rcvd else 1006}")
    return "".join(f"{line}\n" for line in told)


class Chat:
    """A probe that opens a socket for each of some frames and tells what client and server say.

    Args:
        frames: The frames; a greeting if none are given.
        path: The path of the socket.
        origin: The Origin that is sent: True for the server's own, None for none.
        user: The demo user whose session cookie is sent.
    """

    def __init__(
        self,
        *frames: str | bytes,
        path: str = "/ws/chat/lobby/",
        origin: str | bool | None = True,
        user: str | None = None,
    ):
        self.frames, self.path, self.origin, self.user = frames or (GREETING,), path, origin, user

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
        """Talk to a running server and return what the client is told."""
        headers = project.headers(server, self.user)
        if self.origin is None:
            del headers["Origin"]
        elif self.origin is not True:
            headers["Origin"] = self.origin
        return "".join(visit(server, headers, frame, path=self.path) for frame in self.frames)


def start(kind: str) -> Callable[[Project], str]:
    """Return a probe that starts a server of a kind and tells what it says, whether it runs or not."""

    def probe(project: Project) -> str:
        try:
            server = project.server(kind)
        except NotStarted as ended:
            return str(ended)
        server.stop()
        return server.output

    return probe


def shell(code: str) -> Callable[[Project], str]:
    """Return a probe that runs code in Django's shell."""
    return lambda project: project.shell(code)


def opens(
    address: str, script: str = "address => { new WebSocket(address) }", kind: str = "runserver"
) -> Callable[[Project], str]:
    """Return a probe that opens a socket from a page and tells what the browser's console says.

    Args:
        address: The address, where `{host}` stands for the server's host and port.
        script: A function of JavaScript that opens it.
        kind: The kind of server.
    """

    def probe(project: Project) -> str:
        server = project.server(kind)
        with page_of() as page:
            page.goto(f"{server.url}/")
            page.evaluate(script, address.format(host=f"127.0.0.1:{server.port}"))
            return console_of(page)

    return probe


def late_commit(project: Project) -> str:
    """Let a transaction end only when the worker has looked for the user it makes."""
    worker = project.worker()
    sender = project.spawn("manage.py", "shell", "-c", LATE_COMMIT)
    wait_until(lambda: "raised unexpected" in worker.output or not sender.running, 30, "the task's failure")
    (project.directory / "seen").touch()
    return sender.output + worker.output


@contextmanager
def page_of() -> Iterator[Page]:
    """Open a page in a headless Chromium that reaches nothing but 127.0.0.1.

    Raises:
        pytest.skip.Exception: There is no Chromium on this machine; a failure where CI is set.
    """
    executable = chromium()
    if executable is None:
        say = pytest.fail if os.environ.get("CI") else pytest.skip
        say("no Chromium or Chrome on PATH; the console's texts need one")
    flags = [*CHROMIUM_FLAGS, "--host-resolver-rules=MAP * 127.0.0.1"]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=flags)
        page = browser.new_page()
        page.said = []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        yield page
        browser.close()


def console_of(page: Page, about: str = "WebSocket") -> str:
    """Return what a page's console says, once it says something about a thing."""
    deadline = time.monotonic() + 20
    while not any(about in text for text in page.said) and time.monotonic() < deadline:
        page.wait_for_timeout(50)
    return "\n".join(page.said)


@dataclass
class Entry:
    """One entry of a page.

    Attributes:
        section: The heading of the part it stands in.
        title: Its own heading.
        texts: Its blocks of text, which stand for what is printed, logged or raised.
        quotes: Its blocks of code.
        body: All of it, as written.
    """

    section: str
    title: str
    texts: list[str]
    quotes: list[str]
    body: str

    @property
    def reported(self) -> bool:
        """Whether it is taken from a report and not provoked here."""
        return "- **Reported:** " in self.body


def read_page(path: Path) -> dict[str, Entry]:
    """Return the entries of a page by the name of the target that stands before each.

    Args:
        path: A page where an entry is a third-level heading with a target such as `(s01)=` before it.
    """
    lines = path.read_text().splitlines()
    tokens = MarkdownIt().use(myst_block_plugin).parse(path.read_text())
    entries, section, target, entry, start = {}, "", None, None, 0
    for token, following in zip(tokens, [*tokens[1:], None], strict=True):
        if token.type == "myst_target":
            target = token.content
        elif token.type == "heading_open":
            if entry:
                entry.body = "\n".join(lines[start : token.map[0]])
            entry = None
            if token.tag == "h3" and target:
                start = token.map[0]
                entry = entries[target] = Entry(section, following.content, [], [], "")
            else:
                section = following.content
            target = None
        elif token.type == "fence" and entry:
            (entry.texts if token.info == "text" else entry.quotes).append(token.content.strip())
    if entry:
        entry.body = "\n".join(lines[start:])
    return entries


def normalised(text: str) -> list[str]:
    """Return the lines of a text with what differs from run to run replaced, and colours removed."""
    text = re.sub(r"\x1b\[[\d;]*m", "", text)
    for pattern, replacement in VARIABLE:
        text = re.sub(pattern, replacement, text)
    return [line.strip() for line in text.splitlines() if line.strip()]


def missing(text: str, said: str) -> list[str]:
    """Return the lines of a block that are not among what was said, in the same order.

    Args:
        text: The block. A line of it is a whole line of what was said; `…` stands for any part.
        said: What was printed, logged or raised.
    """
    rest = iter(normalised(said))
    absent = []
    for line in normalised(text):
        pattern = re.compile(".*".join(map(re.escape, line.split("…"))))
        if not any(pattern.fullmatch(candidate) for candidate in rest):
            absent.append(line)
    return absent


def two_at_a_time(tasks: Mapping[str, Callable[[], str]]) -> Iterator[Callable[[str], str]]:
    """Start tasks, two at a time, and yield a function that waits for one and returns its answer.

    Args:
        tasks: The tasks by name; they start in this order.
    """
    with ThreadPoolExecutor(2) as lanes:
        answers = {name: lanes.submit(task) for name, task in tasks.items()}
        yield lambda name: answers[name].result()
        lanes.shutdown(cancel_futures=True)


def check_links(page: Path) -> None:
    """Check the links of a page without following those that lead outside.

    Args:
        page: The page.

    Raises:
        AssertionError: A link to a file leads nowhere, or a thread's name and address differ.
    """
    for name, address in re.findall(r"\[([^\]]+)\]\(([^)\s]+)\)", page.read_text()):
        thread = re.fullmatch(r"(\w+)#(\d+)", name)
        if thread:
            assert address == f"https://github.com/{OWNERS[thread[1]]}/{thread[1]}/issues/{thread[2]}"
        else:
            file, _, target = address.partition("#")
            path = page.parent / file if file else page
            assert path.is_file(), address
            assert not target or target in read_page(path), address
