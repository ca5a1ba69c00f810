"""The rooms of this process. All sockets of a room share one membership in the channel layer."""

import asyncio
import json
import logging

from channels.layers import get_channel_layer

logger = logging.getLogger(__name__)


class Room:
    """A room's sockets in this process, and the task that hears the group for all of them."""

    open = {}

    def __init__(self, group):
        self.group, self.members = group, set()
        self.joined = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(self.run())

    @classmethod
    async def enter(cls, group, member):
        """Take a socket in; return once it will hear all that is sent to the group from now on."""
        if group not in cls.open:
            cls.open[group] = cls(group)
        room = member.room = cls.open[group]
        room.members.add(member)
        await asyncio.wait([room.task, room.joined], return_when=asyncio.FIRST_COMPLETED)
        if not room.joined.done():
            raise ConnectionError("The channel layer does not answer.")

    async def leave(self, member):
        """Let a socket go. With the last one, the membership ends."""
        self.members.discard(member)
        if not self.members:
            self.forget()
            self.task.cancel()
            await asyncio.wait([self.task])

    def forget(self):
        """Make way for a new room of this name."""
        if self.open.get(self.group) is self:
            del self.open[self.group]

    async def run(self):
        """Hear the group. If that fails nobody may stay behind deaf: the sockets close, and reconnect."""
        try:
            await self.hear()
        except Exception:
            logger.exception("The group %s cannot be heard any more", self.group)
            self.forget()
            if self.joined.done():
                for member in tuple(self.members):
                    member.give_up()

    async def hear(self):
        layer = get_channel_layer()
        channel = await layer.new_channel()
        try:
            await layer.group_add(self.group, channel)
            self.joined.set_result(True)
            while True:
                event = await layer.receive(channel)
                # Encoded once, not once for every socket.
                text = json.dumps({"message": event["message"], "username": event["username"]})
                for member in tuple(self.members):
                    member.hear({"type": "websocket.send", "text": text})
                # Let them send: what has arrived already is received without waiting.
                await asyncio.sleep(0)
        finally:
            await layer.group_discard(self.group, channel)
