"""The limit: what sending alone costs. No Django, no login, no check of the input.

Run as `python -m benchmarks.limit PORT BROKER LOOP`. Messages go through the broker's
pub/sub, or straight to the other sockets if BROKER is empty. LOOP is asyncio or uvloop.
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
    port, broker_url, loop = sys.argv[1:]
    importlib.import_module(loop).run(main(int(port), broker_url))
