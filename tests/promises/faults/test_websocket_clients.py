"""Clients that leave or die. The figures have those that keep silent or don't read."""

import asyncio
import subprocess
import sys

import pytest
from channels_redis.core import RedisChannelLayer

from tests.promises.faults.account import Account
from tests.promises.faults.chat import (
    PUBSUB,
    copy_step,
    crowd,
    exchange,
    join,
    last_word,
    members,
    say,
    until_members,
)
from tutorial.testing.site import PRODUCTION, Site

CLIENT = """
import asyncio, sys
from websockets.asyncio.client import connect

async def main():
    url, origin, cookie = sys.argv[1:]
    async with connect(url, origin=origin, additional_headers={"Cookie": cookie}, proxy=None):
        print("open", flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


async def test_a_killed_client_is_gone_at_once(server):
    """When a client's process is killed, its group membership disappears."""
    site, url = server.site, server.site.env["REDIS_URL"]
    headers = site.headers(server.url, "bob")
    words = [server.websocket_url("/ws/chat/killed/"), headers["Origin"], headers["Cookie"]]
    async with join(server, "killed") as alice:
        client = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CLIENT, *words, stdout=subprocess.PIPE
        )
        try:
            assert await client.stdout.readline() == b"open\n"
            assert members(url, "killed") == 2
        finally:
            client.kill()
        await client.wait()
        await until_members(url, "killed", 1)
        Account.of(*await exchange([alice], "still here")).check()


async def others_leave(server, room):
    """Let 20 clients close and 20 be cut off while alice talks; return the account of what she hears."""
    said = []
    async with (
        join(server, room, compression=None) as alice,
        crowd(server, 40, room, user="bob", compression=None) as others,
    ):
        for number, socket in enumerate(others):
            for _ in range(5):
                said.append(str(len(said)))
                await say(alice, said[-1])
            if number % 2:
                socket.transport.abort()
            else:
                await socket.close()
        [heard] = await last_word(alice, [alice])
    account = Account.of(said, heard)
    print(account)
    return account


async def test_who_leaves_a_busy_room_leaves_its_group(server):
    """20 clients close and 20 are cut off while others talk: no traceback, and none is left in the group."""
    before = len(server.output)
    await others_leave(server, "busy")
    await until_members(server.site.env["REDIS_URL"], "busy", 0)
    assert "Traceback" not in server.output[before:]


@pytest.mark.xfail(
    raises=AssertionError,
    strict=True,
    reason="a consumer that ends while it waits in the layer's receive() for the whole process may take "
    "a message with it that the broker has handed over already",
)
async def test_who_stays_loses_nothing_when_others_leave(site, monkeypatch):
    """While clients leave a room, those that stay hear every message."""
    layer = RedisChannelLayer(hosts=[site.env["REDIS_URL"]])
    connection = layer.connection(0)
    ask, handed_over = connection.bzpopmin, asyncio.Event()

    async def ask_and_dawdle(*arguments, **options):
        answer = await ask(*arguments, **options)
        if answer:
            handed_over.set()
            await asyncio.Event().wait()
        return answer

    monkeypatch.setattr(connection, "bzpopmin", ask_and_dawdle)
    monkeypatch.setattr(layer, "connection", lambda index: connection)
    stays, leaves = await layer.new_channel(), await layer.new_channel()
    leaving = asyncio.create_task(layer.receive(leaves))
    await layer.send(stays, {"type": "chat_message", "message": "first"})
    await handed_over.wait()
    leaving.cancel()
    await asyncio.wait([leaving])
    monkeypatch.undo()
    await layer.send(stays, {"type": "chat_message", "message": "second"})
    try:
        assert (await layer.receive(stays))["message"] == "first"
    finally:
        await layer.close_pools()


async def test_who_stays_loses_nothing_under_the_pubsub_layer(site, tmp_path):
    """With channels_redis' pubsub layer in the settings, those that stay hear every message."""
    step = copy_step(tmp_path, {"config/settings.py": PUBSUB})
    with Site(step, site.env["REDIS_URL"], PRODUCTION) as other:
        (await others_leave(other.server("uvicorn"), "staying")).check()
