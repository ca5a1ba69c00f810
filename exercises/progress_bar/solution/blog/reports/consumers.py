"""The WebSocket side of a report's page."""

import json
from contextlib import suppress

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer

from blog.reports.models import Report
from blog.reports.tasks import group_of


@database_sync_to_async
def state_of(report_id, user):
    """Return the state of a report, None if this user has no such report."""
    report = Report.objects.filter(pk=report_id, owner=user.pk).first()
    return report and report.state


class ReportConsumer(AsyncWebsocketConsumer):
    done = -1  # the last state sent to the page

    async def connect(self):
        """Called when a page opens the socket."""
        report_id, user = self.scope["url_route"]["kwargs"]["report_id"], self.scope["user"]
        self.group = group_of(int(report_id))
        if not await state_of(report_id, user):
            await self.close()
            return
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()
        # After joining, so that no step is missed.
        await self.progress({"state": await state_of(report_id, user)})

    async def disconnect(self, close_code):
        """Called when the socket is closed, by whichever side."""
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def send(self, *args, **kwargs):
        """Send a frame, unless the browser is gone."""
        with suppress(OSError, RuntimeError):
            await super().send(*args, **kwargs)

    async def progress(self, event):
        """Called for every event of type progress that is sent to the group."""
        state = event["state"]
        if state["done"] > self.done or state["characters"] is not None:
            self.done = state["done"]
            await self.send(text_data=json.dumps(state))
