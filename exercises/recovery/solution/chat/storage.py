"""The stored messages, as the events that a room sends."""

from django.db.models import Max

from chat.models import Message

MAX_REPLAY = 1000  # messages


def newest(room):
    """Return the id of the newest message in a room, 0 if there is none."""
    return Message.objects.filter(room=room).aggregate(newest=Max("id"))["newest"] or 0


def store(room, sender, client_id, text):
    """Store a message once, however often it's sent; return its id, and the id before it in its room."""
    message, _ = Message.objects.get_or_create(
        room=room, sender_id=sender.pk, client_id=client_id, defaults={"text": text}
    )
    # SQLite has one writer at a time, so no lower id can be committed after this one.
    before = Message.objects.filter(room=room, id__lt=message.id).aggregate(before=Max("id"))["before"]
    return {"id": message.id, "before": before or 0}


def missed(room, since):
    """Return the messages after an id, oldest first, and whether that is all of them."""
    rows = Message.objects.filter(room=room, id__gt=since).select_related("sender").order_by("-id")
    found = [
        {"id": row.id, "message": row.text, "username": row.sender.username} for row in rows[: MAX_REPLAY + 1]
    ]
    return found[:MAX_REPLAY][::-1], len(found) <= MAX_REPLAY
