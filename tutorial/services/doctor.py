"""`tutorial doctor`: whether this machine can run and test the course, and what to do if it can't."""

import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import redis
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tutorial.course.steps import ROOT, all_steps
from tutorial.services import lanes
from tutorial.services.broker import DEFAULT_PORT, DEFAULT_URL, Broker, NoBroker, answers, reachable_broker
from tutorial.services.browser import chromium, launch_options
from tutorial.services.lanes import REINSTALL, installed, locked
from tutorial.services.ports import another_port, port_problem
from tutorial.services.processes import NotStarted, Process

PYTHONS = SpecifierSet(">=3.11,<3.15")
# The step that has a worker.
STEP = all_steps()[-1]
# Where `make run` listens.
PORT = 8000
# The channel layer waits with BZPOPMIN, which came with this version of Redis.
OLDEST_BROKER = Version("5.0")
# Bytes. The environment with everything takes about 0.8 GB.
ENOUGH_DISK = 1_000_000_000
# Seconds that a worker or a browser may take. Not a promise, only so that nothing hangs.
PATIENCE = 30
STOP_IT = "Stop that program, or"
NO_BROKER = "Install Docker and run `docker compose up -d broker`, or use WSL on Windows."


class Failed(Exception):
    """Raised by a check; says what was found, what to do about it, and whether the course can do without."""

    def __init__(self, found: object, cure: str, ok: bool = False):
        super().__init__(str(found), cure)
        self.found, self.cure, self.ok = str(found), cure, ok


@dataclass
class Line:
    """The result of one check.

    Attributes:
        name: What was looked at.
        ok: Whether the course can be run and tested.
        found: What was found, in a line.
        cure: What to do; if the course can do without it, what that means.
    """

    name: str
    ok: bool
    found: str
    cure: str = ""


def python() -> str:
    found = platform.python_version()
    if PYTHONS.contains(found, prereleases=True):
        return found
    raise Failed(
        f"{found}, where {PYTHONS} is needed", "Install such a Python, then: make PYTHON=python3.13 run"
    )


def packages() -> str:
    """Compare the installed packages with the lock for this machine."""
    wanted = locked()
    wrong = []
    for one in wanted:
        found = installed(one.name)
        if found is None:
            wrong.append(f"{one.name} is missing")
        elif not one.specifier.contains(found, prereleases=True):
            wrong.append(f"{one.name} is {found}, not {str(one.specifier).lstrip('=')}")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise Failed("; ".join(wrong[:3]) + more, REINSTALL)
    return f"{len(wanted)} as in {lanes.LOCK.name}"


def lane() -> str:
    """Look whether Django and redis-py are of the same lane as the course's code."""
    try:
        lanes.need_one_lane()
    except lanes.MixedLanes as mixed:
        found, _, cure = str(mixed).partition(". ")
        raise Failed(found, cure) from None
    return " and ".join(f"{title} {installed(name)}" for name, title in lanes.APART.items())


@contextmanager
def some_broker(own_first: bool = True) -> Iterator[tuple[str, bool]]:
    """Embed a broker, or find the one that takes its place; yield its address and whether it's embedded.

    Args:
        own_first: Embed one even if another answers.

    Raises:
        NoBroker: There is neither.
    """
    if not own_first and (found := reachable_broker()):
        yield found, False
        return
    with ExitStack() as stack:
        # A directory of our own, which is removed even if the broker doesn't start.
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="doctor-")))
        try:
            answer = stack.enter_context(Broker(data=data)).url, True
        except NoBroker:
            if not (found := reachable_broker()):
                raise
            answer = found, False
        yield answer


def broker() -> str:
    """Start the embedded broker, or find the one that takes its place."""
    try:
        with some_broker() as (url, embedded):
            if embedded:
                return f"the embedded one starts and answers ({described(url)})"
            return f"none can be embedded, but one answers at {urlsplit(url).hostname}"
    except NoBroker as error:
        raise Failed(error, NO_BROKER) from None


def broker_version() -> str:
    """Return name and version of the broker that the steps would use."""
    try:
        with some_broker(own_first=False) as (url, _):
            return described(url)
    except NoBroker as error:
        cure = "Start that broker, or unset REDIS_URL." if os.environ.get("REDIS_URL") else NO_BROKER
        raise Failed(str(error).partition(". ")[0], cure) from None


def described(url: str) -> str:
    """Return name and version of a broker.

    Raises:
        Failed: It is too old.
    """
    # With protocol 2, a server that is too old can say so to redis-py 8 as well.
    with redis.Redis.from_url(url, protocol=2, socket_timeout=5, socket_connect_timeout=5) as client:
        about = client.info("server")
    name = "Valkey" if "valkey_version" in about else "Redis"
    # Valkey also names the version of Redis whose commands it knows.
    if Version(about["redis_version"]) < OLDEST_BROKER:
        raise Failed(
            f"{name} {about['redis_version']}, where {OLDEST_BROKER} or newer is needed",
            "Stop that broker or unset REDIS_URL: the course brings its own.",
        )
    return f"{name} {about.get('valkey_version', about['redis_version'])}"


