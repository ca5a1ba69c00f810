"""A socket that says nothing for a minute is still open."""

import asyncio
import json
import os

from websockets.asyncio.client import connect

from tutorial.course.steps import all_steps, number
from tutorial.testing.site import Site


async def minute_of_silence(server, site):
    """Open two sockets to a room, keep still for 60 s, then talk; return what the second one hears."""
    url, headers = server.websocket_url("/ws/chat/idle/"), site.headers(server.url, "alice")
    async with (
        connect(url, additional_headers=headers, proxy=None, ping_interval=None) as alice,
        connect(url, additional_headers=headers, proxy=None, ping_interval=None) as bob,
    ):
        await asyncio.sleep(60)
        await alice.send(json.dumps({"message": "still there?"}))
        async with asyncio.timeout(5):
            return json.loads(await bob.recv())["message"]


async def test_an_idle_socket_stays_open():
    """60 s without a word close no socket, in no step that has one. (redis-py 8 would close it after 5 s.)"""
    sites = [Site(step, os.environ["REDIS_URL"]) for step in all_steps() if number(step) >= 3]
    try:
        servers = [(site.server("daphne"), site) for site in sites]
        heard = await asyncio.gather(*(minute_of_silence(server, site) for server, site in servers))
    finally:
        for site in sites:
            site.close()
    assert heard == ["still there?"] * len(sites)
