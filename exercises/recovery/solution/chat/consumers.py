"""The chat's WebSocket side. Every open socket has a ChatConsumer of its own."""

import hashlib
import json
import logging
import re
from contextlib import suppress

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import DatabaseError
from redis.exceptions import RedisError

from chat import storage

logger = logging.getLogger(__name__)

MAX_ROOM_NAME = 100  # characters
MAX_MESSAGE = 4096  # bytes of UTF-8
TRY_AGAIN = 4013  # a close code of our own; applications may use 4000 to 4999


def read_frame(text_data):
    """Return the JSON object in a frame, an empty one if there is none."""
    try:
        frame = json.loads(text_data)
    except (ValueError, TypeError, RecursionError):
        return {}
    return frame if isinstance(frame, dict) else {}


def read_message(frame):
    """Return the message in a frame; raise ValueError, in words for its sender, if there is none."""
    try:
        message = frame["message"]
        size = len(message.encode())
    except (ValueError, KeyError, AttributeError):
        raise ValueError('This is not a chat message. Send JSON like {"message": "hello"}.') from None
    if not message.strip():
        raise ValueError("The message is empty.")
    if size > MAX_MESSAGE:
        raise ValueError(f"The message is too long: {size} bytes, where {MAX_MESSAGE} are allowed.")
    return message


def read_client_id(frame):
    """Return the name that the sender gave its message, None if it gave none."""
    client_id = frame.get("client_id")
    if client_id is None:
        return None
    if not isinstance(client_id, str) or not re.fullmatch(r"[0-9A-Za-z_-]{1,64}", client_id):
        raise ValueError("A client_id has 1 to 64 letters, digits, - or _.")
    return client_id


class ChatConsumer(AsyncWebsocketConsumer):
    last = None  # the id of the newest message this browser has; None until it says `since`

    async def dispatch(self, message):
        """Called for every event. Without database or broker, close: the browser comes back."""
        try:
            await super().dispatch(message)
        except (DatabaseError, RedisError, OSError):
            if message["type"] == "websocket.disconnect":
                raise
            logger.exception("Closing a socket in %s, so that its browser comes back", self.room_name)
            with suppress(OSError, RuntimeError):
                await self.close(code=TRY_AGAIN)

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
        frame, client_id = read_frame(text_data), None
        try:
            if "since" in frame:
                await self.follow(frame["since"])
                return
            client_id = read_client_id(frame)
            message = read_message(frame)
        except ValueError as error:
            refused = {"refused": client_id} if client_id else {}
            await self.answer({"error": str(error), **refused})
            return
        user = self.scope["user"]
        # An anonymous user's username is empty.
        event = {"type": "chat_message", "message": message, "username": user.username or "anonymous"}
        if client_id:
            event |= await database_sync_to_async(storage.store)(self.room_name, user, client_id, message)
        await self.channel_layer.group_send(self.room_group, event)
        if client_id:
            # Last: what fails before this is sent again, which gives the room another chance to hear it.
            await self.answer({"ack": client_id, "id": event["id"]})

    async def follow(self, since):
        """Send what a browser has missed since a message, and from here on everything, in order."""
        if since is None:
            since = await database_sync_to_async(storage.newest)(self.room_name)
        if type(since) is not int or not 0 <= since < 2**63:
            raise ValueError("since is the id of a message, or null for from now on.")
        self.last = since
        await self.answer({"since": since})
        await self.catch_up()

    async def catch_up(self):
        """Send what was stored after the newest message this browser has."""
        missed, complete = await database_sync_to_async(storage.missed)(self.room_name, self.last)
        if not complete:
            await self.answer({"error": f"You have missed so much that only the last {len(missed)} follow."})
        for event in missed:
            await self.show(event)

    async def chat_message(self, event):
        """Called for every event of type chat_message that is sent to the group."""
        if self.last is None or "id" not in event:
            await self.show(event)
        elif event["before"] > self.last:
            # Something in between is still on its way here, or was lost on it.
            await self.catch_up()
        elif event["id"] > self.last:
            await self.show(event)

    async def show(self, event):
        """Send a message to the browser."""
        if self.last is not None and "id" in event:
            self.last = event["id"]
        await self.answer({key: event[key] for key in ("id", "message", "username") if key in event})

    async def answer(self, content):
        """Send an object as JSON, unless the browser is gone: what it had said is still to be read."""
        with suppress(OSError, RuntimeError):
            await self.send(text_data=json.dumps(content))


class UnknownPathConsumer(AsyncWebsocketConsumer):
    async def connect(self):
        """Called for a path that no other route takes: refuse it, with HTTP status 403."""
        logger.warning("There is no WebSocket at %r", self.scope["path"])
        await self.close()
