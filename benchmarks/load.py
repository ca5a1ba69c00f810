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
from contextlib import suppress
from statistics import quantiles

from picows import WSCloseCode, WSError, WSListener, WSMsgType, ws_connect

HANDSHAKES = 50  # at a time
PATIENCE = 15  # seconds until a delivery that has not come counts as lost
IN_FLIGHT = 400  # deliveries that a burst keeps under way
# A default channel layer holds 100 messages for a process, and drops what is beyond.
MOST_MESSAGES_IN_FLIGHT = 40


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

    def __init__(self, crowd: "Crowd", room: int):
        self.crowd, self.room, self.heard = crowd, room, 0
        self.transport = None

    def on_ws_connected(self, transport):
        """Called by picows."""
        self.transport = transport

    def on_ws_disconnected(self, transport):
        """Called by picows."""
        self.crowd.clients.discard(self)

    def on_ws_frame(self, transport, frame):
        """Called by picows for every frame. Nothing else runs so often: it must stay short."""
        if frame.msg_type is WSMsgType.TEXT:
            burst = self.crowd.burst
            if burst:
                burst.deliver(self)
            else:
                self.crowd.strays += 1
        elif frame.msg_type is WSMsgType.CLOSE:
            transport.send_close()
            transport.disconnect()


class Crowd:
    """All sockets to one server.

    Args:
        url: The address of a room, with ROOM for its name.
        headers: More headers for the handshake.

    Attributes:
        strays: Deliveries while this crowd was silent; of another server's messages, or too late.
    """

    def __init__(self, url: str, headers: dict[str, str]):
        self.url, self.headers = url, headers
        self.clients: set[Client] = set()
        self.burst: Burst | None = None
        self.refused = self.strays = 0
        self.reason = ""

    async def open(self, count: int, rooms: int) -> dict:
        """Open sockets until there are `count`, dealt out evenly to `rooms`."""
        gate = asyncio.Semaphore(HANDSHAKES)
        start, before = time.perf_counter(), len(self.clients)

        async def enter(number: int) -> None:
            client = Client(self, number % rooms)
            async with gate:
                try:
                    await ws_connect(
                        lambda: client,
                        self.url.replace("ROOM", f"room{client.room}"),
                        extra_headers=self.headers,
                        websocket_handshake_timeout=PATIENCE,
                        logger_name="quiet",
                        proxy=None,
                    )
                    self.clients.add(client)
                except (OSError, TimeoutError, ValueError, WSError) as error:
                    self.refused += 1
                    self.reason = f"{type(error).__name__}: {error}"[:200]

        await asyncio.gather(*(enter(number) for number in range(before, count)))
        seconds = time.perf_counter() - start
        answer = {"open": len(self.clients), "refused": self.refused, "seconds": seconds}
        return answer | {"reason": self.reason}

    async def close(self) -> dict:
        """Close all sockets."""
        clients = list(self.clients)
        for client in clients:
            client.transport.send_close(WSCloseCode.OK)
            client.transport.disconnect()
        await asyncio.gather(*(client.transport.wait_disconnected() for client in clients))
        self.clients.clear()
        return {}

    async def send(self, seconds: float, size: int, rate: float = 0) -> dict:
        """Send messages for a while; return what was delivered and how late.

        Args:
            seconds: How long new messages are sent.
            size: The bytes of a message's text.
            rate: Messages a second; as fast as they are delivered if 0.
        """
        if not self.clients:
            return {"failed": "no socket to it is open"}
        self.burst = Burst(self, size)
        processor, start = time.process_time(), time.perf_counter()
        try:
            await self.burst.run(seconds, rate)
        finally:
            burst, self.burst = self.burst, None
        elapsed = time.perf_counter() - start
        late = burst.latencies
        cuts = quantiles(late, n=100) if len(late) > 1 else [0.0] * 99
        return {
            "messages": burst.sent,
            "deliveries": len(late),
            "lost": burst.expected - len(late),
            "strays": self.strays,
            "seconds": elapsed,
            "p50": cuts[49],
            "p99": cuts[98],
            "load_share": (time.process_time() - processor) / elapsed,
        }


