import asyncio
import json
from datetime import UTC, datetime

from channels.generic.websocket import AsyncWebsocketConsumer


class ClockConsumer(AsyncWebsocketConsumer):
    async def connect(self):
        """Called when a browser opens the socket."""
        await self.accept()
        # A task of its own: a loop here would keep all other methods waiting, even disconnect().
        self.ticking = asyncio.create_task(self.tick())

    async def disconnect(self, close_code):
        """Called when the socket is closed, by whichever side."""
        # A tick may have raised because the browser is gone; cancel() keeps that out of the log.
        self.ticking.cancel()

    async def tick(self):
        """Send the time, now and every second, until cancelled."""
        while True:
            await self.send(text_data=json.dumps({"time": datetime.now(UTC).isoformat()}))
            await asyncio.sleep(1)
