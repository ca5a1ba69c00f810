"""`tutorial doctor`: whether this machine can run and test the course, and what to do where it cannot."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import redis
import typer
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tutorial.course.steps import ROOT, all_steps
from tutorial.services.broker import DEFAULT_PORT, DEFAULT_URL, Broker, NoBroker, answers, reachable_broker
from tutorial.services.browser import CHROMIUM_FLAGS, chromium
from tutorial.services.ports import port_problem
from tutorial.services.processes import NotStarted, Process, end_tree

PYTHONS = SpecifierSet(">=3.11,<3.15")
LOCK = ROOT / "requirements.txt"
# The step that has a worker.
STEP = all_steps()[-1]
# Where `make run` listens.
PORT = 8000
# The channel layer waits with BZPOPMIN, which came with this version of Redis.
OLDEST_BROKER = Version("5.0")
# Bytes. The environment with everything takes about 0.8 GB.
ENOUGH_DISK = 1_000_000_000
# Seconds that a worker or a browser may take. Not a promise: it is there so that nothing hangs.
PATIENCE = 30
NO_BROKER = "Install Docker and run `docker compose up -d broker`, or use WSL on Windows."
REINSTALL = "Delete .venv and run `make test`: it installs what the lock says."


class Failed(Exception):
    """Raised by a check; its texts are what was found and what to do about it."""

    def __init__(self, found: object, cure: str):
        super().__init__(str(found), cure)
        self.found, self.cure = str(found), cure


class Lacking(Failed):
    """Raised by a check for what the course can do without."""


@dataclass
class Line:
    """What came of one check.

    Attributes:
        name: What was looked at.
        ok: Whether the course can be run and tested.
        found: What was found, in a line.
        cure: What to do; for what the course can do without, what that means.
    """

    name: str
    ok: bool
    found: str
    cure: str = ""


def python() -> str:
    """Return the version of the Python that runs this."""
    found = platform.python_version()
    if not PYTHONS.contains(found, prereleases=True):
        raise Failed(
            f"{found}, where {PYTHONS} is needed", "Install such a Python, then: make PYTHON=python3.13 run"
        )
    return found


def locked() -> Iterator[Requirement]:
    """Yield what the lock asks for on this machine."""
    for line in LOCK.read_text().replace("\\\n", " ").splitlines():
        text = line.partition(" --hash")[0].strip()
        if text and not text.startswith("#"):
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate():
                yield requirement


def packages() -> str:
    """Compare what is installed with the lock."""
    wrong, count = [], 0
    for requirement in locked():
        count += 1
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} is {found}, not {str(requirement.specifier).lstrip('=')}")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise Failed("; ".join(wrong[:3]) + more, REINSTALL)
    return f"{count} as in {LOCK.name}"


def broker_version() -> str:
    """Return name and version of the broker that the steps would use."""
    try:
        if found := reachable_broker():
            return described(found)
        with embedded_broker() as url:
            return described(url)
    except NoBroker as error:
        cure = "Start that broker, or unset REDIS_URL." if os.environ.get("REDIS_URL") else NO_BROKER
        raise Failed(str(error).partition(". ")[0], cure) from None


def described(url: str) -> str:
    """Return name and version of a broker.

    Raises:
        Failed: It is too old.
    """
    with redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as client:
        about = client.info("server")
    name = "Valkey" if "valkey_version" in about else "Redis"
    # Valkey also names the version of Redis whose commands it knows.
    if Version(about["redis_version"]) < OLDEST_BROKER:
        raise Failed(
            f"{name} {about['redis_version']}, where {OLDEST_BROKER} or newer is needed",
            "Stop that broker or unset REDIS_URL: the course brings its own.",
        )
    return f"{name} {about.get('valkey_version', about['redis_version'])}"


@contextmanager
def embedded_broker() -> Iterator[str]:
    """Run an embedded broker; give its address.

    Raises:
        NoBroker: It cannot run here.
    """
    # A directory of our own, which is removed also where the broker does not start.
    with tempfile.TemporaryDirectory(prefix="doctor-") as data, Broker(data=Path(data)) as server:
        yield server.url


def broker() -> str:
    """Start the embedded broker, or find the one that takes its place."""
    try:
        with embedded_broker() as url:
            return f"the embedded one starts and answers ({described(url)})"
    except NoBroker as error:
        reason = str(error)
    try:
        if found := reachable_broker():
            return f"none can be embedded, but one answers at {urlsplit(found).hostname}"
    except NoBroker:
        pass
    raise Failed(reason, NO_BROKER)


def web_port() -> str:
    """Look whether the server's port is free."""
    if problem := port_problem("127.0.0.1", PORT):
        raise Failed(
            f"not to be had: {problem}", f"Stop that program, or choose a port: make run PORT={PORT + 1}"
        )
    return "free"


