"""New posts as server-sent events: an answer without an end, with one event for each post."""

import asyncio
import json
import logging
import secrets

from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.http import HttpResponse, StreamingHttpResponse
from django.views.decorators.http import require_GET
from redis.exceptions import RedisError

from blog.models import Post

logger = logging.getLogger(__name__)

GROUP = "new_posts"
HEARTBEAT = 10  # seconds
MOST = 50  # posts that a stream begins with


@async_to_sync
async def wake_streams():
    """Wake every open stream, in whichever process."""
    # A broker that hangs must not hang the request that publishes.
    async with asyncio.timeout(1):
        await get_channel_layer().group_send(GROUP, {"type": "new_post"})


def announce():
    """Let the open pages know of a new post. Called after the commit."""
    try:
        wake_streams()
    except (RedisError, OSError) as error:
        logger.warning("The open pages see the post a little later: %s", error or "timeout")


# It closes the database connection after each query. A stream must not keep one while it waits.
@database_sync_to_async
def posts_after(last):
    """Return id, author and title of the latest posts after the one with the id `last`, oldest first."""
    found = Post.objects.filter(pk__gt=last).order_by("-pk")
    return list(found.values_list("pk", "author__username", "title")[:MOST])[::-1]


async def stream(last):
    """Yield an event for each post after the one with the id `last`, as they come."""
    layer = get_channel_layer()
    channel = await layer.new_channel()
    news = asyncio.ensure_future(layer.receive(channel))
    try:
        # Join first, read second: no post is missed in between.
        await layer.group_add(GROUP, channel)
        # Milliseconds until a browser that was cut off comes back. They don't come all at once.
        yield f"retry: {1000 + secrets.randbelow(2000)}\n\n"
        while True:
            for pk, author, title in await posts_after(last):
                # JSON has no line breaks: a title can't begin a line, or an event, of its own.
                yield f"id: {pk}\ndata: {json.dumps({'author': author, 'title': title})}\n\n"
                last = pk
            # Not a timeout around receive(): to cancel it may lose messages of all the process's sockets.
            done, _ = await asyncio.wait([news], timeout=HEARTBEAT)
            if done:
                news.result()
                news = asyncio.ensure_future(layer.receive(channel))
            else:
                yield ": still here\n\n"
    finally:
        # The client has gone, or the broker.
        news.cancel()
        await layer.group_discard(GROUP, channel)


@require_GET
async def posts(request):
    """Answer with the stream. The browser asks for it with EventSource."""
    user = await request.auser()
    if not user.is_authenticated:
        # Not the login page: EventSource would follow the redirect.
        return HttpResponse("Log in first.\n", status=403, content_type="text/plain")
    # The header is the browser's, when it comes back. The first time, the page says what it shows already.
    last = request.headers.get("Last-Event-ID") or request.GET.get("after", "")
    return StreamingHttpResponse(
        stream(int(last) if last.isdecimal() and len(last) < 19 else 0),
        content_type="text/event-stream",
        # No copy in a cache, and no proxy that collects events until a buffer is full.
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
