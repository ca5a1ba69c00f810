"""The chat's WebSocket side. Every open socket has a ChatConsumer of its own."""

import asyncio
import hashlib
import json
import logging
from collections import deque
from contextlib import suppress

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer

from chat.rooms import Room

logger = logging.getLogger(__name__)

MAX_ROOM_NAME = 100  # characters
MAX_MESSAGE = 4096  # bytes of UTF-8
MAX_UNSENT = 100  # frames that wait for a slow browser
TRY_AGAIN_LATER = 1013  # a close code


def read_message(text_data):
    """Return the message in a frame; raise ValueError, in words for its sender, if there is none."""
    try:
        message = json.loads(text_data)["message"]
        size = len(message.encode())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError('This is not a chat message. Send JSON like {"message": "hello"}.') from None
    if not message.strip():
        raise ValueError("The message is empty.")
    if size > MAX_MESSAGE:
        raise ValueError(f"The message is too long: {size} bytes, where {MAX_MESSAGE} are allowed.")
    return message


class ChatConsumer(AsyncWebsocketConsumer):
    # No channel of its own: the room has one for all its sockets in this process.
    channel_layer_alias = None
    room = None

    async def __call__(self, scope, receive, send):
        """Called by the server for every connection. However it ends, the socket leaves its room."""
        try:
            await super().__call__(scope, receive, scope.get("server_send", send))
        finally:
            if self.room:
                await self.room.leave(self)

    async def dispatch(self, event):
        """Called for every event. Channels first closes old database connections, in a thread."""
        if event["type"] == "websocket.receive":
            # receive() uses no database, and the way into the thread and back costs more than all else here.
            await self.websocket_receive(event)
        else:
            await super().dispatch(event)

    async def connect(self):
        """Called when a browser opens the socket."""
        self.room_name = self.scope["url_route"]["kwargs"]["room_name"]
        # A group name takes fewer than 100 ASCII characters; the digest of any room name fits.
        self.room_group = "chat_" + hashlib.sha256(self.room_name.encode()).hexdigest()
        if len(self.room_name) > MAX_ROOM_NAME:
            await self.close()
            return
        if not self.scope["user"].is_authenticated:
            await self.close()
            return
        # What the room says before the socket is open waits, as if something were being sent.
        self.unsent, self.sending = deque(), True
        await Room.enter(self.room_group, self)
        await self.accept()
        await self.send_unsent()

    async def receive(self, text_data=None, bytes_data=None):
        """Called for every frame from the browser."""
        try:
            message = read_message(text_data)
        except ValueError as error:
            await self.send(text_data=json.dumps({"error": str(error)}))
            return
        await get_channel_layer().group_send(
            self.room_group,
            {
                "type": "chat_message",
                "message": message,
                # An anonymous user's username is empty.
                "username": self.scope["user"].username or "anonymous",
            },
        )

    async def send(self, *args, **kwargs):
        """Send a frame, unless the browser is gone."""
        # daphne raises a RuntimeError then, uvicorn an OSError.
        with suppress(OSError, RuntimeError):
            await super().send(*args, **kwargs)

    def hear(self, event):
        """Called by the room for every frame. Does not wait: a slow browser must not hold up the others."""
        self.unsent.append(event)
        if not self.sending:
            self.sending = asyncio.create_task(self.send_unsent())
        elif len(self.unsent) > MAX_UNSENT:
            self.give_up()

    async def send_unsent(self):
        """Send what waits, in order. What fails here is this socket's own trouble."""
        try:
            while self.unsent:
                await self.base_send(self.unsent.popleft())
        except Exception:
            logger.info("A frame could not be sent", exc_info=True)
        finally:
            self.sending = None

    def give_up(self):
        """Leave the room, and close the socket once it takes a frame again. The browser reconnects."""
        self.room.members.discard(self)
        self.unsent.clear()
        self.hear({"type": "websocket.close", "code": TRY_AGAIN_LATER})


class UnknownPathConsumer(AsyncWebsocketConsumer):
    async def connect(self):
        """Called for a path that no other route takes: refuse it, with HTTP status 403."""
        logger.warning("There is no WebSocket at %r", self.scope["path"])
        await self.close()
