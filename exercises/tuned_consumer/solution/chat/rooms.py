"""Cheap crowds: all sockets of a room in this process share one membership in its group."""

import asyncio
import json
import logging
import types
from collections import deque
from contextlib import suppress
from weakref import WeakValueDictionary

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer

logger = logging.getLogger(__name__)

MAX_UNSENT = 100  # frames that wait for a slow browser
TRY_AGAIN_LATER = {"type": "websocket.close", "code": 1013}


@types.coroutine
def rest(coroutine, waits_for):
    """Wait for what a coroutine that has begun waits for, and go on with it."""
    yield waits_for
    yield from coroutine


class Room:
    """The sockets in a room, and the task that receives its group's events for all of them."""

    def __init__(self, group):
        self.group, self.members = group, set()

    async def enter(self, member):
        """Add a socket; return once it will hear everything sent to the group from now on."""
        if not self.members:
            self.joined = asyncio.Future()
            self.hearing = asyncio.create_task(self.hear(self.joined))
        self.members.add(member)
        await asyncio.wait([self.joined, self.hearing], return_when=asyncio.FIRST_COMPLETED)

    async def leave(self, member):
        """Remove a socket. With the last one, the membership ends."""
        self.members.discard(member)
        if not self.members:
            self.hearing.cancel()
            await asyncio.wait([self.hearing])

    async def hear(self, joined):
        """Pass on the group's events. If that fails, no socket stays open and deaf: they all close."""
        layer, channel = get_channel_layer(), None
        try:
            channel = await layer.new_channel()
            await layer.group_add(self.group, channel)
            joined.set_result(True)
            while True:
                event = await layer.receive(channel)
                # Encoded once, not once for every socket.
                text = json.dumps({"message": event["message"], "username": event["username"]})
                for member in self.members:
                    member.hear({"type": "websocket.send", "text": text})
                # Let the sockets send: receiving an event that is already there doesn't wait.
                await asyncio.sleep(0)
        except Exception:
            logger.exception("The channel layer fails for group %s", self.group)
            while self.members:
                self.members.pop().hear(TRY_AGAIN_LATER)
        finally:
            await layer.group_discard(self.group, channel)


class RoomMember(AsyncWebsocketConsumer):
    """A consumer without a channel of its own: its room has one."""

    channel_layer_alias = None
    rooms, room = WeakValueDictionary(), None

    async def __call__(self, scope, receive, send):
        """Called by the server for every connection. However it ends, the socket leaves its room."""
        self.scope, self.base_send = scope, scope.get("server_send", send)
        try:
            with suppress(StopConsumer):
                while True:  # Channels would make a task for each frame, because events may come meanwhile.
                    await self.dispatch(await receive())
        finally:
            if self.room:
                await self.room.leave(self)

    async def dispatch(self, event):
        """Called for every event. Channels closes old database connections first; a frame needs none here."""
        is_frame = event["type"] == "websocket.receive"
        handle = self.websocket_receive if is_frame else super().dispatch
        await handle(event)

    async def enter(self, group):
        """Enter a room and open the socket. Until it is open, the room's frames wait."""
        self.channel_layer = get_channel_layer()  # to send to; the room receives
        self.unsent, self.sending = deque(), asyncio.Future()
        self.room = self.rooms.setdefault(group, Room(group))
        await self.room.enter(self)
        await self.accept()
        self.sending = asyncio.create_task(self.send_unsent())

    def hear(self, frame):
        """Called by the room for every frame. Doesn't wait: a slow browser must not hold up the others."""
        self.unsent.append(frame)
        if len(self.unsent) > MAX_UNSENT:
            # It is closed as soon as it takes a frame again, and then reconnects.
            self.unsent = deque([TRY_AGAIN_LATER])
        if self.sending.done():
            # A send rarely waits. So it begins here, and becomes a task only if it does.
            sending = self.send_unsent()
            try:
                waits_for = sending.send(None)
            except StopIteration:
                return
            self.sending = asyncio.ensure_future(rest(sending, waits_for))  # create_task takes no generator

    async def send_unsent(self):
        """Send the waiting frames, in order."""
        try:
            while self.unsent:
                await self.base_send(self.unsent.popleft())
        except Exception as error:
            is_gone = isinstance(error, (OSError, RuntimeError))
            logger.log(logging.INFO if is_gone else logging.ERROR, "Could not send: %r", error)
