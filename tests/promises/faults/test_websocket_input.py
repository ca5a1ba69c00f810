"""What a client may send to the chat. The figure `bad_frames` has frames of every other kind."""

import asyncio
import struct
import zlib

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from tests.promises.faults.account import Account
from tests.promises.faults.chat import (
    closed,
    crowd,
    exchange,
    hear,
    hear_messages,
    join,
    last_word,
    raw_socket,
    say,
    until_members,
)
from tutorial.services.processes import PATIENCE


@pytest.fixture
def compressing(site):
    """The production server, but with compressed frames."""
    with site.server("uvicorn", arguments=("--ws-per-message-deflate", "true")) as server:
        yield server


@pytest.fixture
def patient(site):
    """The production server, but with time for clients that are too busy to answer its ping."""
    with site.server("uvicorn", arguments=("--ws-ping-timeout", str(PATIENCE))) as server:
        yield server


async def test_a_frame_that_is_too_large_closes_only_its_own_socket(production, compressing):
    """A frame above 64 KiB closes its socket with 1009, which alice sees; bob goes on, and she may return.

    So does one that is small until it's unpacked, on a server that takes such frames.
    """
    bomb = zlib.compressobj(wbits=-15)
    packed = bomb.compress(b"x" * 10_000_000) + bomb.flush(zlib.Z_SYNC_FLUSH)
    async with join(production, "huge", "bob") as bob:
        async with join(production, "huge") as alice:
            await alice.send("x" * 65_537)
            with pytest.raises(ConnectionClosed, match="1009"):
                await hear(alice)
        async with join(compressing, "huge") as alice:
            assert alice.protocol.extensions
            payload = packed.removesuffix(b"\x00\x00\xff\xff")
            # By hand: the last frame of a text, compressed, with a mask of zeros.
            alice.transport.write(struct.pack("!BBHI", 0xC1, 0x80 | 126, len(payload), 0) + payload)
            assert await closed(alice) == 1009
        async with join(production, "huge") as alice:
            Account.of(*await exchange([alice, bob], "still here")).check()
    await until_members(production.site.env["REDIS_URL"], "huge", 0)


async def test_text_that_is_not_utf8_closes_only_its_own_socket(server):
    """A text frame must be UTF-8; otherwise the socket is closed with 1007, as the protocol asks."""
    async with join(server, "bytes", "bob") as bob:
        with raw_socket(server, "bytes") as raw:
            raw.sendall(Frame(Opcode.TEXT, b"\xff\xfe").serialize(mask=True))
            try:
                answer = await asyncio.to_thread(raw.recv, 100)
                assert int.from_bytes(answer[2:4], "big") == 1007
            except ConnectionResetError:
                # daphne may reset the connection right after its close frame.
                assert "WSCONNECT" in server.output
        await until_members(server.site.env["REDIS_URL"], "bytes", 1)
        Account.of(*await exchange([bob], "still here")).check()


async def test_a_flood_in_one_room_leaves_the_others_whole(patient):
    """While one client sends as fast as it can, another room loses nothing, and the server survives.

    The flooded room itself may lose messages: a channel layer delivers at most once. A rate limit per
    connection is an exercise.
    """
    count, said, heard = 1000, [], []
    async with (
        crowd(patient, 5, "flooded", compression=None) as sockets,
        join(patient, "calm") as alice,
        join(patient, "calm", "bob") as bob,
    ):

        async def flood():
            for number in range(count):
                await say(sockets[0], str(number))

        flooding = asyncio.create_task(flood())
        for number in range(20):
            said.append(str(number))
            await say(alice, said[-1])
            heard += await hear_messages(bob, 1)
        await flooding
        rooms = await last_word(sockets[0], sockets)
    due = [(listener, str(number)) for listener in range(5) for number in range(count)]
    arrived = [(listener, message) for listener, room in enumerate(rooms) for message in room]
    print("the flooded room:", Account.of(due, arrived, allowed_lost=None).check())
    Account.of(said, heard).check()
    assert patient.running