def web_port() -> str:
    """Look whether the server's port is free."""
    if problem := port_problem("127.0.0.1", PORT):
        cure = f"{STOP_IT} choose a port: make run PORT={another_port(PORT)}"
        raise Failed(f"not free: {problem}", cure, ok=True)
    return "free"


def broker_port() -> str:
    """Look whether the broker's port is free or has a broker."""
    if answers(DEFAULT_URL):
        return "a broker answers there, and will be used"
    if problem := port_problem("127.0.0.1", DEFAULT_PORT):
        # `tutorial run` takes a free port by itself; `tutorial broker` and the steps do as REDIS_URL says.
        elsewhere = f"before `tutorial broker`: export REDIS_URL=redis://127.0.0.1:{DEFAULT_PORT + 1}"
        raise Failed(f"not free: {problem}, and it is no broker", f"{STOP_IT} {elsewhere}", ok=True)
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
            except Exception as error:  # Any harm that a proxy does to a handshake.
                if not proxy:
                    cure = "Let the firewall pass what stays on this machine."
                    raise Failed(f"no answer from 127.0.0.1: {error}", cure) from None
                found = f"127.0.0.1 goes through the proxy {without_password(proxy)}, which does not pass it"
                raise Failed(found, "Add to the environment: NO_PROXY=127.0.0.1,localhost") from None
            finally:
                server.shutdown()
    return f"through {without_password(proxy)}" if proxy else "direct"


def without_password(url: str) -> str:
    """Return an address without user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def worker() -> str:
    """Start a worker of the course and let it run a task."""
    from celery import Celery
    from kombu.exceptions import KombuError

    # A queue of its own, so that a shared broker keeps the others' tasks.
    queue = f"doctor-{os.getpid()}"
    command = [sys.executable, "-W", "ignore", "-m", "celery", "--quiet", "-A", "config", "worker"]
    options = ["--loglevel", "INFO", "--concurrency", "1", "--queues", queue]
    alone = ["--without-mingle", "--without-gossip", "--without-heartbeat"]
    try:
        with some_broker() as (url, _), Celery(broker=url, set_as_current=False) as app:
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
        cure = f"In {STEP.name}, see what `celery -A config worker` says."
        raise Failed(last_line(error), cure) from None
    return "starts and runs a task"


def browser() -> str:
    """Let the browser of the browser tests show a page."""
    program = chromium()
    if program is None:
        cure = "Browser tests are skipped. To run them, install one."
        raise Failed("no Chromium or Chrome on PATH", cure, ok=True)
    page = ["--dump-dom", "data:text/html,<title>shown</title>"]
    with tempfile.TemporaryDirectory(prefix="doctor-", ignore_cleanup_errors=True) as profile:
        options = launch_options("--headless", "--disable-gpu", f"--user-data-dir={profile}")["args"]
        with Process([program, *options, *page], ROOT, dict(os.environ)) as process:
            process.spawn()
            try:
                process.wait_for_output("<title>shown</title></head>", PATIENCE)
            except NotStarted as error:
                cure = f"Start {program} by hand, and see what it says."
                raise Failed(f"{program}: {last_line(error)}", cure) from None
    return program


def last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]


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
    "lane": lane,
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
    try:
        return Line(name, True, CHECKS[name]())
    except Failed as failed:
        return Line(name, failed.ok, failed.found, failed.cure)
    except Exception as error:  # A check that breaks gets a line too, and the others go on.
        return Line(name, False, f"{type(error).__name__}: {error}", "Report this line; see CONTRIBUTING.md.")


def table(lines: list[Line]) -> Table:
    # Folded, never cut, so that you can copy a cure.
    table = Table("", "", box=None, padding=(0, 2, 0, 0))
    table.add_column("found", overflow="fold")
    table.add_column("what to do", overflow="fold")
    for line in lines:
        mark = "[red]FAILS[/]" if not line.ok else "[yellow]note[/]" if line.cure else "[green]good[/]"
        table.add_row(mark, line.name, escape(line.found), escape(line.cure))
    return table


def examine_all(as_json: bool) -> bool:
    """Make all checks and print the results; return whether this machine is ready for the course.

    Args:
        as_json: Print one JSON object instead of a table.
    """
    start = time.monotonic()
    # The worker and the browser take longest, and start first.
    order = sorted(CHECKS, key=lambda name: name not in ("worker", "browser"))
    with ThreadPoolExecutor(3) as threads:
        found = dict(zip(order, threads.map(examine, order), strict=True))
    lines = [found[name] for name in CHECKS]
    failures = sum(not line.ok for line in lines)
    seconds = round(time.monotonic() - start, 1)
    if as_json:
        report = {
            "ok": not failures,
            "host": platform.node(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "seconds": seconds,
            "checks": [asdict(line) for line in lines],
        }
        print(json.dumps(report, ensure_ascii=False))
    else:
        console = Console(highlight=False)
        console.print(table(lines))
        ready = "This machine is ready. To begin: tutorial start 1, then tutorial watch."
        say = f"{failures} of {len(lines)} fail." if failures else ready
        console.print(f"{say} ({seconds} s)")
    return not failures
