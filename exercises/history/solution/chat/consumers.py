"""The chat's WebSocket side. Every open socket has a ChatConsumer of its own."""

import hashlib
import json
import logging
from contextlib import suppress

from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import DatabaseError

from chat import history

logger = logging.getLogger(__name__)

MAX_ROOM_NAME = 100  # characters
MAX_MESSAGE = 4096  # bytes of UTF-8


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


def asks_for_history(text_data):
    """Tell whether a frame is {"history": true}."""
    try:
        return json.loads(text_data)["history"] is True
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


class ChatConsumer(AsyncWebsocketConsumer):
    told = 0  # the id of the newest message that this browser has from the history

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
        await self.channel_layer.group_add(self.room_group, self.channel_name)
        await self.accept()

    async def disconnect(self, close_code):
        """Called when the socket is closed, by whichever side."""
        await self.channel_layer.group_discard(self.room_group, self.channel_name)

    async def receive(self, text_data=None, bytes_data=None):
        """Called for every frame from the browser."""
        user = self.scope["user"]
        try:
            if asks_for_history(text_data):
                await self.send_history()
                return
            message = read_message(text_data)
            # Stored before anybody hears it: whoever reads the history later finds all that was said.
            message_id = await history.store(self.room_name, user, message) if user.pk else 0
        except ValueError as error:
            await self.send(text_data=json.dumps({"error": str(error)}))
            return
        except DatabaseError:
            logger.exception("The database does not work, in room %r", self.room_name)
            await self.send(text_data=json.dumps({"error": "The history does not work. Try again later."}))
            return
        await self.channel_layer.group_send(
            self.room_group,
            {
                "type": "chat_message",
                "message": message,
                # An anonymous user's username is empty.
                "username": user.username or "anonymous",
                "id": message_id,
            },
        )

    async def send_history(self):
        """Send the room's latest messages. The socket is in the group already, so it misses none."""
        messages = await history.latest(self.room_name)
        if messages:
            self.told = messages[-1].pk
        lines = [{"message": message.text, "username": message.author.username} for message in messages]
        await self.send(text_data=json.dumps({"history": lines}))

    async def send(self, *args, **kwargs):
        """Send a frame, unless the browser is gone."""
        # daphne raises a RuntimeError then, uvicorn an OSError; disconnect() would never be called.
        with suppress(OSError, RuntimeError):
            await super().send(*args, **kwargs)

    async def chat_message(self, event):
        """Called for every event of type chat_message that is sent to the group."""
        if 0 < event["id"] <= self.told:
            return  # It waited here while the history was read, and is part of it.
        await self.send(
            text_data=json.dumps(
                {
                    "message": event["message"],
                    "username": event["username"],
                }
            )
        )


class UnknownPathConsumer(AsyncWebsocketConsumer):
    async def connect(self):
        """Called for a path that no other route takes: refuse it, with HTTP status 403."""
        logger.warning("There is no WebSocket at %r", self.scope["path"])
        await self.close()