class Burst:
    """Messages that are sent to all rooms in turn, and their deliveries."""

    def __init__(self, crowd: Crowd, size: int):
        self.frame = json.dumps({"message": "x" * size}).encode()
        senders = {}
        for client in crowd.clients:
            client.heard = 0
            senders.setdefault(client.room, client.transport)
        self.senders = list(senders.values())
        self.times = {room: [] for room in senders}
        self.rooms = list(self.times.values())
        self.room_size = [sum(client.room == room for client in crowd.clients) for room in senders]
        self.latencies = array("d")
        self.sent = self.expected = self.count = 0
        self.until = 0.0
        self.done = asyncio.get_running_loop().create_future()

    async def run(self, seconds: float, rate: float) -> None:
        """Send until the time is up, and wait for what is still under way."""
        self.until = time.perf_counter() + seconds
        if rate:
            self.mark = float("inf")
            for _ in range(max(1, round(seconds * rate))):
                self.send()
                await asyncio.sleep(1 / rate)
            self.until = 0
        else:
            ahead = min(MOST_MESSAGES_IN_FLIGHT, max(2, IN_FLIGHT // max(self.room_size)))
            self.mark = self.room_size[0]
            for _ in range(ahead):
                self.send()
        if self.count < self.expected:
            self.mark = self.expected if rate else self.mark
            try:
                async with asyncio.timeout(seconds + PATIENCE):
                    await self.done
            except TimeoutError:
                return

    def send(self) -> None:
        """Send a message to the next room."""
        room = self.sent % len(self.senders)
        self.sent += 1
        self.expected += self.room_size[room]
        self.rooms[room].append(time.perf_counter())
        self.senders[room].send(WSMsgType.TEXT, self.frame)

    def deliver(self, client: Client) -> None:
        """Note that a client has heard its next message; a room's messages come in order."""
        now = time.perf_counter()
        sent = self.times[client.room]
        if client.heard < len(sent):
            self.latencies.append(now - sent[client.heard])
            client.heard += 1
            self.count += 1
            if self.count >= self.mark:
                self.go_on(now)

    def go_on(self, now: float) -> None:
        """Send one more message for one that is delivered, until the time is up."""
        if now < self.until:
            self.mark += self.room_size[self.sent % len(self.room_size)]
            self.send()
        elif self.count < self.expected:
            self.mark = self.expected
        elif not self.done.done():
            self.done.set_result(None)


async def serve() -> None:
    """Carry out orders, one JSON object a line, from standard input."""
    crowds: dict[str, Crowd] = {}
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        name, do = order.pop("crowd"), order.pop("do")
        if do == "open" and name not in crowds:
            crowds[name] = Crowd(order.pop("url"), order.pop("headers"))
        order.pop("url", None), order.pop("headers", None)
        crowd = crowds.pop(name) if do == "close" else crowds[name]
        print(json.dumps(await getattr(crowd, do)(**order)), flush=True)


class Load:
    """The load generator's process. Ends with the `with` block."""

    def __enter__(self) -> "Load":
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *exc_info) -> None:
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._process.stderr.close()

    def order(self, crowd: str, do: str, **options) -> dict:
        """Have a crowd open, send or close, and return what came of it.

        Args:
            crowd: A name for the sockets to one server.
            do: A method of `Crowd`, whose arguments are the options. The first `open` also takes `url`, in
                which ROOM stands for the room, and `headers`.

        Raises:
            LoadFailed: The process has ended.
            NoSocket: The crowd has no open socket to send on.
        """
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"crowd": crowd, "do": do} | options) + "\n")
            self._process.stdin.flush()
        if answer := self._process.stdout.readline():
            result = json.loads(answer)
            if "failed" in result:
                raise NoSocket(result["failed"])
            return result
        raise LoadFailed(f"The load generator has ended.\n{self._process.stderr.read()[-1000:]}")


if __name__ == "__main__":
    asyncio.run(serve())
