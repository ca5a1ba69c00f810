"""What makes a crowd cheap: the sockets of a room in this process share one membership in its group."""

import asyncio
import json
import logging
from collections import deque
from contextlib import suppress
from weakref import WeakValueDictionary

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer

logger = logging.getLogger(__name__)

MAX_UNSENT = 100  # frames that wait for a slow browser
TRY_AGAIN_LATER = {"type": "websocket.close", "code": 1013}


class Room:
    """The sockets in a room, and the task that hears its group for all of them."""

    def __init__(self, group):
        self.group, self.members, self.lock = group, set(), asyncio.Lock()

    async def enter(self, member):
        """Take a socket in. It hears all that is sent to the group from now on."""
        async with self.lock:
            if not self.members:
                channel = await get_channel_layer().new_channel()
                self.hearing = asyncio.create_task(self.hear(channel))
                try:
                    await get_channel_layer().group_add(self.group, channel)
                except BaseException:
                    self.hearing.cancel()
                    raise
            self.members.add(member)

    async def leave(self, member):
        """Let a socket go. With the last one, the membership ends."""
        async with self.lock:
            self.members.discard(member)
            if not self.members:
                self.hearing.cancel()
                await asyncio.wait([self.hearing])

    async def hear(self, channel):
        """Pass on what is sent to the group. If that fails nobody stays behind deaf: the sockets close."""
        try:
            while True:
                event = await get_channel_layer().receive(channel)
                # Encoded once, not once for every socket.
                text = json.dumps({"message": event["message"], "username": event["username"]})
                for member in self.members:
                    member.hear({"type": "websocket.send", "text": text})
                # Let them send: what has arrived already is received without waiting.
                await asyncio.sleep(0)
        except Exception:
            logger.exception("The group %s cannot be heard any more", self.group)
            while self.members:
                self.members.pop().hear(TRY_AGAIN_LATER)
        finally:
            await get_channel_layer().group_discard(self.group, channel)


class RoomMember(AsyncWebsocketConsumer):
    """A consumer without a channel of its own: its room has one."""

    channel_layer_alias = None
    rooms, room = WeakValueDictionary(), None

    async def __call__(self, scope, receive, send):
        """Called by the server for every connection. However it ends, the socket leaves its room."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self.room:
                await self.room.leave(self)

    async def dispatch(self, event):
        """Called for every event. Channels closes old database connections first; a frame needs none here."""
        if event["type"] == "websocket.receive":
            await self.websocket_receive(event)
        else:
            await super().dispatch(event)

    async def enter(self, group):
        """Enter a room and open the socket. What the room says before it is open waits."""
        self.unsent, self.sending = deque(), asyncio.Future()
        room = self.rooms.setdefault(group, Room(group))
        await room.enter(self)
        self.room = room
        await self.accept()
        self.sending = asyncio.create_task(self.send_unsent())

    def hear(self, frame):
        """Called by the room for every frame. Does not wait: a slow browser must not hold up the others."""
        self.unsent.append(frame)
        if len(self.unsent) > MAX_UNSENT:
            # Close it as soon as it takes a frame again. It will reconnect.
            self.unsent = deque([TRY_AGAIN_LATER])
        if self.sending.done():
            self.sending = asyncio.create_task(self.send_unsent())

    async def send_unsent(self):
        """Send what waits, in order."""
        with suppress(OSError, RuntimeError):  # The browser is gone.
            while self.unsent:
                await self.base_send(self.unsent.popleft())
