"""The stored messages of the rooms."""

from channels.db import database_sync_to_async

from chat.models import Message

KEPT = 50  # messages that a newcomer gets


@database_sync_to_async
def store(room, author, text):
    """Store a message and return its id."""
    return Message.objects.create(room=room, author=author, text=text).pk


@database_sync_to_async
def latest(room):
    """Return the latest messages of a room, oldest first."""
    newest_first = Message.objects.filter(room=room).select_related("author").order_by("-id")
    return list(newest_first[:KEPT])[::-1]
