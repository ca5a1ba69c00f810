"""The load balancer of the tests: it passes TCP connections on to servers."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from tutorial.testing.site import Server


class Balancer:
    """Passes each connection on to the first of its servers that takes it; an async context manager.

    Args:
        servers: The servers, of which tests may kill some.

    Attributes:
        passing: An event; while it is clear, new connections are taken and not passed on.
        url: Where it listens, once entered.
    """

    def __init__(self, servers: Sequence[Server]):
        self._ports = [server.port for server in servers]
        self._connections: set[asyncio.Task] = set()
        self.passing = asyncio.Event()
        self.passing.set()

    def prefer(self, server: Server) -> None:
        """Pass new connections on to one server first."""
        self._ports.sort(key=lambda port: port != server.port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        await self.passing.wait()
        for port in self._ports:
            with suppress(ConnectionRefusedError):
                server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
                await asyncio.gather(_copy(reader, server_writer), _copy(server_reader, writer))
                return
        writer.transport.abort()

    async def __aenter__(self) -> "Balancer":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc_info) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()
    except (OSError, asyncio.CancelledError):
        writer.transport.abort()
