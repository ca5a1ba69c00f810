"""The chat's WebSocket side. Every open socket has a ChatConsumer of its own."""

import hashlib
import itertools
import json
from collections import deque
from contextlib import suppress

from channels.exceptions import ChannelFull
from channels.generic.websocket import AsyncWebsocketConsumer

MAX_ROOM_NAME = 100  # characters
MAX_MESSAGE = 4096  # bytes of UTF-8
MAX_USERNAME = 150  # characters
MAX_UNHEARD = 20  # whispers of one socket that may wait to be heard


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


def read_recipient(text_data):
    """Return whom a chat message is for, None for the whole room; raise ValueError if that is unclear."""
    frame = json.loads(text_data)
    if "to" not in frame:
        return None
    to = frame["to"]
    # None, too, is an error here: what was meant for one must not go to all.
    if not isinstance(to, str) or not 0 < len(to) <= MAX_USERNAME or not to.isprintable():
        raise ValueError('Whom is this for? "to" is not the name of a user.')
    return to


class ChatConsumer(AsyncWebsocketConsumer):
    async def connect(self):
        """Called when a browser opens the socket."""
        self.whisper_ids = itertools.count()
        self.unheard = deque(maxlen=MAX_UNHEARD)  # ids
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
        try:
            message = read_message(text_data)
            recipient = read_recipient(text_data)
        except ValueError as error:
            await self.send(text_data=json.dumps({"error": str(error)}))
            return
        if recipient is not None:
            await self.whisper(message, recipient)
            return
        await self.channel_layer.group_send(
            self.room_group,
            {
                "type": "chat_message",
                "message": message,
                # An anonymous user's username is empty.
                "username": self.scope["user"].username or "anonymous",
            },
        )

    async def whisper(self, message, recipient):
        """Send a message to the group, for one person's sockets to show and all others to pass over."""
        number = next(self.whisper_ids)
        self.unheard.append(number)
        await self.channel_layer.group_send(
            self.room_group,
            {
                "type": "chat_whisper",
                "id": number,
                "sender": self.channel_name,
                "message": message,
                "username": self.scope["user"].username or "anonymous",
                "to": recipient,
            },
        )

    async def chat_whisper(self, event):
        """Called for every whisper in the room: show it if it is for us, and tell the sender's socket."""
        # Not "or anonymous": guests share that name, and what is for one of them would reach them all.
        if event["to"] != self.scope["user"].username:
            return
        if event["sender"] != self.channel_name:
            await self.send_whisper(event)
        # Unlike group_send, send raises when there is no room.
        with suppress(ChannelFull):
            await self.channel_layer.send(event["sender"], {**event, "type": "chat_heard"})

    async def chat_heard(self, event):
        """Called for a whisper of this socket, by every socket that has heard it."""
        if event["id"] in self.unheard:
            self.unheard.remove(event["id"])
            await self.send_whisper(event)

    async def send_whisper(self, event):
        """Show a whisper to this socket's browser."""
        await self.send(text_data=json.dumps({key: event[key] for key in ("message", "username", "to")}))

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
