"""Follows a lesson as a learner would: types its listings, runs its commands, opens its pages.

What a fenced block means is said by its info string, of which a code host shows nothing:

    python chat/routing.py    a new file, typed as it is here; of a file that exists, lines that are in it
    diff chat/consumers.py    lines to add and to remove, for good; the others say where
    diff PATH mistake         a mistake made on purpose, taken back at the next heading
    console                   commands after `$ `, each with all of its output
    console NAME              the same in the terminal NAME, where the last command goes on running;
                              without a command, what that terminal has printed since
    text page PATH [USER]     a page of the server, opened as a demo user, and a part of its text;
                              without a path, of the page that is open; `:8001` is the preview's
    js browser PATH [USER]    typed into the console of such a page; without a path, of the one that is open
    text browser              what the console of the page opened last shows

What the text tells the reader to do is done by a comment: `<!-- browser: CODE -->` in the open page,
`<!-- stop: NAME -->` and `<!-- kill: NAME -->` in a terminal.

In expected output `...` matches anything. A broker runs, unless the lesson starts one. Any other
block fails, unless the line before it is `<!-- unchecked: REASON -->`.
"""

import doctest
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from sybil import Document, Example, Region
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

from tutorial.course.files import project_files, write_files
from tutorial.course.steps import ROOT
from tutorial.learn.playground import STATE, State
from tutorial.learn.typed import HEADING, Typed, beginning
from tutorial.services.broker import Broker
from tutorial.services.browser import launch_options
from tutorial.services.ports import free_port
from tutorial.services.processes import Process, wait_until
from tutorial.testing.site import Site

FENCES = RawFencedCodeBlockLexer(re.compile(r"(?P<info>[^\n]*)\n"))
ACTION = re.compile(r"^<!-- (browser|stop|kill): (.*) -->$", re.MULTILINE)
UNCHECKED = re.compile(r"<!-- unchecked: \S.* -->\s*\Z")
# What differs from run to run. Both sides of a comparison are normalised.
VARYING = [
    (re.compile(r"\b\d+(\.\d+)? ?m?s\b"), "0 s"),
    (re.compile(r"\[[\d:./ -]{17,}[^]]*\]"), "[time]"),
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "id"),
    (re.compile(r"\[(\d+\.\d+, )?127\.0\.0\.1:\d+\]"), "[client]"),
    (re.compile(r"\bin \d+\.\d+s\b"), "in 0s"),
    (re.compile(r" It is the one that REDIS_URL names\."), ""),  # each lesson has a broker of its own
    (re.compile(r" \(\d+:\d\d:\d\d\)"), ""),  # which pytest adds to more than a minute
]
PREVIEW = "ChatConsumer is ready"
# Whether each visitor in the preview is connected or refused; on a busy machine, the last is so long after.
SETTLED = """[...document.querySelectorAll("#panes [role=status]")].every(
    (it) => !/Connecting|not running/.test(it.textContent))"""
TIMEOUT = 60  # seconds until output is missed on an idle machine
HANG = 600  # seconds; only a command that hangs takes as long


def contents(directory: Path) -> dict[str, str]:
    """Return the text of every file of a project by its path, without lesson and progress."""
    found = project_files(directory)
    return {name: path.read_text() for name, path in found.items() if name not in ("README.md", STATE)}


