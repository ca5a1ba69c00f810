"""Measure what an open page costs that waits for notices: by server-sent events, and over a WebSocket.

Two exercises, `events` and `live_notice`, each with its solution and as in production, take turns.
Results: `docs/load/notices.json` and, as a table, `notices.txt`.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
from websockets.asyncio.client import connect

from benchmarks.measure import allow_files
from benchmarks.peers import processor_time
from tutorial.course.assignment import exercise_assignment
from tutorial.course.files import copy_project, write_files
from tutorial.course.steps import ROOT
from tutorial.services.broker import Broker
from tutorial.services.processes import patience
from tutorial.testing.site import PRODUCTION, Server, Site

WAYS = {"events": "server-sent events", "live_notice": "WebSocket"}
PUBLISHER = """
import sys
import django
django.setup()
from django.contrib.auth import get_user_model
user = get_user_model().objects.get(username="alice")
def events(text):
    from blog.events import announce
    from blog.models import Post
    Post.objects.create(author=user, title=text, body="…")
    announce()
def live_notice(text):
    from blog.notices import tell
    tell(user, text)
for line in sys.stdin:
    {name}(line.strip())
"""
PATIENCE = 60  # seconds until a notice counts as lost; more on a busy machine
Row = dict[str, Any]


class Way:
    """A server, pages that wait for its notices, and a process that publishes.

    Args:
        name: The exercise.
        site: Its project.
        server: What serves it.
        publisher: A process that publishes each line it reads.
    """

    def __init__(self, name: str, site: Site, server: Server, publisher: "subprocess.Popen[str]"):
        self.name, self.site, self.server, self._publisher = name, site, server, publisher
        self.process = psutil.Process(server.pid)
        self._pages: list[asyncio.Task[None]] = []
        self._text, self._missing, self._heard = b"", 0, asyncio.Event()

    async def open(self, count: int) -> None:
        """Open pages until there are `count`."""
        while len(self._pages) < count:
            ready = asyncio.Event()
            self._pages.append(page := asyncio.create_task(self._wait(ready)))
            waiting = asyncio.create_task(ready.wait())
            await asyncio.wait([page, waiting], return_when=asyncio.FIRST_COMPLETED)
            if page.done():
                waiting.cancel()
                page.result()

    async def close(self) -> None:
        """Close all pages."""
        for page in self._pages:
            page.cancel()
        await asyncio.gather(*self._pages, return_exceptions=True)
        self._pages.clear()

    async def _wait(self, ready: asyncio.Event) -> None:
        async for line in self._stream() if self.name == "events" else self._socket():
            ready.set()
            if self._text and self._text in line:
                self._missing -= 1
                if not self._missing:
                    self._heard.set()

    async def _stream(self) -> AsyncIterator[bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        cookie = f"sessionid={self.site.sessions['alice']}"
        request = f"GET /blog/events/?after=0 HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\n\r\n"
        try:
            writer.write(request.encode())
            await reader.readuntil(b"\nretry:")
            while line := await reader.readline():
                yield line
        finally:
            writer.close()

    async def _socket(self) -> AsyncIterator[bytes]:
        address = self.server.websocket_url("/ws/notices/")
        headers = self.site.headers(self.server.url, "alice")
        async with connect(address, additional_headers=headers, proxy=None, compression=None) as socket:
            yield b""
            async for frame in socket:
                yield str(frame).encode()

    async def publish(self, text: str) -> float:
        """Publish a notice and wait until all pages have it; return the server's processor seconds."""
        self._text, self._missing = text.encode(), len(self._pages)
        self._heard.clear()
        before = processor_time(self.process)
        if self._publisher.stdin:
            self._publisher.stdin.write(f"{text}\n")
            self._publisher.stdin.flush()
        async with asyncio.timeout(patience(PATIENCE)):
            await self._heard.wait()
        return processor_time(self.process) - before


@contextmanager
def ways() -> Iterator[list[Way]]:
    """Start both servers, each with a process that publishes."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="notices-")))
        broker = stack.enter_context(Broker())
        found = []
        for name in WAYS:
            exercise = exercise_assignment(name)
            project = copy_project(exercise.step, directory / name, "tests")
            write_files(exercise.solution, project)
            site = stack.enter_context(Site(project, broker.url, PRODUCTION))
            # Without a limit it would wait for open streams.
            stop = ("--timeout-graceful-shutdown", "1", "--no-access-log")
            server = stack.enter_context(Server(site, "uvicorn", arguments=stop).start(PATIENCE))
            publisher = subprocess.Popen(  # noqa: S603
                [sys.executable, "-c", PUBLISHER.format(name=name)],
                cwd=project,
                env=site.env,
                stdin=subprocess.PIPE,
                text=True,
            )
            stack.callback(publisher.communicate)
            found.append(Way(name, site, server, publisher))
        yield found


async def measure(pages: int, rounds: int, notices: int, idle: int) -> dict[str, Row]:
    """Measure both ways in turn.

    Args:
        pages: How many wait on each server.
        rounds: How often each takes its turn.
        notices: How many are published in a turn.
        idle: Seconds in which nothing happens, to measure what waiting costs.

    Returns:
        For each way bytes, threads, and processor seconds for a notice and for a minute, all of one page.
    """
    allow_files(4 * pages + 200)
    results: dict[str, Row] = {}
    with ways() as both:
        for way in both:
            await way.open(10)  # what the first ones load stays
            await way.publish("the first")
            await way.close()
            memory, threads = way.process.memory_info().rss, way.process.num_threads()
            await way.open(pages)
            results[way.name] = {
                "memory": (way.process.memory_info().rss - memory) / pages,
                "threads": (way.process.num_threads() - threads) / pages,
                "notice": [],
            }
        for number in range(rounds):
            for way in both:
                spent = [await way.publish(f"notice {number}-{count}.") for count in range(notices)]
                results[way.name]["notice"].append(sum(spent) / notices / pages)
        before = {way.name: processor_time(way.process) for way in both}
        await asyncio.sleep(idle)
        for way in both:
            spent_idle = processor_time(way.process) - before[way.name]
            results[way.name]["minute"] = spent_idle / pages * 60 / idle
            await way.close()
    return results


def table(results: Row) -> str:
    """Return the results as a table for the docs."""
    lines = ["| for each open page | " + " | ".join(WAYS.values()) + " |", "| --- | ---: | ---: |"]
    rows = [results["ways"][name] for name in WAYS]
    for what, cells in {
        "kB of memory": [f"{row['memory'] / 1000:.0f}" for row in rows],
        "threads": [f"{row['threads']:.0f}" for row in rows],
        "µs of processor for a notice": [
            f"{1e6 * statistics.median(row['notice']):.0f} "
            f"({1e6 * min(row['notice']):.0f} to {1e6 * max(row['notice']):.0f})"
            for row in rows
        ],
        "ms of processor for a minute without one": [f"{1e3 * row['minute']:.1f}" for row in rows],
    }.items():
        lines.append(f"| {what} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and write both files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.notices", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "docs/load", help="where the files go")
    parser.add_argument("--quick", action="store_true", help="only try it; the figures mean little")
    options = parser.parse_args()
    plan = {"pages": 200, "rounds": 5, "notices": 10, "idle": 60}
    if options.quick:
        plan = {"pages": 5, "rounds": 1, "notices": 2, "idle": 1}
    results = {"plan": plan, "ways": asyncio.run(measure(**plan))}
    (options.output / "notices.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.output / "notices.txt").write_text(table(results))
    print(table(results), end="")


if __name__ == "__main__":
    main()
