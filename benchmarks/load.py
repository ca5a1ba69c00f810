"""The load generator: sockets that send and count, in a process of their own.

`Load` starts it and gives it orders. It is written on picows, whose frames are parsed in C, so that it is
lighter than the servers it measures. Every answer has the share of one core that it used itself.
"""

import asyncio
import json
import subprocess
import sys
import time
from array import array
from collections import defaultdict
from contextlib import suppress
from statistics import quantiles
from typing import Any, Self, TypedDict

from picows import WSCloseCode, WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from tutorial.services.processes import patience

HANDSHAKES = 50  # at a time
PATIENCE = 15  # seconds until a missing delivery counts as lost; more on a busy machine
IN_FLIGHT = 400  # deliveries under way in a burst
# A default channel layer holds 100 messages for a process, and drops any more.
MOST_MESSAGES_IN_FLIGHT = 40


class Opened(TypedDict):
    """How many sockets a server holds and has refused, and how many seconds opening them took."""

    open: int
    refused: int
    seconds: float
    reason: str


class LoadFailed(RuntimeError):
    """Raised when the load generator ended."""


class NoSocket(RuntimeError):
    """Raised when a server has refused or closed all sockets."""


class Client(WSListener):
    """One socket in a room.

    Args:
        crowd: All sockets to a server, whose burst this one is part of.
        room: The number of its room.
    """

    transport: WSTransport

    def __init__(self, crowd: "Crowd", room: int):
        self.crowd, self.room, self.heard = crowd, room, 0
        self.entered = asyncio.get_running_loop().create_future()

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Called by picows."""
        self.transport = transport
        self.enter()

    def enter(self) -> None:
        """Count as one of the crowd: the server has let it in."""
        self.crowd.clients.add(self)
        self.entered.set_result(None)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Called by picows."""
        self.crowd.clients.discard(self)
        if self.crowd.burst and not self.crowd.clients:
            self.crowd.burst.done.set()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Called by picows for every frame. Nothing else runs as often: keep it short."""
        if frame.msg_type is WSMsgType.TEXT:
            burst = self.crowd.burst
            if burst:
                burst.deliver(self)
            else:
                self.crowd.strays += 1
        elif frame.msg_type is WSMsgType.CLOSE:
            transport.send_close()
            transport.disconnect()


class SocketIoClient(Client):
    """A client of a Socket.IO server, over a WebSocket from the start.

    The protocol is on https://socket.io/docs/v4/socket-io-protocol/: `0` opens the connection, `40` enters
    the namespace and is answered with the same, and `42` is an event.
    """

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Called by picows."""
        self.transport = transport
        transport.send(WSMsgType.TEXT, b"40")

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Called by picows for every frame."""
        if self.entered.done():
            super().on_ws_frame(transport, frame)
        elif frame.get_payload_as_bytes().startswith(b"40"):
            self.enter()


# For each protocol its client, and a message with a text of X.
PROTOCOLS = {
    "": (Client, '{"message": "X"}'),
    "socket.io": (SocketIoClient, '42["chat",{"message": "X"}]'),
}


class Crowd:
    """All sockets to one server."""

    def __init__(self) -> None:
        self.clients: set[Client] = set()
        self.burst: Burst | None = None
        self.refused = self.strays = 0
        self.reason = ""

    async def open(
        self, url: str, headers: dict[str, str], count: int, rooms: int, protocol: str = ""
    ) -> Opened:
        """Open sockets until there are `count`, spread evenly over `rooms`.

        Args:
            url: The address of a room, with ROOM for its name.
            headers: More headers for the handshake.
            count: How many sockets.
            rooms: How many rooms.
            protocol: A key of `PROTOCOLS`: what is spoken in the frames.
        """
        new_client, self.message = PROTOCOLS[protocol]
        gate, start = asyncio.Semaphore(HANDSHAKES), time.perf_counter()

        async def enter(room: int) -> None:
            async with gate:
                try:
                    client = new_client(self, room)
                    await ws_connect(
                        lambda: client,
                        url.replace("ROOM", f"room{room}"),
                        extra_headers=headers,
                        websocket_handshake_timeout=patience(PATIENCE),
                        logger_name="quiet",
                        proxy=None,
                    )
                    await asyncio.wait_for(client.entered, patience(PATIENCE))
                except (OSError, TimeoutError, ValueError, WSError) as error:
                    self.refused += 1
                    self.reason = f"{type(error).__name__}: {error}"[:200]

        await asyncio.gather(*(enter(number % rooms) for number in range(len(self.clients), count)))
        seconds = time.perf_counter() - start
        return {"open": len(self.clients), "refused": self.refused, "seconds": seconds, "reason": self.reason}

    async def close(self) -> None:
        transports = [client.transport for client in self.clients]
        for transport in transports:
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
        await asyncio.gather(*(transport.wait_disconnected() for transport in transports))

    async def send(self, seconds: float, size: int, rate: float = 0) -> dict[str, float] | dict[str, str]:
        """Send messages for a while; return the deliveries and how late they were, in seconds.

        Strays are deliveries of another server's messages, or of a burst that is over.

        Args:
            seconds: How long new messages are sent.
            size: The bytes of a message's text.
            rate: Messages a second; as fast as they are delivered if 0.
        """
        if not self.clients:
            return {"failed": "no socket to it is open"}
        burst = self.burst = Burst(self.clients, self.message.replace("X", size * "x").encode())
        processor, start = time.process_time(), time.perf_counter()
        try:
            await burst.run(seconds, rate)
        finally:
            self.burst = None
        elapsed = time.perf_counter() - start
        cuts = quantiles(burst.latencies, n=100) if burst.count > 1 else [0.0] * 99
        return {
            "messages": burst.sent,
            "deliveries": burst.count,
            "lost": burst.expected - burst.count,
            "strays": self.strays,
            "seconds": elapsed,
            "p50": cuts[49],
            "p99": cuts[98],
            "load_share": (time.process_time() - processor) / elapsed,
        }


class Burst:
    """Messages that are sent to all rooms in turn, and their deliveries."""

    def __init__(self, clients: set[Client], frame: bytes):
        self.frame = frame
        rooms: dict[int, list[Client]] = defaultdict(list)
        for client in clients:
            client.heard = 0
            rooms[client.room].append(client)
        self.senders = [members[0].transport for members in rooms.values()]
        self.room_size = [len(members) for members in rooms.values()]
        self.times: dict[int, list[float]] = {room: [] for room in rooms}
        self.rooms = list(self.times.values())
        self.latencies = array("d")
        self.sent = self.expected = self.count = 0
        self.until, self.mark = 0.0, float("inf")  # the mark: after this many deliveries, the next is sent
        self.done = asyncio.Event()

    async def run(self, seconds: float, rate: float) -> None:
        """Send until the time is up, and wait for deliveries still under way."""
        if rate:
            for _ in range(max(1, round(seconds * rate))):
                self.send()
                await asyncio.sleep(1 / rate)
            self.mark = self.expected
        else:
            self.until, self.mark = time.perf_counter() + seconds, self.room_size[0]
            for _ in range(min(MOST_MESSAGES_IN_FLIGHT, max(2, IN_FLIGHT // max(self.room_size)))):
                self.send()
        if self.count < self.expected:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.done.wait(), seconds + patience(PATIENCE))

    def send(self) -> None:
        """Send a message to the next room."""
        room = self.sent % len(self.senders)
        self.sent += 1
        self.expected += self.room_size[room]
        self.rooms[room].append(time.perf_counter())
        self.senders[room].send(WSMsgType.TEXT, self.frame)

    def deliver(self, client: Client) -> None:
        """Note that a client has its next message; a room's messages come in order."""
        now = time.perf_counter()
        sent = self.times[client.room]
        if client.heard < len(sent):
            self.latencies.append(now - sent[client.heard])
            client.heard += 1
            self.count += 1
            if self.count >= self.mark:
                self.go_on(now)

    def go_on(self, now: float) -> None:
        """Send one more message for each delivered one, until the time is up."""
        if now < self.until:
            self.mark += self.room_size[self.sent % len(self.room_size)]
            self.send()
        elif self.count < self.expected:
            self.mark = self.expected
        else:
            self.done.set()


