"""Run a step or a learner's project with all it needs until Ctrl-C: broker, database, server, worker."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import honcho.manager
from honcho.manager import Manager
from honcho.printer import Message, Printer

from tutorial.course.steps import ROOT, all_steps
from tutorial.services.broker import DEFAULT_PORT, Broker, NoBroker, answers, reachable_broker
from tutorial.services.demo_data import DEMO_USERS
from tutorial.services.ports import another_port, free_port, port_problem
from tutorial.services.processes import guard_children

# What is queued survives until the next start; at a port of a test's own there is no next start.
BROKER_DATA = ROOT / ".broker" if DEFAULT_PORT == 6379 else None
CELERY = "config/celery.py"  # a project that has it needs a worker

# Seconds that server and worker have to end by themselves; the whole must be over within 5.
honcho.manager.KILL_WAIT = 3


class CannotRun(RuntimeError):
    """Raised when a step cannot run here; its text says why and what to do, in a line."""


class OneEnd(Printer):  # type: ignore[misc]
    """Prints what the processes say. If nobody reads it any more, as behind `| head`, everything ends."""

    def write(self, message: Message) -> None:
        """Print a message."""
        try:
            super().write(message)
        except BrokenPipeError:
            # Not raised: honcho would leave its processes running.
            self.output = open(os.devnull, "w")  # noqa: SIM115 - open until the end
            os.kill(os.getpid(), signal.SIGTERM)


def start_broker() -> tuple[str, Broker | None]:
    """Find a broker or embed one; return its address, and the embedded one or None.

    The embedded one takes the usual port where that is free, so that commands in another terminal find it.

    Raises:
        NoBroker: There is none, and none can be embedded.
    """
    found = reachable_broker()
    if found:
        return found, None
    port = free_port() if port_problem("127.0.0.1", DEFAULT_PORT) else DEFAULT_PORT
    broker = Broker(port, BROKER_DATA).start()
    return broker.url, broker


def allowed_hosts(host: str) -> str:
    """Return the names under which a server on an address can be asked for, with spaces between.

    Args:
        host: The address it listens on.
    """
    names = ["localhost", "127.0.0.1", "[::1]", host]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not listened on
        names += [socket.gethostname(), *lan_addresses()]
    return " ".join(dict.fromkeys(names))


def lan_addresses() -> list[str]:
    """Return the addresses of this machine that others in its network can reach."""
    try:
        found = socket.gethostbyname_ex(socket.gethostname())[2]
    except OSError:
        found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a UDP socket sends nothing; it only chooses the address to send from.
            probe.connect(("192.0.2.1", 9))
            found.append(probe.getsockname()[0])
        except OSError:
            pass
    return [address for address in dict.fromkeys(found) if not address.startswith("127.")]


class Preparation:
    """Makes a step's tables and, where there is a login, its demo users, in a process of its own.

    Args:
        step: Its directory.
    """

    def __init__(self, step: Path):
        self.step = step
        users = ["--users"] if has_login(step) else []
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - read when the process has ended
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "tutorial.services.demo_data", *users],
            cwd=step,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.errors,
        )

    def wait(self) -> None:
        """Wait until it is done.

        Raises:
            CannotRun: It failed; the text has the last line of its output.
        """
        if self.process.wait():
            self.errors.seek(0)
            reason = in_a_line(self.errors.read(), self.step)
            raise CannotRun(f"Preparing {self.step.name} failed: {reason}")


def in_a_line(traceback: str, project: Path) -> str:
    """Return the last line of a traceback, after the last place in a project that it goes through.

    Args:
        traceback: As Python prints it.
        project: The project's directory.
    """
    line = (traceback.strip().splitlines() or ["no output"])[-1]
    for file, number in reversed(re.findall(r'File "(.+)", line (\d+)', traceback)):
        if Path(file).is_relative_to(project):
            return f"{Path(file).relative_to(project)}, line {number}: {line}"
    return line


def has_login(step: Path) -> bool:
    """Tell whether a project has a login page, in its own templates or in those of an app."""
    page = "templates/registration/login.html"
    return any((directory / page).exists() for directory in (step, *step.glob("*/")))


def announce_when_ready(
    step: Path, host: str, port: int, broker: str, preparation: Preparation, failures: list[CannotRun]
) -> None:
    """Wait until the step is prepared and the page answers, then print where it is and who can log in.

    If preparing fails, keep the reason in `failures` and stop everything.
    """
    import httpx  # takes a quarter of a second, in which the server can start

    try:
        preparation.wait()
    except CannotRun as failure:
        failures.append(failure)
        os.kill(os.getpid(), signal.SIGTERM)
        return
    shown = "localhost" if host in ("127.0.0.1", "0.0.0.0") else host  # noqa: S104
    probe = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104
    url = f"http://{f'[{probe}]' if ':' in probe else probe}:{port}/"
    while True:
        try:
            httpx.get(url, timeout=5, trust_env=False)
            break
        except httpx.TransportError:
            time.sleep(0.1)
    lines = [f"{step.name} is ready:  http://{shown}:{port}/"]
    if host == "0.0.0.0":  # noqa: S104
        lines += [f"from the network:  http://{address}:{port}/" for address in lan_addresses()]
    if has_login(step):
        lines += [f"log in as {name} with {password}" for name, password in DEMO_USERS.items()]
    lines += [f"broker: {broker}", "Ctrl-C stops everything."]
    print("\n" + "\n".join(f"    {line}" for line in lines) + "\n", flush=True)


def run_step(step: Path, host: str, port: int) -> int:
    """Run a step or a learner's project until Ctrl-C; return the exit code.

    The server and the worker restart when code is saved, so that what runs is what was written.

    Args:
        step: Its directory.
        host: The address to listen on.
        port: The port to listen on.

    Raises:
        CannotRun: The port is taken, or preparing the step failed.
        NoBroker: There is no broker, and none can be embedded.
    """
    if problem := port_problem(host, port):
        command = "make run PORT=" if os.environ.get("MAKELEVEL") else "tutorial run --port "
        way_out = f"Try another: {command}{another_port(port)}"
        raise CannotRun(f"Cannot listen on {host} port {port}: {problem}.\n{way_out}")
    # Until honcho takes over, Ctrl-C interrupts; a closed terminal ends everything too.
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    guard_children()
    # It takes 2 s, so the rest goes on meanwhile; but the first time, the tables must be there.
    first_time = not Path(os.environ.get("DATABASE_PATH", step / "db.sqlite3")).exists()
    preparation = Preparation(step)
    broker: Broker | None = None
    failures: list[CannotRun] = []
    try:
        url, broker = start_broker()
        env = os.environ | {"REDIS_URL": url, "PYTHONUNBUFFERED": "1"}
        if host not in ("127.0.0.1", "localhost"):
            env.setdefault("ALLOWED_HOSTS", allowed_hosts(host))
        print(f"Broker: {'embedded' if broker else 'found'} at {url.rpartition('@')[2]}", flush=True)
        if first_time:
            preparation.wait()
        python = shlex.quote(sys.executable)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        manager = Manager(OneEnd(sys.stdout))
        on_save = f"exec {python} -m tutorial.services.on_save"
        # Not by Django's reloader: it can end with a KeyError when the code it has just loaded is broken.
        server = f"{python} manage.py runserver --noreload {address}"
        manager.add_process("server", f"{on_save} {server}", env=env, cwd=str(step))
        # A project at step 4 may go on to step 5 meanwhile.
        if (step / CELERY).exists() or (has_login(step) and step not in all_steps()):
            worker = f"{python} -W ignore -m celery --quiet -A config worker --loglevel INFO --concurrency 2"
            manager.add_process("worker", f"{on_save} --needs {CELERY} {worker}", env=env, cwd=str(step))
        shown = url.rpartition("@")[2] if "@" in url else url
        announcement = (step, host, port, shown, preparation, failures)
        threading.Thread(target=announce_when_ready, args=announcement, daemon=True).start()
        manager.loop()
        if failures:
            raise failures[0]
        # Ctrl-C is how this is meant to end.
        return 0 if manager.returncode in (130, 143) else manager.returncode
    finally:
        if preparation.process.poll() is None:
            preparation.process.kill()
        preparation.process.wait()
        if broker:
            broker.stop()


def own_broker_port() -> tuple[int, str]:
    """Return the port for a broker started by hand: that of a `REDIS_URL` that leads there, else the usual.

    Returns:
        The port, and what to say about `REDIS_URL` if it is set.
    """
    url = os.environ.get("REDIS_URL", "")
    if not url:
        return DEFAULT_PORT, ""
    try:
        parts = urlsplit(url)
        port = parts.port or 6379
    except ValueError as error:
        why = f"is no address ({error})"
    else:
        if parts.scheme != "redis":
            why = f"begins with {parts.scheme}:, not redis:"
        elif parts.hostname not in ("127.0.0.1", "localhost"):
            why = f"names {parts.hostname}, and this broker listens on 127.0.0.1 only"
        elif parts.password:
            why = "has a password, and this broker has none"
        else:
            return port, "It is the one that REDIS_URL names. "
    return DEFAULT_PORT, f"REDIS_URL {why}: to use this broker, unset REDIS_URL. "


def run_broker() -> None:
    """Run only the embedded broker, on 127.0.0.1 at the port that `own_broker_port` says, until Ctrl-C.

    Raises:
        CannotRun: The port is taken.
        NoBroker: It cannot be embedded.
    """
    port, about_url = own_broker_port()
    if answers(f"redis://127.0.0.1:{port}"):
        raise CannotRun(f"A broker answers at redis://127.0.0.1:{port} already. {about_url}".strip())
    if problem := port_problem("127.0.0.1", port):
        way_out = f"To choose another: REDIS_URL=redis://127.0.0.1:{port + 1} tutorial broker"
        raise CannotRun(f"Cannot listen on 127.0.0.1 port {port}: {problem}.\n{way_out}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    data = BROKER_DATA and (BROKER_DATA if port == DEFAULT_PORT else BROKER_DATA / str(port))
    with Broker(port, data) as broker:
        print(f"The broker answers at {broker.url}. {about_url}Ctrl-C stops it.", flush=True)
        broker.wait()
        raise NoBroker(f"The broker ended by itself. {' '.join(broker.output.splitlines()[-3:])}")
