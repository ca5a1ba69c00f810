"""The limit: what sending alone costs. No Django, no login, no check of the input.

Run as `python -m benchmarks.limit PORT [BROKER [uvloop]]`. With a broker, messages go through its pub/sub.
"""

import asyncio
import importlib
import sys

import redis.asyncio
from websockets.asyncio.server import ServerConnection, broadcast, serve

rooms: dict[str, set[ServerConnection]] = {}


async def main(port: int, broker_url: str) -> None:
    """Serve until the process ends."""
    broker = redis.asyncio.Redis.from_url(broker_url) if broker_url else None

    async def relay(broker: redis.asyncio.Redis) -> None:
        async with broker.pubsub() as pubsub:
            await pubsub.psubscribe("/ws/chat/*")
            async for event in pubsub.listen():
                if event["type"] == "pmessage":
                    broadcast(rooms.get(event["channel"].decode(), ()), event["data"], text=True)

    async def chat(socket: ServerConnection) -> None:
        path = socket.request.path if socket.request else ""
        room = rooms.setdefault(path, set())
        room.add(socket)
        try:
            async for frame in socket:
                if broker:
                    await broker.publish(path, frame)
                else:
                    broadcast(room, frame)
        finally:
            room.discard(socket)

    async with serve(chat, "127.0.0.1", port, compression=None, max_size=65536):
        await (relay(broker) if broker else asyncio.get_running_loop().create_future())


if __name__ == "__main__":
    given = [*sys.argv[1:], "", ""]
    # The same loop under another name, so that the limit isn't one of asyncio's own.
    run = importlib.import_module(given[2] or "asyncio").run
    run(main(int(given[0]), given[1]))
