"""Clients of the chat that keep count, and clients that behave badly."""

import asyncio
import base64
import hashlib
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import quote

import psutil
import redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tutorial.course.files import copy_project
from tutorial.course.steps import find_step
from tutorial.testing.site import Server

STEP = find_step("5")
# For copy_step: the other Redis layer of channels_redis.
PUBSUB = {"channels_redis.core.RedisChannelLayer": "channels_redis.pubsub.RedisPubSubChannelLayer"}
# Seconds. Generous, because a test run shares its two cores with others; none of it is a promise.
PATIENCE = 30


def path_of(room: str) -> str:
    """Return the path of a room's socket."""
    return f"/ws/chat/{quote(room, safe='')}/"


def group_of(room: str) -> str:
    """Return the key in the broker under which the default layer keeps a room's members."""
    return "asgi:group:chat_" + hashlib.sha256(room.encode()).hexdigest()


def members(broker_url: str, room: str | None = None) -> int:
    """Return how many sockets the broker counts in a room, or in all groups together."""
    with redis.Redis.from_url(broker_url) as broker:
        groups = [group_of(room)] if room else list(broker.scan_iter("asgi:group:*"))
        return sum(broker.zcard(group) for group in groups)


def join(server: Server, room: str = "room1", user: str = "alice", **options) -> connect:
    """Open a socket to a room as a demo user, with the headers a browser would send."""
    headers = server.site.headers(server.url, user) | options.pop("headers", {})
    settings = {"proxy": None, "open_timeout": PATIENCE, "ping_interval": None, "close_timeout": 5}
    # With a limit, a client whose test does not listen would stop reading, and answer no ping.
    settings["max_queue"] = None
    return connect(server.websocket_url(path_of(room)), additional_headers=headers, **(settings | options))


@asynccontextmanager
async def crowd(server: Server, count: int, room: str = "room1", **options) -> AsyncIterator[list]:
    """Open many sockets to a room, at most 50 handshakes at a time; close them at the end.

    Raises:
        websockets.exceptions.InvalidStatus: One of them was refused.
    """
    async with AsyncExitStack() as stack:
        gate = asyncio.Semaphore(50)

        async def enter() -> ClientConnection:
            async with gate:
                return await join(server, room, **options)

        sockets = await asyncio.gather(*(enter() for _ in range(count)))
        stack.push_async_callback(lambda: asyncio.gather(*(socket.close() for socket in sockets)))
        yield sockets


async def say(socket: ClientConnection, message: str) -> None:
    """Send a chat message as the browser does."""
    await socket.send(json.dumps({"message": message}))


async def hear(socket: ClientConnection, seconds: float = PATIENCE) -> dict:
    """Return the next event from the server.

    Raises:
        TimeoutError: There was none.
        websockets.exceptions.ConnectionClosed: The socket closed instead.
    """
    async with asyncio.timeout(seconds):
        return json.loads(await socket.recv())


async def collect(socket: ClientConnection, until: Callable[[list], bool], seconds: float = PATIENCE) -> list:
    """Return the messages that a socket hears until a condition on them holds, or time is up.

    Args:
        socket: The socket.
        until: Called with what has been heard so far.
        seconds: Seconds without anything heard after which to give up.
    """
    heard: list[str] = []
    try:
        while not until(heard):
            heard.append((await hear(socket, seconds))["message"])
    except (TimeoutError, ConnectionClosed):
        pass
    return heard


async def closed(socket: ClientConnection, seconds: float = PATIENCE) -> int:
    """Return the code with which a socket closes, 1006 when there was no close frame.

    Raises:
        TimeoutError: It stayed open.
    """
    async with asyncio.timeout(seconds):
        await socket.wait_closed()
    return socket.close_code


async def until(
    condition: Callable[[], object], seconds: float = PATIENCE, what: str = "the condition"
) -> object:
    """Return the first true answer of a function, asking again every 20 ms while others go on.

    Raises:
        TimeoutError: It was never true.
    """
    deadline = time.monotonic() + seconds
    while not (answer := await asyncio.to_thread(condition)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited {seconds} s in vain for {what}.")
        await asyncio.sleep(0.02)
    return answer


@contextmanager
def raw_socket(server: Server, room: str = "room1", user: str = "alice", receive_buffer: int | None = None):
    """Open a WebSocket by hand, which then neither reads nor answers a ping by itself.

    Args:
        server: The server.
        room: The room.
        user: The demo user.
        receive_buffer: Bytes that the operating system keeps for it; its own choice if not given.

    Raises:
        ConnectionRefusedError: The handshake was refused.
    """
    with socket.socket() as raw:
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.settimeout(PATIENCE)
        raw.connect(("127.0.0.1", server.port))
        headers = {
            "Host": f"127.0.0.1:{server.port}",
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            **server.site.headers(server.url, user),
        }
        lines = [f"GET {path_of(room)} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        raw.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            # One byte at a time, so that nothing behind the handshake is read.
            answer += raw.recv(1) or b"\r\n\r\n"
        if not answer.startswith(b"HTTP/1.1 101"):
            raise ConnectionRefusedError(answer.splitlines()[0].decode())
        yield raw


def memory(server: Server) -> int:
    """Return the bytes of physical memory that a server's process holds."""
    return psutil.Process(server.pid).memory_info().rss


def copy_step(directory: Path, replacements: dict[str, dict[str, str]], step: Path = STEP) -> Path:
    """Copy a step and change lines in the copy.

    Args:
        directory: Where the copy is made.
        replacements: For each file, what to replace by what. `""` stands for the end of the file.
        step: The step.

    Raises:
        ValueError: What is to be replaced is not there.
    """
    copy = directory / step.name
    copy_project(step, copy, "tests")
    for name, changes in replacements.items():
        text = (copy / name).read_text()
        for old, new in changes.items():
            if old not in text:
                raise ValueError(f"{name} has no {old!r}")
            text = text.replace(old, new) if old else text + new
        (copy / name).write_text(text)
    return copy