def broker_port() -> str:
    """Look whether the broker's port is free or has a broker."""
    if answers(DEFAULT_URL):
        return "a broker answers there, and will be used"
    if problem := port_problem("127.0.0.1", DEFAULT_PORT):
        raise Failed(
            f"not to be had: {problem}, and it is no broker",
            "Stop that program, or set REDIS_URL to a broker elsewhere.",
        )
    return "free"


def websocket() -> str:
    """Send a message through a WebSocket of this machine, as a client that respects proxy settings would."""
    from websockets.proxy import get_proxy
    from websockets.sync.client import connect
    from websockets.sync.server import serve
    from websockets.uri import parse_uri

    with serve(lambda socket: socket.send(socket.recv()), "127.0.0.1", 0) as server:
        address = f"ws://127.0.0.1:{server.socket.getsockname()[1]}/"
        proxy = get_proxy(parse_uri(address))
        with ThreadPoolExecutor(1) as thread:
            thread.submit(server.serve_forever)
            try:
                with connect(address, open_timeout=5, close_timeout=1) as socket:
                    socket.send("ping")
                    socket.recv(timeout=5)
            except Exception as error:  # Whatever a proxy does to a handshake.
                raise unreachable(proxy, error) from None
            finally:
                server.shutdown()
    return f"through {without_password(proxy)}" if proxy else "direct"


def unreachable(proxy: str | None, error: Exception) -> Failed:
    """Return why a WebSocket of this machine cannot be reached."""
    if proxy is None:
        return Failed(
            f"no answer from 127.0.0.1: {error}", "Let the firewall pass what stays on this machine."
        )
    return Failed(
        f"127.0.0.1 goes through the proxy {without_password(proxy)}, which does not pass it",
        "Add to the environment: NO_PROXY=127.0.0.1,localhost",
    )


