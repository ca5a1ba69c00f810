"""What stands for a load balancer in the tests: it passes TCP connections on to servers."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from tutorial.testing.site import Server


class Balancer:
    """Passes each connection on to the first of its servers that takes it.

    Args:
        servers: The servers, of which tests may kill some.

    Attributes:
        url: Where it listens, once entered as an async context manager.
    """

    def __init__(self, servers: Sequence[Server]):
        self._ports = [server.port for server in servers]
        self._passing = asyncio.Event()
        self._passing.set()
        self._connections: set[asyncio.Task] = set()

    def prefer(self, server: Server) -> None:
        """Pass new connections on to one server first."""
        self._ports.sort(key=lambda port: port != server.port)

    def hold(self) -> None:
        """Take new connections, and pass none of them on before `release()`."""
        self._passing.clear()

    def release(self) -> None:
        """Pass on what was held."""
        self._passing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(asyncio.current_task())
        try:
            await self._passing.wait()
            server_reader, server_writer = await self._open()
            await asyncio.gather(copy(reader, server_writer), copy(server_reader, writer))
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._connections.discard(asyncio.current_task())

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for port in self._ports:
            with suppress(ConnectionRefusedError):
                return await asyncio.open_connection("127.0.0.1", port)
        raise ConnectionRefusedError("none of the servers takes a connection")

    async def __aenter__(self) -> "Balancer":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc_info) -> None:
        self._server.close()
        for connection in list(self._connections):
            connection.cancel()
        await self._server.wait_closed()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Write what is read until the end, then close; a connection that was reset is closed too."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        writer.transport.abort()
    finally:
        writer.close()
