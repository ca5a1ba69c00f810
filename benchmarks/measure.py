"""The measurements: rounds that alternate between the servers, so that a busy moment hits them all."""

import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import psutil

from benchmarks import peers
from benchmarks.load import Load, NoSocket, Opened
from benchmarks.peers import AS_IS, PEERS, Running, processor_time
from tutorial.services.broker import Broker
from tutorial.services.ports import free_port
from tutorial.services.processes import NotStarted

# Above this share of a core, a rate shows the load generator and not the server.
TOO_BUSY = 0.9
SPARE_FILES = 200
T = TypeVar("T")
Sample = dict[str, float]
Row = dict[str, Any]  # of the results, as JSON has them


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int = 5  # of each measurement; the results are medians
    seconds: float = 0.3  # of sending in a round
    sweep_seconds: float = 0.25  # the same, in the sweeps
    clients: int = 50  # in the room for comparing all servers
    client_counts: tuple[int, ...] = (10, 50, 200, 500, 2000)  # in one room of the chosen servers
    idle: int = 10_000  # sockets to each of the chosen servers, to weigh them
    room_counts: tuple[int, ...] = (1, 10, 100)
    room_clients: int = 200  # in those rooms together
    sizes: tuple[int, ...] = (16, 256, 4096)  # bytes of a message
    posts: int = 10  # published in a round, with and without the queue
    tasks: int = 200  # for timing the worker
    only: tuple[str, ...] = ()  # the names of the servers to measure; all of them if empty


def spread(values: Iterable[float]) -> Sample:
    """Return the median of some values, the lowest and the highest."""
    values = list(values)
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def allow_files(wanted: int) -> int:
    """Raise this process's limit of open files as far as needed and allowed; return the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = max(soft, wanted if hard == resource.RLIM_INFINITY else min(wanted, hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


class TooFewFiles(RuntimeError):
    """Raised when not even a small measurement is possible here; its text says what to do."""


class Lab:
    """Servers that run side by side, a broker and a load generator.

    Args:
        plan: How much is measured.
        say: Called with every line about the progress.
        first_port: The port of the first server; the others follow. Free ones if None.
    """

    def __init__(self, plan: Plan, say: Callable[[str], None], first_port: int | None = None):
        self.plan, self.say = plan, say
        self.chosen = [peer for peer in PEERS if not plan.only or peer.name in plan.only]
        self.ports = {
            peer: first_port + number if first_port else free_port() for number, peer in enumerate(PEERS)
        }
        self.gaps: dict[str, str] = {}
        self.notes: list[str] = []
        self.running: dict[str, Running] = {}
        self._crowded: set[str] = set()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
            self._check()
            broker = stack.enter_context(Broker())
            self._broker = psutil.Process(broker.pid)
            self.sites = peers.open_sites(broker.url, directory)
            for site in {id(site): site for site in self.sites.values()}.values():
                stack.enter_context(site)
            self._load = stack.enter_context(Load())
            self._start(stack)
            self._exits = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._exits.close()

    def _check(self) -> None:
        """Say before the run what can't be measured here."""
        plan = self.plan
        for peer in self.chosen:
            if reason := peers.missing(peer, self.ports[peer]):
                self.leave_out(peer.name, reason)
        here = [peer for peer in self.chosen if peer.name not in self.gaps]
        swept = sum(peer.swept for peer in here)
        wanted = max(max(plan.client_counts) * swept, plan.idle) + SPARE_FILES
        allowed = allow_files(wanted)
        few = f"Open files: {allowed} are allowed here, and"
        least = max(len(here) * plan.clients, swept * plan.room_clients) + SPARE_FILES
        if allowed < least:
            raise TooFewFiles(
                f"{few} at least {least} are needed. "
                f"Raise the limit with ulimit -n {wanted}, or ask who set it."
            )
        # The load generator holds the sockets to all swept servers at a time, and idle ones to one.
        self.idle = min(plan.idle, allowed - SPARE_FILES)
        self.client_counts = [count for count in plan.client_counts if count * swept + SPARE_FILES <= allowed]
        if len(self.client_counts) < len(plan.client_counts):
            last = f"stops at {self.client_counts[-1]} clients" if self.client_counts else "is left out"
            self.note(f"{few} {wanted} are needed (ulimit -n). The sweep of clients {last}.")

    def _start(self, stack: ExitStack) -> None:
        for peer in self.chosen:
            if peer.name not in self.gaps:
                running = stack.enter_context(Running(peer, self.sites[peer.code], self.ports[peer]))
                self.running[peer.name] = running
                running.spawn()
        for name, running in list(self.running.items()):
            try:
                running.wait_until_ready(60)
            except NotStarted as error:
                self.leave_out(name, str(error).strip().splitlines()[-1][:200])

    def note(self, line: str) -> None:
        """Say a line, and keep it for the results."""
        self.notes.append(line)
        self.say(line)

    def leave_out(self, name: str, reason: str) -> None:
        """Note that a server isn't measured, or no longer, and why."""
        self.gaps[name] = reason
        self.running.pop(name, None)
        self.note(f"Left out: {name} ({reason}).")

    def swept(self) -> list[Running]:
        return [running for running in self.running.values() if running.peer.swept]

    def open(self, servers: list[Running], clients: int, rooms: int = 1) -> dict[str, Opened]:
        """Open sockets to each server until there are `clients`; say so if it refuses some."""

        def enter(running: Running) -> Opened:
            name, peer = running.peer.name, running.peer
            address = {"url": running.rooms, "headers": running.headers, "protocol": peer.protocol}
            self._crowded.add(name)
            answer: Opened = self._load.order(name, "open", **address, count=clients, rooms=rooms)
            if refused := answer["refused"]:
                self.note(f"{name} has refused {refused} sockets on the way to {clients}: {answer['reason']}")
            return answer

        return self.each(servers, enter)

    def close(self) -> None:
        while self._crowded:
            self._load.order(self._crowded.pop(), "close")

    def burst(self, running: Running, size: int = 64, rate: float = 0, seconds: float = 0) -> Sample:
        """Send messages to a server as fast as it delivers, or at a rate; return the cost."""
        server, broker = running.processor_time(), processor_time(self._broker)
        seconds = seconds or self.plan.seconds
        result: Sample = self._load.order(running.peer.name, "send", seconds=seconds, size=size, rate=rate)
        server = running.processor_time() - server
        broker = processor_time(self._broker) - broker
        deliveries = max(1, result["deliveries"])
        return result | {
            "rate": result["deliveries"] / result["seconds"],
            "server_time": server / deliveries,
            "broker_time": broker / deliveries,
            "server_share": server / result["seconds"],
        }

    def each(self, servers: list[Running], do: Callable[[Running], T]) -> dict[str, T]:
        """Do something with each server, and return the results by its name, without servers that fail."""
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

    def rounds(self, servers: list[Running], do: Callable[[Running], Sample]) -> dict[str, Row]:
        """Do something with each server in turn, in every round; return its summary by the server's name.

        The order turns, so that no server always follows the same one. A server that fails is left out.
        """
        results: dict[str, list[Sample]] = {running.peer.name: [] for running in servers}
        for number in range(self.plan.rounds):
            turn = number % max(1, len(servers))
            for name, result in self.each(servers[turn:] + servers[:turn], do).items():
                results[name].append(result)
        return {name: summary(samples) for name, samples in results.items() if name not in self.gaps}

    def sweep(self, labels: dict[str, int], size: int = 64) -> list[Row]:
        """Measure the swept servers as they are; return a row with these labels for each."""
        seconds = self.plan.sweep_seconds
        rows = self.rounds(self.swept(), lambda running: self.burst(running, size, seconds=seconds))
        return [{"server": name, **labels, **row} for name, row in rows.items()]