async def serve() -> None:
    """Carry out orders, one line of JSON each, from standard input."""
    crowds: dict[str, Crowd] = defaultdict(Crowd)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        name, do, options = json.loads(line)
        crowd = crowds.pop(name) if do == "close" else crowds[name]
        print(json.dumps(await getattr(crowd, do)(**options)), flush=True)


class Load:
    """The load generator's process. Ends with the `with` block."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "benchmarks.load"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)  # noqa: S603
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.communicate()

    def order(self, crowd: str, do: str, **options: object) -> Any:
        """Have a crowd open, send or close, and return the result.

        Args:
            crowd: A name for the sockets to one server.
            do: A method of `Crowd`, whose arguments are the options.

        Raises:
            LoadFailed: The process has ended.
            NoSocket: The crowd has no open socket to send on.
        """
        orders, answers, errors = self._process.stdin, self._process.stdout, self._process.stderr
        assert orders is not None and answers is not None and errors is not None  # noqa: PT018, S101
        with suppress(BrokenPipeError):
            orders.write(json.dumps([crowd, do, options]) + "\n")
            orders.flush()
        if not (answer := answers.readline()):
            raise LoadFailed(f"The load generator has ended.\n{errors.read()[-1000:]}")
        result = json.loads(answer)
        if result and "failed" in result:
            raise NoSocket(result["failed"])
        return result


if __name__ == "__main__":
    asyncio.run(serve())
