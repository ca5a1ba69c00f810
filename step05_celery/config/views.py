import asyncio
import logging
import time

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.conf import settings
from django.shortcuts import render
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)


async def round_trip():
    """Send a message through the channel layer to ourselves and return the seconds until it is back."""
    layer = get_channel_layer()
    channel = await layer.new_channel()
    start = time.perf_counter()
    async with asyncio.timeout(1):
        await layer.send(channel, {"type": "ping"})
        await layer.receive(channel)
    return time.perf_counter() - start


def index(request):
    """Show that the channel layer works, or what to run when its broker does not answer."""
    context = {
        "asgi": getattr(request, "scope", None),
        "backend": settings.CHANNEL_LAYERS["default"]["BACKEND"],
    }
    try:
        context["milliseconds"] = async_to_sync(round_trip)() * 1000
    except (RedisError, OSError) as error:
        logger.warning("The broker does not answer: %s", error or "timeout")
        return render(request, "index.html", context, status=503)
    return render(request, "index.html", context)
