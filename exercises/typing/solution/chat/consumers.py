"""The chat's WebSocket side. Every open socket has a ChatConsumer of its own."""

import hashlib
import json
import time
from contextlib import suppress

from channels.generic.websocket import AsyncWebsocketConsumer

MAX_ROOM_NAME = 100  # characters
MAX_MESSAGE = 4096  # bytes of UTF-8
TYPING_EVERY = 2  # seconds between two notices that somebody is typing


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


def is_typing(text_data):
    """Tell whether a frame is {"typing": true} and nothing else."""
    try:
        return json.loads(text_data) == {"typing": True}
    except (ValueError, TypeError, RecursionError):
        return False


class ChatConsumer(AsyncWebsocketConsumer):
    async def connect(self):
        """Called when a browser opens the socket."""
        self.typing_again = 0  # the time from which a keystroke is news to the room
        self.room_name = self.scope["url_route"]["kwargs"]["room_name"]
        # A group name takes fewer than 100 ASCII characters; the digest of any room name fits.
        self.room_group = "chat_" + hashlib.sha256(self.room_name.encode()).hexdigest()
        if len(self.room_name) > MAX_ROOM_NAME:
            await self.close()
            return
        await self.channel_layer.group_add(self.room_group, self.channel_name)
        await self.accept()

    async def disconnect(self, close_code):
        """Called when the socket is closed, by whichever side."""
        await self.channel_layer.group_discard(self.room_group, self.channel_name)

    async def receive(self, text_data=None, bytes_data=None):
        """Called for every frame from the browser."""
        if is_typing(text_data):
            await self.tell_typing()
            return
        try:
            message = read_message(text_data)
        except ValueError as error:
            await self.send(text_data=json.dumps({"error": str(error)}))
            return
        self.typing_again = 0
        await self.channel_layer.group_send(
            self.room_group,
            {
                "type": "chat_message",
                "message": message,
                # An anonymous user's username is empty.
                "username": self.scope["user"].username or "anonymous",
            },
        )

    async def tell_typing(self):
        """Tell the group that this socket's user is typing, unless it was told a moment ago."""
        if time.monotonic() < self.typing_again:
            return
        self.typing_again = time.monotonic() + TYPING_EVERY
        await self.channel_layer.group_send(
            self.room_group,
            {
                "type": "chat_typing",
                "username": self.scope["user"].username or "anonymous",
                "sender": self.channel_name,
            },
        )

    async def send(self, *args, **kwargs):
        """Send a frame, unless the browser is gone."""
        # daphne raises a RuntimeError then, uvicorn an OSError; disconnect() would never be called.
        with suppress(OSError, RuntimeError):
            await super().send(*args, **kwargs)

    async def chat_message(self, event):
        """Called for every event of type chat_message that is sent to the group."""
        await self.send(
            text_data=json.dumps(
                {
                    "message": event["message"],
                    "username": event["username"],
                }
            )
        )

    async def chat_typing(self, event):
        """Called for every event of type chat_typing that is sent to the group."""
        if event["sender"] != self.channel_name:
            await self.send(text_data=json.dumps({"typing": event["username"]}))