class Playground:
    """What `tutorial start` makes, in which a lesson is followed.

    Args:
        step: The directory of the step whose lesson it is.
        directory: An empty directory, in which the playground is made.
        each_save: Restart a server at each change of its code, not only before it is looked at.
    """

    def __init__(self, step: Path, directory: Path, each_save: bool = True):
        self.step, self.each_save = step, each_save
        self._exit = ExitStack()
        self.root = directory / "playground"
        self.cwd = directory
        self.port, self.preview_port, broker_port = free_port(), free_port(), free_port()
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "REDIS_URL": f"redis://127.0.0.1:{broker_port}",
            "TUTORIAL_BROKER_PORT": str(broker_port),
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "100",
        }
        self.broker_port = broker_port
        if "console broker" not in (step / "README.md").read_text():
            self._exit.enter_context(Broker(broker_port))
        self.terminals: dict[str, Process] = {}
        self.files = Typed()
        self.mistakes: list[tuple[str, str]] = []
        self.page = None
        self.messages: list[str] = []
        self.stale = False

    # What a lesson's blocks do

    def start_playground(self) -> None:
        self.files = beginning(self.step)
        write_files({name: text.encode() for name, text in self.files.items()}, self.root)
        State(self.step.name).write(self.root)

    def listing(self, path: str, source: str) -> None:
        """Type a file, or compare a listing with one that exists."""
        self.files.listing(path, source)
        self.save({path})

    def change(self, path: str, source: str, mistake: bool) -> None:
        """Change a file; a mistake is taken back later."""
        self.files.change(path, source)
        if mistake:
            self.mistakes.append((path, source))
        self.save({path})

    def take_back(self) -> None:
        paths = {path for path, _ in self.mistakes}
        while self.mistakes:
            self.files.change(*self.mistakes.pop(), back=True)
        self.save(paths)

    def save(self, paths: set[str]) -> None:
        """Write files. A server that runs has old code until it is started again."""
        ready = self.terminals["preview"].output.count(PREVIEW) if "preview" in self.terminals else 0
        for path in paths:
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(self.files[path])
        self.stale |= any(path.endswith(".py") for path in paths)
        if self.each_save:
            self.reload()
        if paths and "preview" in self.terminals:
            output = self.terminals["preview"]
            wait_until(lambda: output.output.count(PREVIEW) > ready, TIMEOUT, "the preview")

    def console(self, terminal: str | None, source: str) -> None:
        """Run the commands of a console block and compare their output."""
        first, *commands = re.split(r"^\$ ", source, flags=re.MULTILINE)
        if first:
            self.compare(first, lambda: self.terminals[terminal].output)
        for command in commands:
            line, _, expected = command.partition("\n")
            if line.startswith("cd "):
                self.cwd = (self.cwd / line[3:]).resolve()
                continue
            if line.startswith("tutorial start "):
                self.start_playground()
                continue
            # The lesson says what a learner types; here everything has a port of its own.
            # Without the reloader, whose first look at the files may come too late on a busy machine.
            line = re.sub(r"runserver$", "runserver --noreload 8000", line).replace("8000", str(self.port))
            line = re.sub(r"preview$", f"preview --port {self.preview_port}", line)
            if terminal and command is commands[-1]:
                self.start(terminal, line, expected)
            else:
                done = subprocess.run(
                    ["bash", "-c", line],
                    cwd=self.cwd,
                    env=self.env,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    timeout=HANG,
                )
                self.compare(expected, lambda done=done: done.stdout, whole=True)

    def start(self, terminal: str, line: str, expected: str) -> None:
        """Start a command that goes on running in a terminal, instead of the one that ran there."""
        if terminal in self.terminals:
            self.terminals.pop(terminal).close()
        process = Process(["bash", "-c", f"exec env {line}"], self.cwd, self.env)
        process.spawn()
        self.terminals[terminal] = process
        if terminal == "server":
            self.server_line, self.stale = line, False
            wait_until(self.server_answers, TIMEOUT, "the server")
        self.compare(expected, lambda: process.output)

    def open_page(self, path: str, user: str | None = None) -> None:
        """Open a page of the server in a browser of its own, as a demo user or as nobody."""
        context = self.browser.new_context()
        context.set_default_timeout(1000 * HANG)
        if user:
            env = {"DATABASE_PATH": str(self.root / "db.sqlite3")}
            with Site(self.root, self.env["REDIS_URL"], env) as site:
                session = site.sessions[user]
            cookie = {"name": "sessionid", "value": session, "domain": "127.0.0.1", "path": "/"}
            context.add_cookies([cookie])
        self.messages = []
        self.page = context.new_page()
        self.page.on("console", lambda message: self.messages.append(message.text))
        origin = f"http://127.0.0.1:{self.port}"
        if path.startswith(":8001"):
            origin, path = f"http://127.0.0.1:{self.preview_port}", path.removeprefix(":8001")
        self.page.goto(origin + path)

    def page_shows(self, expected: str) -> None:
        """Wait until the page has the lines of a text, in their order, whatever is between them."""
        lines = [line for line in self.normalised(expected).splitlines() if line.strip(" .")]

        def shown() -> bool:
            text, end = self.normalised(self.page.inner_text("body")), 0
            for line in lines:
                end = text.find(line, end) + len(line)
                if end < len(line):
                    return False
            return True

        try:
            wait_until(shown, TIMEOUT)
        except TimeoutError:
            raise AssertionError(f"Expected:\n{expected}\nShown:\n{self.page.inner_text('body')}") from None

    def browser_shows(self, expected: str) -> None:
        """Wait until the console of the page shows something."""

        def shown() -> str:
            self.page.wait_for_timeout(20)  # lets Playwright hand over what has come
            return "\n".join(self.messages)

        self.compare(expected, shown)

    # What they need

    def reload(self) -> None:
        """Start a server that has old code again, as runserver's reloader would."""
        if self.stale and "server" in self.terminals:
            self.start("server", self.server_line, "")
        self.stale = False

    def server_answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    @property
    def browser(self):
        """A headless Chromium, started with the first page."""
        if not hasattr(self, "_browser"):
            from playwright.sync_api import sync_playwright

            playwright = self._exit.enter_context(sync_playwright())
            self._browser = playwright.chromium.launch(**launch_options())
            self._exit.callback(self._browser.close)
        return self._browser

    def normalised(self, text: str) -> str:
        """Return a text with what differs from run to run replaced."""
        text = (
            text.replace(str(self.port), "8000")
            .replace(str(self.preview_port), "8001")
            .replace(str(self.broker_port), "6379")
        )
        text = text.replace(str(ROOT), "").replace(str(self.root.parent), "")
        for pattern, replacement in VARYING:
            text = pattern.sub(replacement, text)
        return text.strip() + "\n"

    def compare(self, expected: str, output: Callable[[], str], whole: bool = False) -> None:
        """Compare an output with what is expected, and wait for it where it still grows."""
        want = self.normalised(expected)
        if not whole:
            want = f"...{want.strip().strip('.')}...\n"

        def same() -> bool:
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            return doctest.OutputChecker().check_output(want, self.normalised(output()), flags)

        try:
            wait_until(same, 0 if whole else TIMEOUT)
        except TimeoutError:
            raise AssertionError(f"Expected:\n{want}\nShown:\n{self.normalised(output())}") from None

    def __enter__(self) -> "Playground":
        return self

    def __exit__(self, *exc_info) -> None:
        self._exit.close()
        for process in self.terminals.values():
            process.close()