def settle(running: Running) -> None:
    """Wait, at most ten seconds, until a server is idle; a thousand closes take it a while."""
    for _ in range(50):
        before = running.processor_time()
        time.sleep(0.2)
        if running.processor_time() - before < 0.02:
            return


def summary(samples: list[Sample]) -> Row:
    """Return the medians and the spread of rounds, and the losses of all of them together."""
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


def compare(lab: Lab) -> dict[str, Row]:
    """Measure every server with one room: the cost at full speed, the latency at twenty messages a second."""
    servers = list(lab.running.values())

    def measure(running: Running) -> Sample:
        fast, calm = lab.burst(running), lab.burst(running, rate=20)
        return fast | {"p50": calm["p50"], "p99": calm["p99"], "lost": fast["lost"] + calm["lost"]}

    lab.open(servers, lab.plan.clients)
    lab.each(servers, lambda running: lab.burst(running, seconds=0.1))
    results = lab.rounds(servers, measure)
    lab.close()
    return results


def sweep_clients(lab: Lab) -> list[Row]:
    """Measure the swept servers with ever more sockets in one room."""
    rows = []
    for count in lab.client_counts:
        lab.open(lab.swept(), count)
        rows += lab.sweep({"clients": count})
    lab.close()
    lab.each(lab.swept(), settle)
    return rows


def weigh_idle(lab: Lab) -> list[Row]:
    """Open many sockets to one swept server after another, and weigh them."""

    def weigh(running: Running) -> Row:
        # What a server has once taken from the system it mostly keeps, so it starts anew.
        running.stop()
        running.start(60)
        empty = running.memory()
        name, rooms = running.peer.name, max(1, lab.idle // lab.plan.clients)
        if not (answers := lab.open([running], lab.idle, rooms)):
            raise NotStarted(lab.gaps[name])
        opened = answers[name]
        memory = (running.memory() - empty) / max(1, opened["open"])
        lab.close()
        return {
            "server": name,
            "held": opened["open"],
            "refused": opened["refused"],
            "handshakes": opened["open"] / opened["seconds"],
            "memory": memory,
        }

    # Step 5's sockets weigh about the same with either layer, and their handshakes take longest.
    chosen = [running for running in lab.swept() if running.peer.name != AS_IS]
    return list(lab.each(chosen, weigh).values())


def sweep_rooms(lab: Lab) -> list[Row]:
    """Measure the swept servers with their sockets in ever more rooms."""
    rows, clients = [], lab.plan.room_clients
    for rooms in lab.plan.room_counts:
        lab.open(lab.swept(), clients, rooms)
        rows += lab.sweep({"rooms": rooms, "clients": clients})
        lab.close()
    return rows


def sweep_sizes(lab: Lab) -> list[Row]:
    """Measure the swept servers with ever larger messages."""
    clients = lab.plan.clients
    lab.open(lab.swept(), clients)
    rows = [row for size in lab.plan.sizes for row in lab.sweep({"size": size, "clients": clients}, size)]
    lab.close()
    return rows
