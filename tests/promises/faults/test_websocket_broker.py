"""A broker that is killed, and one that is missing when it's needed."""

import asyncio
import contextlib

import httpx
import pytest
from channels_redis.core import RedisChannelLayer
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.promises.faults.account import Account
from tests.promises.faults.chat import (
    PUBSUB,
    closed,
    copy_step,
    crowd,
    exchange,
    join,
    last_word,
    members,
    say,
)
from tutorial.services.processes import PATIENCE
from tutorial.testing.site import PRODUCTION, Server, Site


@pytest.fixture(scope="module")
def server(site):
    """The finished app behind a production server whose log no other test reads."""
    with Server(site, "uvicorn") as server:
        yield server.start(PATIENCE)


async def test_a_broker_that_is_killed_and_returns(server, frail_broker):
    """All sockets close, so none is deaf, and nothing hangs; the first connect after its return succeeds."""
    async with crowd(server, 5, "restart") as sockets:
        due, arrived = await exchange(sockets, "before")
        await asyncio.to_thread(frail_broker.kill)
        # A message on its way is lost, and its sender sees that; a client that leaves needn't wait.
        with contextlib.suppress(ConnectionClosed):
            await say(sockets[0], "on its way")
        await sockets[1].close()
        codes = [await closed(socket) for socket in sockets]
        print("close codes", codes)
        assert 1000 not in (codes[0], *codes[2:])
        with pytest.raises(ConnectionClosed):
            await say(sockets[0], "meanwhile")
    # A handshake is refused with 500 instead of hanging, and the page says so.
    for _ in range(3):
        with pytest.raises(InvalidStatus) as refusal:
            async with join(server, "restart"):
                pass
        assert refusal.value.response.status_code == 500
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as http:
        assert (await http.get(f"{server.url}/")).status_code == 503
    await asyncio.to_thread(frail_broker.start)
    async with join(server, "restart") as first:
        print(f"{members(frail_broker.url, 'restart') - 1} members came back with the broker")
        async with crowd(server, 4, "restart", user="bob") as others:
            more_due, more_arrived = await exchange([first, *others], "after")
    Account.of(due + more_due, arrived + more_arrived).check()
    assert server.running


async def test_a_connection_that_died_in_the_pool_is_replaced(frail_broker, settings):
    """If a connection died with the broker, unnoticed, the layer sends over a new one."""
    layer = RedisChannelLayer(**settings["CHANNEL_LAYERS"]["default"]["CONFIG"])
    try:
        await layer.group_add("pool", "a-channel")
        # In this thread, so that asyncio has no chance to notice.
        frail_broker.kill()
        frail_broker.start()
        await layer.group_add("pool", "a-channel")
    finally:
        await layer.close_pools()


async def test_a_broker_that_is_killed_and_returns_under_the_pubsub_layer(site, frail_broker, tmp_path):
    """Idle sockets stay open and hear again; messages sent meanwhile are lost."""
    step = copy_step(tmp_path, {"config/settings.py": PUBSUB})
    with Site(step, frail_broker.url, PRODUCTION) as other:
        server = other.server("uvicorn")
        async with crowd(server, 5, "restart") as sockets:
            due, arrived = await exchange(sockets, "before")
            await asyncio.to_thread(frail_broker.kill)
            await say(sockets[0], "meanwhile")
            code = await closed(sockets[0])
            assert [socket.close_code for socket in sockets[1:]] == [None] * 4
            await asyncio.to_thread(frail_broker.start)
            async with join(server, "restart") as first:
                room = [first, *sockets[1:]]
                heard = await last_word(first, room)
                print(f"pubsub: the sender closed with {code}")
                assert not any("meanwhile" in each for each in heard)
        Account.of(due, arrived).check()
