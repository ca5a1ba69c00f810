"""The chat's WebSocket side. Every open socket has a ChatConsumer of its own."""

import asyncio
import hashlib
import json
import logging
from collections import deque
from contextlib import suppress

from channels.generic.websocket import AsyncWebsocketConsumer
from redis.exceptions import RedisError

from chat.limits import TokenBucket

logger = logging.getLogger(__name__)

MAX_ROOM_NAME = 100  # characters
MAX_MESSAGE = 4096  # bytes of UTF-8
RATE = 5  # frames per second and connection
BURST = 10  # frames at once
LONGEST_WAIT = 4  # seconds that a frame may wait for its turn: at this rate, 20 frames
TOO_FAST = 4008  # a close code of our own; applications may use 4000 to 4999


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
    async def connect(self):
        """Called when a browser opens the socket."""
        self.bucket = TokenBucket(RATE, BURST)
        self.waiting = deque()  # messages, each with the time of its turn
        self.relaying = None  # the task that takes them from there
        self.flooding = False
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
        if self.relaying:
            await self.relaying
        await self.channel_layer.group_discard(self.room_group, self.channel_name)

    async def receive(self, text_data=None, bytes_data=None):
        """Called for every frame from the browser."""
        if self.flooding:
            return  # what had arrived before the close did
        # Every frame counts, also one that is refused: answering costs, too.
        wait = self.bucket.take()
        if wait > LONGEST_WAIT:
            self.flooding = True
            self.waiting.clear()
            logger.warning("Closing a socket of %s, who floods %r", self.scope["user"], self.room_name)
            with suppress(OSError, RuntimeError):
                await self.close(code=TOO_FAST)
            return
        try:
            message = read_message(text_data)
        except ValueError as error:
            await self.send(text_data=json.dumps({"error": str(error)}))
            return
        self.waiting.append((self.bucket.clock() + wait, message))
        if self.relaying is None or self.relaying.done():
            # A task of its own, so that this method goes on counting what comes.
            self.relaying = asyncio.create_task(self.relay())

    async def relay(self):
        """Send what waits to the group, in order, each message when its turn has come."""
        try:
            while self.waiting:
                turn, message = self.waiting.popleft()
                await asyncio.sleep(turn - self.bucket.clock())
                await self.channel_layer.group_send(
                    self.room_group,
                    {
                        "type": "chat_message",
                        "message": message,
                        # An anonymous user's username is empty.
                        "username": self.scope["user"].username or "anonymous",
                    },
                )
        except (RedisError, OSError):
            logger.exception("Closing a socket in %r: the broker does not take its messages", self.room_name)
            with suppress(OSError, RuntimeError):
                await self.close()

    async def send(self, *args, **kwargs):
        """Send a frame, unless the browser is gone: what it had said before it left is still to be read."""
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
