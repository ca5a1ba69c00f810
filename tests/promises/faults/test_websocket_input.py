"""What a client may send to the chat, and what comes of it."""

import asyncio
import json
import os
import struct
import zlib

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from tests.promises.faults.account import Account
from tests.promises.faults.chat import closed, collect, crowd, hear, join, members, raw_socket, say, until
from tutorial.course.steps import find_step
from tutorial.testing.site import Site

BAD_FRAMES = [
    "",
    " ",
    "not JSON",
    '{"message": "cut of',
    "null",
    "42",
    "NaN",
    '"message"',
    '["message"]',
    "{}",
    '{"message": null}',
    '{"message": 1}',
    '{"message": NaN}',
    '{"message": {"text": "hello"}}',
    '{"message": ["hello"]}',
    '{"message": "\\ud800"}',
    '{"message": ' + "9" * 5000 + "}",
    "[" * 60_000,
    '{"message": ' + "[" * 30_000 + "]" * 30_000 + "}",
    '{"message": "   \\n\\u3000"}',
    json.dumps({"message": "x" * 4097}),
    json.dumps({"message": "字" * 1366}, ensure_ascii=False),
    b"",
    b"\x00\xff",
    b'{"message": "bytes"}',
]


@pytest.fixture(scope="module")
def step03():
    """The earliest step with an address for the consumer."""
    with Site(find_step("3"), os.environ["REDIS_URL"]) as site:
        yield site


async def send_bad_frames(server):
    """Send every bad frame and a good message after each; return the account."""
    url = server.site.env["REDIS_URL"]
    said, heard, refused = [], [], 0
    async with join(server, "bad") as alice, join(server, "bad", "bob") as bob:
        for number, frame in enumerate(BAD_FRAMES):
            await alice.send(frame)
            answer = await hear(alice)
            assert list(answer) == ["error"], (frame[:50], answer)
            refused += 1
            said.append(str(number))
            await say(alice, said[-1])
            assert (await hear(alice))["message"] == said[-1]
            heard.append((await hear(bob))["message"])
        assert members(url, "bad") == 2
    await until(lambda: members(url, "bad") == 0, what="the end of both memberships")
    assert said == heard
    return Account(
        sent=len(BAD_FRAMES) + len(said),
        delivered=len(heard),
        refused=refused,
        lost=len(BAD_FRAMES) - refused,
    )


async def test_every_bad_frame_is_answered_and_nothing_leaks(server):
    """Each bad frame gets an error, the next good one is delivered, and the group is empty at the end."""
    (await send_bad_frames(server)).check()


async def test_bad_frames_in_the_earliest_step(step03):
    """The same holds in step 3, where the consumer has got its address."""
    (await send_bad_frames(step03.shared_server("uvicorn"))).check()


@pytest.fixture
def compressing(site):
    """The production server, but with frames that are compressed."""
    with site.server("uvicorn", arguments=("--ws-per-message-deflate", "true")) as server:
        yield server


@pytest.fixture
def patient(site):
    """The production server, but with time for whoever is too busy to answer its ping."""
    with site.server("uvicorn", arguments=("--ws-ping-timeout", "60")) as server:
        yield server


async def test_a_frame_that_is_too_large_closes_only_its_own_socket(production, compressing):
    """A frame above 64 KiB is closed with 1009, and bob goes on.

    The same goes for one that is small before it is unpacked, on a server that takes such frames.
    """
    bomb = zlib.compressobj(wbits=-15)
    packed = bomb.compress(b"x" * 10_000_000) + bomb.flush(zlib.Z_SYNC_FLUSH)
    async with join(production, "huge", "bob") as bob:
        async with join(production, "huge") as alice:
            await alice.send("x" * 65_537)
            assert await closed(alice) == 1009
        async with join(compressing, "huge") as alice:
            assert alice.protocol.extensions
            payload = packed.removesuffix(b"\x00\x00\xff\xff")
            # By hand: the last frame of a text, compressed, with a mask of zeros.
            alice.transport.write(struct.pack("!BBHI", 0xC1, 0x80 | 126, len(payload), 0) + payload)
            assert await closed(alice) == 1009
        await say(bob, "still here")
        account = Account.of(["still here"], [(await hear(bob))["message"]])
    account.sent, account.refused = account.sent + 2, 2
    account.check()
    url = production.site.env["REDIS_URL"]
    await until(lambda: members(url, "huge") == 0, what="the end of all memberships")


async def test_text_that_is_not_utf8_closes_only_its_own_socket(server):
    """A text frame must be UTF-8; one that is not is closed with 1007, as the protocol asks."""
    url = server.site.env["REDIS_URL"]
    async with join(server, "bytes", "bob") as bob:
        with raw_socket(server, "bytes") as raw:
            raw.sendall(Frame(Opcode.TEXT, b"\xff\xfe").serialize(mask=True))
            try:
                answer = await asyncio.to_thread(raw.recv, 100)
                assert int.from_bytes(answer[2:4], "big") == 1007
            except ConnectionResetError:
                # daphne may reset the connection right behind its close frame.
                assert "WSCONNECT" in server.output
        await until(lambda: members(url, "bytes") == 1, what="the end of the membership")
        await say(bob, "still here")
        assert (await hear(bob))["message"] == "still here"


async def test_a_flood_in_one_room_leaves_the_others_whole(patient):
    """While one client sends as fast as it can, another room loses nothing, and the server survives.

    The flooded room itself may lose messages: a channel layer delivers at most once. A rate limit per
    connection is an exercise.
    """
    count = 1000
    async with (
        crowd(patient, 5, "flooded", compression=None) as sockets,
        join(patient, "calm") as alice,
        join(patient, "calm", "bob") as bob,
    ):
        hearing = [
            asyncio.create_task(collect(socket, lambda heard: heard[-1:] == ["the end"]))
            for socket in sockets
        ]

        async def flood():
            for number in range(count):
                await say(sockets[0], str(number))

        flooding = asyncio.create_task(flood())
        said, heard = [], []
        for number in range(20):
            said.append(str(number))
            await say(alice, said[-1])
            heard.append((await hear(bob))["message"])
        await flooding
        # Said again until it gets through, because a full room may lose this too.
        while not all(task.done() for task in hearing):
            await say(sockets[0], "the end")
            await asyncio.wait(hearing, timeout=5)
        rooms = [{message for message in await task if message != "the end"} for task in hearing]
    due = [(listener, str(number)) for listener in range(5) for number in range(count)]
    arrived = [(listener, message) for listener, room in enumerate(rooms) for message in room]
    print("the flooded room:", Account.of(due, arrived, allowed_lost=None).check())
    Account.of(said, heard).check()
    assert patient.running


async def test_the_socket_that_is_closed_for_its_frame_says_so_to_its_client(production):
    """A client learns from the close code that its frame was too large, and may connect again."""
    async with join(production, "again") as alice:
        await alice.send("x" * 70_000)
        with pytest.raises(ConnectionClosed, match="1009"):
            await hear(alice)
    async with join(production, "again") as alice:
        await say(alice, "smaller")
        assert (await hear(alice))["message"] == "smaller"