def without_password(url: str) -> str:
    """Return an address without user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


@contextmanager
def some_broker() -> Iterator[str]:
    """Run an embedded broker, or find the one that takes its place; give its address.

    Raises:
        NoBroker: There is neither.
    """
    with ExitStack() as stack:
        try:
            url = stack.enter_context(embedded_broker())
        except NoBroker:
            if not (found := reachable_broker()):
                raise
            url = found
        yield url


def worker() -> str:
    """Start a worker of the course and let it run a task."""
    from celery import Celery
    from kombu.exceptions import KombuError

    # A queue of its own, so that a broker that others use keeps their tasks.
    queue = f"doctor-{os.getpid()}"
    command = [sys.executable, "-W", "ignore", "-m", "celery", "--quiet", "-A", "config", "worker"]
    options = ["--loglevel", "INFO", "--concurrency", "1", "--queues", queue]
    alone = ["--without-mingle", "--without-gossip", "--without-heartbeat"]
    try:
        with some_broker() as url, Celery(broker=url, set_as_current=False) as app:
            env = os.environ | {"REDIS_URL": url, "PYTHONUNBUFFERED": "1"}
            with Process([*command, *options, *alone], STEP, env) as process:
                process.spawn()
                # Every Celery app has this task. It needs no database.
                task = app.send_task("celery.accumulate", args=[1, 2], queue=queue)
                process.wait_for_output(f"{task.id}] succeeded", PATIENCE)
                # It has nothing left to finish.
                process.kill()
            with redis.Redis.from_url(url) as client:
                for key in client.scan_iter(f"*{queue}*"):
                    client.delete(key)
    except (NotStarted, NoBroker, KombuError, OSError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise Failed(reason, f"In {STEP.name}, see what `celery -A config worker` says.") from None
    return "starts and runs a task"


def browser() -> str:
    """Let the browser of the browser tests show a page."""
    program = chromium()
    if program is None:
        raise Lacking("no Chromium or Chrome on PATH", "Browser tests are skipped. To run them, install one.")
    as_root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    page = "data:text/html,<title>shown</title>"
    with tempfile.TemporaryDirectory(prefix="doctor-", ignore_cleanup_errors=True) as profile:
        command = [program, "--headless", "--disable-gpu", *CHROMIUM_FLAGS, *as_root]
        process = subprocess.Popen(  # noqa: S603
            [*command, f"--user-data-dir={profile}", "--dump-dom", page],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            shown, log = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            shown, log = "", f"no page within {PATIENCE} s"
        finally:
            end_tree(process)
    if "shown" not in shown:
        reason = log.strip().splitlines()[-1:] or ["it showed no page"]
        raise Failed(f"{program}: {reason[0]}", f"Start {program} by hand, and see what it says.")
    return program


def disk() -> str:
    """Look whether there is room for the environment, databases and the broker's data."""
    for place in (ROOT, Path(tempfile.gettempdir())):
        free = shutil.disk_usage(place).free
        if free < ENOUGH_DISK:
            raise Failed(f"{free / 1e9:.1f} GB free in {place}", f"Make room: {ENOUGH_DISK / 1e9:.0f} GB.")
    return f"{shutil.disk_usage(ROOT).free / 1e9:.0f} GB free"


CHECKS: dict[str, Callable[[], str]] = {
    "Python": python,
    "packages": packages,
    "broker": broker,
    "broker's version": broker_version,
    f"port {PORT}": web_port,
    f"port {DEFAULT_PORT}": broker_port,
    "WebSocket": websocket,
    "worker": worker,
    "browser": browser,
    "disk": disk,
}


def examine(name: str) -> Line:
    """Make one check."""
    try:
        return Line(name, True, CHECKS[name]())
    except Failed as failed:
        return Line(name, isinstance(failed, Lacking), failed.found, failed.cure)
    except Exception as error:  # A check that breaks is a line too, and the others go on.
        return Line(name, False, f"{type(error).__name__}: {error}", "Report this line; see CONTRIBUTING.md.")


def table(lines: list[Line]) -> Table:
    """Return what a person reads."""
    table = Table("", "", box=None, padding=(0, 2, 0, 0))
    # Folded, never cut: a cure is there to be copied.
    table.add_column("found", overflow="fold")
    table.add_column("what to do", overflow="fold")
    for line in lines:
        mark = "[red]FAILS[/]" if not line.ok else "[yellow]note[/]" if line.cure else "[green]good[/]"
        table.add_row(mark, line.name, escape(line.found), escape(line.cure))
    return table


def doctor(
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object, for an instructor who collects them.")
    ] = False,
) -> None:
    """See whether this machine is ready for the course, and what to do where it is not."""
    start = time.monotonic()
    # The worker and the browser take longest, and start first.
    order = sorted(CHECKS, key=lambda name: name not in ("worker", "browser"))
    with ThreadPoolExecutor(3) as threads:
        found = dict(zip(order, threads.map(examine, order), strict=True))
    lines = [found[name] for name in CHECKS]
    ok = all(line.ok for line in lines)
    seconds = round(time.monotonic() - start, 1)
    if as_json:
        machine = {
            "host": platform.node(),
            "system": platform.platform(),
            "python": platform.python_version(),
        }
        checks = [asdict(line) for line in lines]
        typer.echo(
            json.dumps({"ok": ok, **machine, "seconds": seconds, "checks": checks}, ensure_ascii=False)
        )
    else:
        console = Console(highlight=False)
        console.print(table(lines))
        failures = sum(not line.ok for line in lines)
        say = "This machine is ready." if ok else f"{failures} of {len(lines)} fail."
        console.print(f"{say} ({seconds} s)")
    raise typer.Exit(0 if ok else 1)