class LessonParser:
    """A Sybil parser that gives every fenced block and heading of a lesson its meaning in a playground."""

    def __init__(self, playground: Playground):
        self.playground = playground

    def __call__(self, document: Document) -> Iterator[Region]:
        """Yield the regions of a lesson in which something is to be done."""
        for block in FENCES(document):
            if not UNCHECKED.search(document.text[: block.start]):
                # Not the lexeme "source", which has lost the indentation that all lines share.
                lines = document.text[block.start : block.end].splitlines(keepends=True)
                yield Region(block.start, block.end, (lines[0], "".join(lines[1:-1])), self.evaluate)
        for heading in HEADING.finditer(document.text):
            yield Region(heading.start(), heading.end(), None, lambda example: self.playground.take_back())
        for action in ACTION.finditer(document.text):
            yield Region(action.start(), action.end(), action.groups(), self.act)

    def act(self, example: Example) -> None:
        match example.parsed:
            case "browser", code:
                self.playground.reload()
                page = self.playground.page
                wait_until(lambda: page.evaluate(SETTLED), TIMEOUT, "the preview's three visitors")
                page.evaluate(f"() => {{ {code} }}")
            case "kill", terminal:
                self.playground.terminals[terminal].kill()
                self.playground.terminals.pop(terminal).close()
            case "stop", terminal:
                self.playground.terminals.pop(terminal).close()

    def evaluate(self, example: Example) -> str | None:
        """Do what a block says; return what is wrong, or None."""
        first_line, source = example.parsed
        info = first_line.strip("`~\n").split()
        follow = self.playground
        if info[1:2] in (["page"], ["browser"]) or info[:1] == ["console"]:
            follow.reload()
        try:
            match info:
                case ["console"] | ["console", _]:
                    follow.console(info[1] if info[1:] else None, source)
                case ["text", "page", *words]:
                    if words:
                        follow.open_page(*words)
                    follow.page_shows(source)
                case ["js", "browser", *words]:
                    if words:
                        follow.open_page(*words)
                    follow.page.evaluate(f"() => {{ {source} }}")
                case ["text", "browser"]:
                    follow.browser_shows(source)
                case ["diff", path]:
                    follow.change(path, source, mistake=False)
                case ["diff", path, "mistake"]:
                    follow.change(path, source, mistake=True)
                case [_, path] if (follow.step / path).is_file():
                    follow.listing(path, source)
                case _:
                    return f"Nothing checks this block: {first_line}"
        except AssertionError as error:
            return str(error)
        return None
