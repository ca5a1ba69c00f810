"""The WebSocket side of the notices. Every open page of a logged-in user has a NoticeConsumer."""

import json
from contextlib import suppress

from channels.generic.websocket import AsyncWebsocketConsumer

from blog import notices


def read_dismissal(text_data):
    """Return the id in a frame like {"dismiss": 7}; raise ValueError if there is none."""
    try:
        notice_id = json.loads(text_data)["dismiss"]
    except (ValueError, TypeError, KeyError, RecursionError):
        notice_id = None
    if type(notice_id) is not int or not 0 < notice_id < 2**63:
        raise ValueError('Send JSON like {"dismiss": 7}.')
    return notice_id


class NoticeConsumer(AsyncWebsocketConsumer):
    async def connect(self):
        """Called when a page opens the socket."""
        self.user = self.scope["user"]
        # The user comes from the session. Never ask the browser whose notices these are.
        self.group = notices.group_of(self.user.pk)
        if not self.user.is_authenticated:
            await self.close()
            return
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()
        # After joining: a notice that comes in between is sent twice, and the page shows it once.
        for event in await notices.waiting(self.user):
            await self.notice(event)

    async def disconnect(self, close_code):
        """Called when the socket is closed, by whichever side."""
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive(self, text_data=None, bytes_data=None):
        """Called for every frame from the browser."""
        try:
            await notices.dismiss(self.user, read_dismissal(text_data))
        except ValueError as error:
            await self.send(text_data=json.dumps({"error": str(error)}))

    async def send(self, *args, **kwargs):
        """Send a frame, unless the browser is gone."""
        with suppress(OSError, RuntimeError):
            await super().send(*args, **kwargs)

    async def notice(self, event):
        """Called for every event of type notice that is sent to the user's group."""
        await self.send(text_data=json.dumps({"notice": event["notice"], "text": event["text"]}))
