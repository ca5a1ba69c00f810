"""Clients that leave, die, keep silent or do not read."""

import asyncio
import subprocess
import sys
import time

import pytest
from websockets.exceptions import ConnectionClosed

from tests.faults.account import Account
from tests.faults.chat import PATIENCE, hear, join, members, memory, raw_socket, say, until

CLIENT = """
import asyncio, sys
from websockets.asyncio.client import connect

async def main():
    url, origin, cookie = sys.argv[1:]
    async with connect(url, origin=origin, additional_headers={"Cookie": cookie}, proxy=None):
        print("open", flush=True)
        await asyncio.sleep(600)

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
        await until(lambda: members(url, "killed") == 1, what="the end of the membership")
        await say(alice, "still here")
        Account.of(["still here"], [(await hear(alice))["message"]]).check()


async def test_a_silent_peer_is_gone_within_12_seconds(production):
    """A peer that vanished without a word, so that it answers no ping, is taken out of its room."""
    url = production.site.env["REDIS_URL"]
    async with join(production, "silence") as alice:
        with raw_socket(production, "silence", "bob"):
            start = time.monotonic()
            assert members(url, "silence") == 2
            await until(lambda: members(url, "silence") == 1, what="the end of the membership")
            assert time.monotonic() - start <= 12
        await say(alice, "still here")
        Account.of(["still here"], [(await hear(alice))["message"]]).check()


async def leave_while_others_talk(server, room, leave):
    """Let 40 clients leave a busy room one after another; return the account of those who stay."""
    url = server.site.env["REDIS_URL"]
    said, heard = [], []
    gone, spoken = asyncio.Event(), asyncio.Event()

    async def talk(alice):
        while not gone.is_set():
            said.append(str(len(said)))
            await say(alice, said[-1])
            spoken.set()
            heard.append((await hear(alice))["message"])

    async def drain(socket):
        try:
            async for _ in socket:
                pass
        except ConnectionClosed:
            pass

    async with join(server, room, compression=None) as alice:
        leavers = [await join(server, room, "bob", compression=None) for _ in range(40)]
        drains = [asyncio.create_task(drain(socket)) for socket in leavers]
        talking = asyncio.create_task(talk(alice))
        for socket in leavers:
            await leave(socket)
            # Someone must be talking at the moment when the next one leaves.
            spoken.clear()
            await spoken.wait()
        await asyncio.gather(*drains)
        gone.set()
        await talking
    # The server answers a page only after what it had to do before.
    try:
        await until(lambda: members(url, room) == 0, 5, "an empty room")
    except TimeoutError:
        print(f"{members(url, room)} of 40 memberships are left")
        raise
    return Account.of(said, heard)


async def close(socket):
    """Leave as a browser does whose tab is closed."""
    await socket.close()


async def abort(socket):
    """Leave as a client does that is killed."""
    socket.transport.abort()


LEAKS = pytest.mark.xfail(
    raises=TimeoutError,
    strict=True,
    reason="when a message is on its way to a client that leaves, uvicorn ends the consumer in send(), "
    "and disconnect() is not called",
)


@LEAKS
@pytest.mark.parametrize("leave", [close, abort])
async def test_who_leaves_a_busy_room_leaves_its_group(production, leave):
    """40 clients leave while others talk, in order or killed, and none is left behind in the group."""
    (await leave_while_others_talk(production, f"busy {leave.__name__}", leave)).check()


@LEAKS
async def test_a_reader_that_does_not_read_is_gone_when_it_closes(production):
    """A full connection holds a bounded number of messages, and its membership ends with it."""
    url = production.site.env["REDIS_URL"]
    said, heard = [], []
    async with join(production, "slow", compression=None) as alice:
        before = memory(production)
        with raw_socket(production, "slow", "bob", receive_buffer=4096):
            for number in range(2000):
                said.append(f"{number:04d}".ljust(4000, "x"))
                await say(alice, said[-1])
                heard.append((await hear(alice))["message"])
            assert members(url, "slow") == 2
            assert memory(production) - before < 16_000_000
        Account.of(said, heard).check()
        await until(lambda: members(url, "slow") == 1, 5, "the end of the membership")


def test_patience_is_longer_than_a_promise():
    """A deadline of the tests is never what a promise is measured by."""
    assert PATIENCE > 12
