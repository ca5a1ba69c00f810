"""What is measured: servers of the course's chat, a better consumer, and the limit."""

import importlib
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from tutorial.course.files import copy_project
from tutorial.course.steps import ROOT, find_step
from tutorial.services.ports import free_port, port_problem
from tutorial.services.processes import Process
from tutorial.testing.site import SERVERS, Site

TUNED = ROOT / "exercises" / "tuned_consumer" / "solution"
APPLICATION = "config.asgi:application"
UVICORN = tuple(SERVERS["uvicorn"])
DAPHNE = ("-m", "daphne", "-b", "127.0.0.1", "-p", "{port}")
GRANIAN = (
    *("-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}"),
    *("--workers", "1", "--backpressure", "4096", APPLICATION),
)
# No worker processes: it serves in the process that is started.
HYPERCORN = ("-m", "hypercorn", "-b", "127.0.0.1:{port}", "-w", "0", APPLICATION)
LIMIT = ("-m", "benchmarks.limit", "{port}")


@dataclass(frozen=True)
class Peer:
    """A server to measure.

    Attributes:
        name: What it is called in the results.
        command: The words after `python`; `{port}` and `{broker}` are filled in.
        module: The package that must be installed for it.
        code: Which project it serves: `step05`, `tuned` (step 5 under the exercise's solution) or `none`.
        layer: The channel layer: core, pubsub, memory, or what the project's settings say if empty.
        login: Whether its sockets need a session cookie.
        swept: Whether it is also measured with other numbers of clients and rooms and other sizes.
    """

    name: str
    command: tuple[str, ...]
    module: str
    code: str = "step05"
    layer: str = ""
    login: bool = True
    swept: bool = False


PEERS = [
    Peer(
        "official tutorial, daphne, core",
        (*DAPHNE, "benchmarks.official:application"),
        "daphne",
        code="none",
        login=False,
        swept=True,
    ),
    Peer("step05, daphne, core", tuple(SERVERS["daphne"]), "daphne"),
    Peer("step05, hypercorn, core", HYPERCORN, "hypercorn"),
    Peer("step05, hypercorn, pub/sub", HYPERCORN, "hypercorn", layer="pubsub"),
    Peer("step05, granian, core", GRANIAN, "granian"),
    Peer("step05, granian, pub/sub", GRANIAN, "granian", layer="pubsub"),
    Peer("step05, uvicorn, core", UVICORN, "uvicorn", swept=True),
    Peer("step05, uvicorn, pub/sub", UVICORN, "uvicorn", layer="pubsub", swept=True),
    Peer("step05, uvicorn, in-memory", UVICORN, "uvicorn", layer="memory"),
    Peer("tuned, uvicorn, core", UVICORN, "uvicorn", code="tuned", layer="core"),
    Peer("tuned, uvicorn, pub/sub", UVICORN, "uvicorn", code="tuned", layer="pubsub", swept=True),
    Peer(
        "limit: websockets, pub/sub",
        (*LIMIT, "{broker}"),
        "websockets",
        code="none",
        login=False,
        swept=True,
    ),
    Peer("limit: websockets alone", LIMIT, "websockets", code="none", login=False),
]
DOCUMENT, AS_IS, FASTER_LAYER, FAN_OUT, BOUND = (peer.name for peer in PEERS if peer.swept)


class Running(Process):
    """A peer that runs.

    Args:
        peer: What is started.
        site: The project it serves, or any if it serves none, with the broker's address in its environment.
        port: The port on 127.0.0.1.
        env: More variables for its environment.
    """

    def __init__(self, peer: Peer, site: Site, port: int, env: dict[str, str] | None = None):
        self.peer, self.port = peer, port
        # Rooms of its own: all servers share the broker, and a common room would set them all to work.
        self.url = f"ws://127.0.0.1:{port}/ws/chat/{port}_ROOM/"
        self.headers = site.headers(f"http://127.0.0.1:{port}", "alice" if peer.login else None)
        words = [word.format(port=port, broker=site.env["REDIS_URL"]) for word in peer.command]
        mine = {
            "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
            "PYTHONPATH": str(ROOT),
            "BENCHMARK_LAYER": peer.layer,
        }
        super().__init__([sys.executable, *words], site.step, site.env | mine | (env or {}))

    def wait(self, timeout: float = 60) -> None:
        """Wait until its port takes connections.

        Args:
            timeout: Seconds to wait.

        Raises:
            NotStarted: It did not.
        """
        self._wait_for(self._listens, timeout, f"an open port {self.port}")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

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
    copy_project(TUNED, copy)
    production = {"DEBUG": "0", "SECRET_KEY": "for-a-measurement-only", "ALLOWED_HOSTS": "127.0.0.1"}
    course = Site(step, broker_url, production)
    return {"step05": course, "none": course, "tuned": Site(copy, broker_url, production)}


def missing(peer: Peer, port: int) -> str | None:
    """Return in a few words why a peer cannot be measured here, or None."""
    try:
        importlib.import_module(peer.module)
    except ImportError:
        return f"{peer.module} is not installed"
    if problem := port_problem("127.0.0.1", port):
        return f"port {port}: {problem}"
    return None


def choose_ports(count: int, first: int | None) -> list[int]:
    """Return a port for each of `count` peers: free ones, or in a row from `first` on."""
    return [first + number if first else free_port() for number in range(count)]
