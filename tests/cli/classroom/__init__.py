"""A board that runs, and learners that are simulated: what the tests of the classroom share."""

import asyncio
import contextlib
import json
import secrets
import sys
from dataclasses import replace

import httpx
from websockets.asyncio.client import connect

from tests.cli.test_run import alone
from tutorial.course.assignment import find_assignment
from tutorial.course.steps import ROOT
from tutorial.learn.classroom import Joined
from tutorial.learn.sections import sections
from tutorial.learn.sign import Sign
from tutorial.services.ports import free_port
from tutorial.services.processes import Process

CODE, KEY = "BCDFGH", "0123456789abcdef"


def requirements(name):
    """Return the names of an assignment's requirements in the lesson's order."""
    parts = sections(find_assignment(name)).values()
    return [required.name for part in parts for required in part]


def sign(name, met=0, **more):
    """Return the sign of somebody who has met some of an assignment's requirements, the first ones."""
    names = requirements(name)
    at = names[met] if met < len(names) else ""
    return replace(Sign(assignment=name, met=met, of=len(names), at=at), **more)


class Board(Process):
    """The command, on a free port of this machine. It can be killed, and come back there."""

    def __init__(self, *options):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.page, self.projector = f"{self.url}/#{KEY}", f"{self.url}/?projector#{KEY}"
        own = ["--host", "127.0.0.1", "--port", str(self.port), "--code", CODE, "--key", KEY]
        super().__init__([sys.executable, "-m", "tutorial", "board", *own, *options], ROOT, alone({}))

    def wait_until_ready(self, timeout=60):
        """Wait until it listens."""
        self.wait_for_output("The board is open.", timeout)

    def __enter__(self):
        return self.start()

    async def room(self, until=lambda room: True, nameless=False):
        """Return what a page is shown, as soon as a condition on it holds."""
        address = f"ws{self.url[4:]}/page"
        async with asyncio.timeout(120), connect(address, origin=self.url, proxy=None) as page:
            await page.send(json.dumps({"type": "look", "key": KEY, "nameless": nameless}))
            async for message in page:
                room = json.loads(message)
                assert room["type"] == "room", room
                if until(room):
                    return room

    def get(self, path="/", **options):
        """Ask for a page."""
        return httpx.get(self.url + path, trust_env=False, **options)


@contextlib.asynccontextmanager
async def learner(board, nickname, token="", code=CODE):
    """A learner's connection that has joined; what it says is up to the test."""
    joined = Joined(board.url, code, nickname, token or secrets.token_hex(16))
    async with connect(f"ws{board.url[4:]}/learner", proxy=None, compression=None) as socket:
        await socket.send(joined.hello())
        yield socket


async def tell(socket, sign):
    """Send a sign and return what the board answers."""
    await socket.send(json.dumps({"type": "sign", **sign.data()}))
    while (answer := json.loads(await socket.recv()))["type"] in ("joined", "line"):
        pass
    return answer


@contextlib.asynccontextmanager
async def full_room(board, signs):
    """Learners with nicknames and signs, connected until the block ends."""
    async with contextlib.AsyncExitStack() as stack:
        sockets = {}
        for nickname, its in signs.items():
            sockets[nickname] = await stack.enter_async_context(learner(board, nickname))
            assert await tell(sockets[nickname], its) == {"type": "seen"}
        yield sockets


async def looked_at(page):
    """Return what axe finds wrong with a page, as text."""
    from axe_playwright_python.async_playwright import Axe

    found = await Axe().run(page)
    return [f"{each['id']}: {each['nodes'][0]['html']}" for each in found.response["violations"]]


async def settled(seconds=0.5):
    """Let a page draw, for a picture; no test waits so."""
    await asyncio.sleep(seconds)
