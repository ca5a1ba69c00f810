"""The servers to measure: the course's chat, a better consumer, and the limit."""

import importlib
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

from tutorial.course.assignment import exercise_assignment
from tutorial.course.files import copy_project, write_files
from tutorial.course.steps import ROOT, find_step
from tutorial.services.ports import port_problem
from tutorial.testing.site import PRODUCTION, SERVERS, Server, Site

APPLICATION = "config.asgi:application"
# Always on asyncio: without a word, uvicorn takes uvloop where it is installed.
UVICORN = (*SERVERS["uvicorn"][:-1], "--loop", "asyncio", APPLICATION)
UVICORN_UVLOOP = (*SERVERS["uvicorn"][:-1], "--loop", "uvloop", APPLICATION)
OFFICIAL = ("-m", "daphne", "-b", "127.0.0.1", "-p", "{port}", "benchmarks.official:application")
GRANIAN = (
    *("-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}"),
    *("--workers", "1", "--backpressure", "4096", APPLICATION),
)
# No worker processes: it serves in the process we start.
HYPERCORN = ("-m", "hypercorn", "-b", "127.0.0.1:{port}", "-w", "0", APPLICATION)
LIMIT = ("-m", "benchmarks.limit", "{port}")
# What `make bench-outside` gets: Node's packages, and uvloop, which nothing else here needs.
OUTSIDE = ROOT / "benchmarks" / "outside"
UVLOOP = ROOT / ".uvloop"
WS = (str(OUTSIDE / "ws.js"), "{port}", "{broker}")
SOCKET_IO = (str(OUTSIDE / "socket-io.js"), "{port}", "{broker}")


@dataclass(frozen=True)
class Peer:
    """A server to measure."""

    name: str  # in the results
    command: tuple[str, ...]  # after the program's name; {port} and {broker} are filled in
    code: str = "step05"  # what it serves; `tuned`: with the exercise's solution; `none`: without a login
    layer: str = ""  # core, pubsub, memory, or what the project's settings say if empty
    swept: bool = False  # whether it is also measured with other numbers of clients and rooms and other sizes
    program: str = "python"  # or `node`
    protocol: str = ""  # what is spoken in the frames: a key of `load.PROTOCOLS`
    path: str = "/ws/chat/{room}/"  # of a room


PEERS = [
    Peer("official tutorial, daphne, core", OFFICIAL, code="none", swept=True),
    Peer("step05, daphne, core", tuple(SERVERS["daphne"])),
    Peer("step05, hypercorn, core", HYPERCORN),
    Peer("step05, hypercorn, pub/sub", HYPERCORN, layer="pubsub"),
    Peer("step05, granian, core", GRANIAN),
    Peer("step05, granian, pub/sub", GRANIAN, layer="pubsub"),
    Peer("step05, uvicorn, core", UVICORN, swept=True),
    Peer("step05, uvicorn, pub/sub", UVICORN, layer="pubsub", swept=True),
    Peer("step05, uvicorn, in-memory", UVICORN, layer="memory"),
    Peer("tuned, uvicorn, core", UVICORN, code="tuned", layer="core"),
    Peer("tuned, uvicorn, pub/sub", UVICORN, code="tuned", layer="pubsub", swept=True),
    Peer("tuned, uvicorn, uvloop, pub/sub", UVICORN_UVLOOP, code="tuned", layer="pubsub"),
    Peer("limit: websockets, pub/sub", (*LIMIT, "{broker}", "asyncio"), code="none", swept=True),
    Peer("limit: websockets, uvloop, pub/sub", (*LIMIT, "{broker}", "uvloop"), code="none"),
    Peer("limit: websockets alone", (*LIMIT, "", "asyncio"), code="none"),
    Peer("Node: ws, pub/sub", WS, code="none", swept=True, program="node"),
    Peer(
        "Node: Socket.IO, Redis adapter",
        SOCKET_IO,
        code="none",
        swept=True,
        program="node",
        protocol="socket.io",
        path="/socket.io/?EIO=4&transport=websocket&room={room}",
    ),
]
DOCUMENT, AS_IS, FASTER_LAYER, FAN_OUT, BOUND, NODE_WS, NODE_IO = (peer.name for peer in PEERS if peer.swept)


class Running(Server):
    """A peer that runs.

    Args:
        peer: What is started.
        site: The project it serves, or any if it serves none, with the broker's address in its environment.
        port: The port on 127.0.0.1.
        env: More variables for its environment.
    """

    def __init__(self, peer: Peer, site: Site, port: int, env: dict[str, str] | None = None):
        path = f"{ROOT}:{UVLOOP}" if "uvloop" in peer.command else str(ROOT)
        mine = {"DJANGO_SETTINGS_MODULE": "benchmarks.settings", "PYTHONPATH": path}
        command = [word.replace("{broker}", site.env["REDIS_URL"]) for word in peer.command]
        super().__init__(site, command, port, env=mine | {"BENCHMARK_LAYER": peer.layer} | (env or {}))
        if peer.program != "python":
            self._command[0] = peer.program
        self.peer = peer
        # Rooms of its own: all servers share the broker, so a common room would make them all work.
        self.rooms = f"ws://127.0.0.1:{port}{peer.path.format(room=f'{port}_ROOM')}"
        self.headers = site.headers(self.url, None if peer.code == "none" else "alice")

    def processor_time(self) -> float:
        """Return the processor seconds that it and its children have used, in user mode and in the kernel."""
        return sum(processor_time(process) for process in self._family())

    def memory(self) -> int:
        """Return the bytes of physical memory that it and its children hold."""
        return sum(process.memory_info().rss for process in self._family())

    def _family(self) -> list[psutil.Process]:
        process = psutil.Process(self.pid)
        return [process, *process.children(recursive=True)]


def processor_time(process: psutil.Process) -> float:
    """Return the processor seconds that a process has used."""
    times = process.cpu_times()
    return times.user + times.system


def open_sites(broker_url: str, directory: Path) -> dict[str, Site]:
    """Make a database for each project, and for `tuned` a copy of step 5 with the solution over it.

    Args:
        broker_url: The address of the broker.
        directory: Where the copy is made.
    """
    step = find_step("5")
    copy = copy_project(step, directory / "tuned", "tests")
    write_files(exercise_assignment("tuned_consumer").solution, copy)
    course = Site(step, broker_url, PRODUCTION)
    return {"step05": course, "none": course, "tuned": Site(copy, broker_url, PRODUCTION)}


def node_versions() -> dict[str, str]:
    """Return the versions of Node and of its servers' packages; nothing where they are missing."""
    if not (program := shutil.which("node")) or not (OUTSIDE / "node_modules").is_dir():
        return {}
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    packages: dict[str, str] = json.loads((OUTSIDE / "package.json").read_text())["dependencies"]
    return {"node": said.stdout.strip().removeprefix("v")} | packages


def missing(peer: Peer, port: int) -> str | None:
    """Return in a few words why a peer can't be measured here, or None."""
    if peer.program == "node":
        if not shutil.which("node"):
            return "Node is not installed"
        if not (OUTSIDE / "node_modules").is_dir():
            return "its packages are not installed; make bench-outside gets them"
    elif "uvloop" in peer.command and not UVLOOP.is_dir():
        return "uvloop is not installed; make bench-outside gets it"
    else:
        try:
            importlib.import_module(module := peer.command[1])
        except ImportError:
            return f"{module} is not installed"
    problem = port_problem("127.0.0.1", port)
    return problem and f"port {port}: {problem}"
