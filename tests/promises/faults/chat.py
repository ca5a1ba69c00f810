"""Clients of the chat that keep count, and clients that behave badly."""

import asyncio
import contextlib
import hashlib
import json
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import httpx
import psutil
import redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State
from websockets.uri import parse_uri

from tests.promises.faults.account import Unbalanced
from tutorial.course.files import copy_project
from tutorial.course.steps import find_step
from tutorial.services.demo_data import DEMO_USERS
from tutorial.services.processes import PATIENCE, wait_until
from tutorial.testing.site import Server

STEP = find_step("5")
# For copy_step: the other Redis layer of channels_redis.
PUBSUB = {"channels_redis.core.RedisChannelLayer": "channels_redis.pubsub.RedisPubSubChannelLayer"}


def path_of(room: str) -> str:
    """Return the path of a room's socket."""
    return f"/ws/chat/{quote(room, safe='')}/"


def group_of(room: str) -> str:
    """Return the key in the broker under which the default layer keeps a room's members."""
    return "asgi:group:chat_" + hashlib.sha256(room.encode()).hexdigest()


def members(broker_url: str, room: str | None = None) -> int:
    """Return how many sockets the broker has in a room, or in all groups together."""
    with redis.Redis.from_url(broker_url) as broker:
        groups = [group_of(room)] if room else list(broker.scan_iter("asgi:group:*"))
        return sum(broker.zcard(group) for group in groups)


def log_in(http: httpx.Client, headers: dict[str, str] | None = None, user: str = "alice") -> httpx.Response:
    """Log in as a demo user through the form; return the answer."""
    page = http.get("/login/", headers=headers).raise_for_status()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)[1]
    form = {"csrfmiddlewaretoken": token, "username": user, "password": DEMO_USERS[user]}
    return http.post("/login/", data=form, headers=headers)


def open_room(url: str, headers: dict[str, str], room: str = "room1", **options) -> connect:
    """Open a socket to a room as a page of the same address would.

    Args:
        url: The address of the server.
        headers: The Cookie, and what else a browser would send.
        room: The room.
        options: Those of `connect`.
    """
    settings = {"proxy": None, "open_timeout": PATIENCE, "ping_interval": None, "close_timeout": 5}
    # With a limit, a client whose test doesn't listen would stop reading and answer no ping.
    settings["max_queue"] = None
    address = url.replace("http", "ws", 1) + path_of(room)
    return connect(address, additional_headers={"Origin": url} | headers, **(settings | options))


def join(server: Server, room: str = "room1", user: str = "alice", **options) -> connect:
    """Open a socket to a room as a demo user."""
    return open_room(server.url, server.site.headers(server.url, user), room, **options)


@contextlib.asynccontextmanager
async def crowd(server: Server, count: int, room: str = "room1", **options) -> AsyncIterator[list]:
    """Open many sockets to a room, at most 50 handshakes at a time; close them at the end.

    Raises:
        websockets.exceptions.InvalidStatus: One of them was refused.
    """
    async with contextlib.AsyncExitStack() as stack:
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


async def hear(socket: ClientConnection) -> dict:
    """Return the next event from the server.

    Raises:
        TimeoutError: There was none.
        websockets.exceptions.ConnectionClosed: The socket closed instead.
    """
    async with asyncio.timeout(PATIENCE):
        return json.loads(await socket.recv())


async def hear_messages(socket: ClientConnection, count: int) -> list[str]:
    """Return the next messages that a socket hears."""
    return [(await hear(socket))["message"] for _ in range(count)]


async def exchange(sockets: list[ClientConnection], text: str) -> tuple[list, list]:
    """Let everyone in a room send a message in turn; return what was due and what arrived."""
    due, arrived = [], []
    for number, speaker in enumerate(sockets):
        message = f"{text} {number}"
        await say(speaker, message)
        due += [(listener, message) for listener in range(len(sockets))]
        arrived += [(listener, (await hear(each))["message"]) for listener, each in enumerate(sockets)]
    return due, arrived


