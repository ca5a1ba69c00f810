"""The people in a room: a list in the broker, whose entries expire unless they are renewed."""

import json
import os
import time

from django.conf import settings
from redis import asyncio as redis

# Seconds. Longer than a minute: a browser lets the timers of a hidden page run once a minute.
LEASE = int(os.environ.get("PRESENCE_LEASE", "90"))


async def renew(room, channel, username):
    """Put a socket on a room's list for the length of a lease; return all names on it."""
    return await change(room, "zadd", {entry(channel, username): time.time() + LEASE})


async def leave(room, channel, username):
    """Take a socket off a room's list; return the names that are still on it."""
    return await change(room, "zrem", entry(channel, username))


def entry(channel, username):
    """Return a socket's entry. With the channel in it, two tabs of one person are two entries."""
    return json.dumps([username, channel])


async def change(room, command, argument):
    """Run one command on a room's sorted set, whose scores are the times when entries expire."""
    key = f"presence:{room}"
    async with redis.from_url(settings.REDIS_URL) as broker, broker.pipeline() as commands:
        getattr(commands, command)(key, argument)
        commands.zremrangebyscore(key, 0, time.time())
        commands.expire(key, LEASE)
        commands.zrange(key, 0, -1)
        *_, entries = await commands.execute()
    return sorted({json.loads(each)[0] for each in entries})
