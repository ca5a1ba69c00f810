"""Notices that a worker leaves for a user: kept until dismissed, shown at once in open pages."""

import logging

from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer

from blog.models import Notice

logger = logging.getLogger(__name__)

SHOWN = 20  # notices at most on one page


def group_of(user_id):
    """Return the group of all open pages of a user."""
    return f"notices_{user_id}"


def tell(user, text):
    """Leave a notice for a user. Called in a worker, when the mail has gone out."""
    try:
        notice = Notice.objects.create(user=user, text=text)
        event = {"type": "notice", "notice": notice.pk, "text": text}
        async_to_sync(get_channel_layer().group_send)(group_of(user.pk), event)
    except Exception:
        # An error here must not fail the task: it would be tried again, and mail a second time.
        logger.exception("User %s gets no notice now: %s", user.pk, text)


@database_sync_to_async
def waiting(user):
    """Return a user's latest notices that are not dismissed, oldest first, as events."""
    found = Notice.objects.filter(user=user).order_by("-pk")[:SHOWN]
    return [{"notice": notice.pk, "text": notice.text} for notice in reversed(found)]


@database_sync_to_async
def dismiss(user, notice_id):
    """Remove a notice, if it is this user's."""
    Notice.objects.filter(user=user, pk=notice_id).delete()