async def converse(sockets: list[ClientConnection], count: int) -> tuple[list, list]:
    """Let everyone in a room send `count` messages at once; return what was due and what arrived.

    Each sends the next message when the last one has come back.

    Raises:
        Unbalanced: Somebody heard a speaker's messages out of order.
    """
    total = len(sockets) * count

    async def take_part(number: int, socket: ClientConnection) -> list[tuple[int, int]]:
        heard, said = [], 0
        with contextlib.suppress(TimeoutError, ConnectionClosed):
            while len(heard) < total:
                if said < count and (said == 0 or heard[-1] == (number, said - 1)):
                    await say(socket, f"{number} {said}")
                    said += 1
                speaker, message = (await hear(socket))["message"].split()
                heard.append((int(speaker), int(message)))
        return heard

    due = [
        (listener, speaker, message)
        for listener in range(len(sockets))
        for speaker in range(len(sockets))
        for message in range(count)
    ]
    everything = await asyncio.gather(*map(take_part, range(len(sockets)), sockets))
    arrived = [(listener, *event) for listener, heard in enumerate(everything) for event in heard]
    if sorted(arrived, key=lambda event: event[:2]) != sorted(arrived):
        raise Unbalanced(f"Somebody heard a speaker out of order: {arrived}")
    return due, arrived


async def last_word(speaker: ClientConnection, sockets: list[ClientConnection]) -> list[list[str]]:
    """Let somebody send a last message until all have heard it; return what each heard before it.

    It is sent again and again, because a room may lose it too.
    """

    async def listen(socket: ClientConnection) -> list[str]:
        heard: list[str] = []
        while "the end" not in heard:
            heard += await hear_messages(socket, 1)
        return heard[:-1]

    listening = [asyncio.create_task(listen(socket)) for socket in sockets]
    while not all(task.done() for task in listening):
        await say(speaker, "the end")
        await asyncio.wait(listening, timeout=1)
    return [await task for task in listening]


async def closed(socket: ClientConnection) -> int:
    """Return the code with which a socket closes, 1006 when there was no close frame.

    Raises:
        TimeoutError: It stayed open.
    """
    async with asyncio.timeout(PATIENCE):
        await socket.wait_closed()
    return socket.close_code


async def until_members(broker_url: str, room: str | None, count: int) -> None:
    """Wait until the broker has this many sockets in a room, or in all groups together.

    Raises:
        TimeoutError: There were never so many.
    """
    what = f"{count} members in {room or 'all rooms'}"
    await asyncio.to_thread(wait_until, lambda: members(broker_url, room) == count, 60, what)


@contextlib.contextmanager
def raw_socket(server: Server, room: str = "room1", user: str = "alice", receive_buffer: int | None = None):
    """Open a WebSocket by hand, which then neither reads nor answers a ping by itself.

    Args:
        server: The server.
        room: The room.
        user: The demo user.
        receive_buffer: Bytes that the operating system keeps for it; its own choice if not given.

    Raises:
        websockets.exceptions.InvalidHandshake: It was refused.
    """
    with socket.socket() as raw:
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.settimeout(PATIENCE)
        raw.connect(("127.0.0.1", server.port))
        protocol = ClientProtocol(parse_uri(server.websocket_url(path_of(room))))
        request = protocol.connect()
        request.headers.update(server.site.headers(server.url, user))
        protocol.send_request(request)
        raw.sendall(b"".join(protocol.data_to_send()))
        while protocol.state is State.CONNECTING and not protocol.handshake_exc:
            # One byte at a time, so that nothing behind the handshake is read.
            if byte := raw.recv(1):
                protocol.receive_data(byte)
            else:
                protocol.receive_eof()
        if protocol.handshake_exc:
            raise protocol.handshake_exc
        yield raw


def memory(server: Server) -> int:
    """Return the bytes of physical memory that a server's process holds."""
    return psutil.Process(server.pid).memory_info().rss


def copy_step(directory: Path, replacements: dict[str, dict[str, str]], step: Path = STEP) -> Path:
    """Copy a step and change lines in the copy.

    Args:
        directory: Where the copy is made.
        replacements: For each file, what to replace by what. `""` means the end of the file.
        step: The step.

    Raises:
        ValueError: A text to replace isn't there.
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
