"""The chat's WebSocket side. Every open socket has a ChatConsumer of its own."""

import hashlib
import json
import logging
from contextlib import suppress

from channels.generic.websocket import AsyncWebsocketConsumer

from chat import presence

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


def asks_who_is_here(text_data):
    """Tell whether a frame is {"present": true}."""
    try:
        return json.loads(text_data)["present"] is True
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


class ChatConsumer(AsyncWebsocketConsumer):
    is_listed = False  # whether this browser has asked who is here, which puts it on the list

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
        if self.is_listed:
            await self.tell_room(await presence.leave(*self.whoami()))

    async def receive(self, text_data=None, bytes_data=None):
        """Called for every frame from the browser."""
        if asks_who_is_here(text_data):
            await self.renew()
            return
        try:
            message = read_message(text_data)
        except ValueError as error:
            await self.send(text_data=json.dumps({"error": str(error)}))
            return
        await self.channel_layer.group_send(
            self.room_group,
            {
                "type": "chat_message",
                "message": message,
                "username": self.username,
            },
        )

    @property
    def username(self):
        # An anonymous user's username is empty.
        return self.scope["user"].username or "anonymous"

    def whoami(self):
        """Return what the list of a room knows of a socket."""
        return self.room_group, self.channel_name, self.username

    async def renew(self):
        """Stay on the list, and answer with it; tell the room if we are new on it."""
        names = await presence.renew(*self.whoami())
        if self.is_listed:
            await self.present({"names": names})
        else:
            self.is_listed = True
            await self.tell_room(names)

    async def tell_room(self, names):
        """Send the list to all in the room."""
        await self.channel_layer.group_send(self.room_group, {"type": "present", "names": names})

    async def present(self, event):
        """Called for every event of type present that is sent to the group."""
        if self.is_listed:
            # Asking again in time is what keeps a browser on the list.
            answer = {"present": event["names"], "again": presence.LEASE / 3}
            await self.send(text_data=json.dumps(answer))

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


class UnknownPathConsumer(AsyncWebsocketConsumer):
    async def connect(self):
        """Called for a path that no other route takes: refuse it, with HTTP status 403."""
        logger.warning("There is no WebSocket at %r", self.scope["path"])
        await self.close()
