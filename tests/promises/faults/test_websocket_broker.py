"""A broker that is killed, and one that is not there when it is needed."""

import asyncio
import contextlib
import runpy

import httpx
import pytest
from channels_redis.core import RedisChannelLayer
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.promises.faults.account import Account
from tests.promises.faults.chat import PUBSUB, STEP, closed, copy_step, crowd, hear, join, members, say, until
from tests.promises.faults.test_websocket_server import exchange
from tutorial.testing.site import Site


@pytest.fixture
def server(mortal):
    """The finished app behind the production server, with a broker that a test may kill."""
    return mortal.shared_server("uvicorn")


@pytest.fixture
def broker(mortal):
    """The broker to kill; it runs again when the test ends."""
    yield mortal.broker
    if not mortal.broker.running:
        mortal.broker.start()


async def test_a_broker_that_is_killed_and_returns(server, broker):
    """All sockets close, so none is deaf; the very first connect after the broker's return succeeds."""
    async with crowd(server, 5, "restart") as sockets:
        due, arrived = await exchange(sockets, "before")
        await asyncio.to_thread(broker.kill)
        codes = await asyncio.gather(*map(closed, sockets))
        print("close codes", set(codes))
        # What is typed now fails at once, in front of whoever typed it.
        with pytest.raises(ConnectionClosed):
            await say(sockets[0], "meanwhile")
    await asyncio.to_thread(broker.start)
    async with join(server, "restart") as first:
        print(f"{members(broker.url, 'restart') - 1} members of closed sockets came back with the broker")
        async with crowd(server, 4, "restart", user="bob") as others:
            more_due, more_arrived = await exchange([first, *others], "after")
    account = Account.of(due + more_due, arrived + more_arrived)
    account.sent, account.refused = account.sent + 1, 1
    account.check()


async def test_a_connection_that_died_in_the_pool_is_replaced(broker, monkeypatch):
    """What the layer sends over a connection that died with the broker, unnoticed, goes over a new one."""
    monkeypatch.setenv("REDIS_URL", broker.url)
    config = runpy.run_path(str(STEP / "config/settings.py"))["CHANNEL_LAYERS"]["default"]["CONFIG"]
    layer = RedisChannelLayer(**config)
    try:
        await layer.group_add("pool", "a-channel")
        # In this thread, so that asyncio has no chance to notice.
        broker.kill()
        broker.start()
        await layer.group_add("pool", "a-channel")
    finally:
        await layer.close_pools()


async def attempts_until_all_hear(room):
    """Let the first socket of a room speak until all hear it; return how many times not all did."""

    async def heard(socket, message):
        try:
            async with asyncio.timeout(1):
                while (await hear(socket))["message"] != message:
                    pass
        except TimeoutError:
            return False
        return True

    for attempt in range(20):
        await say(room[0], f"again {attempt}")
        if all(await asyncio.gather(*(heard(socket, f"again {attempt}") for socket in room))):
            return attempt
    raise TimeoutError("The room is deaf.")


async def test_a_broker_that_is_killed_and_returns_under_the_pubsub_layer(mortal, broker, tmp_path):
    """Idle sockets live on and hear again; what was said meanwhile is lost."""
    step = copy_step(tmp_path, {"config/settings.py": PUBSUB})
    with Site(step, broker.url) as site:
        server = site.server("uvicorn")
        async with crowd(server, 5, "restart") as sockets:
            due, arrived = await exchange(sockets, "before")
            await asyncio.to_thread(broker.kill)
            await say(sockets[0], "meanwhile")
            code = await closed(sockets[0])
            assert [socket.close_code for socket in sockets[1:]] == [None] * 4
            await asyncio.to_thread(broker.start)
            async with join(server, "restart") as first:
                room = [first, *sockets[1:]]

                lost = await attempts_until_all_hear(room)
                print(f"pubsub: the sender closed with {code}; {lost} messages went unheard after the return")
                more_due, more_arrived = await exchange(room, "after")
    account = Account.of(due + more_due, arrived + more_arrived, allowed_lost=5)
    account.sent, account.lost = account.sent + 5, account.lost + 5
    account.check()


async def test_a_broker_that_is_down_when_a_client_connects(server, broker):
    """The handshake is refused with 500 instead of hanging; after the broker's return it succeeds."""
    await asyncio.to_thread(broker.kill)
    for _ in range(3):
        with pytest.raises(InvalidStatus) as refusal:
            async with asyncio.timeout(10), join(server, "connect"):
                pass
        assert refusal.value.response.status_code == 500
    assert (
        await asyncio.to_thread(httpx.get, f"{server.url}/", timeout=10, trust_env=False)
    ).status_code == 503
    await asyncio.to_thread(broker.start)
    async with join(server, "connect") as alice:
        await say(alice, "hello")
        account = Account.of(["hello"], [(await hear(alice))["message"]])
    account.sent, account.refused = account.sent + 3, 3
    account.check()


async def test_a_broker_that_is_down_when_a_message_comes(server, broker):
    """The message is lost and its sender sees the socket close; the server lives and recovers alone."""
    async with join(server, "receive") as alice:
        await asyncio.to_thread(broker.kill)
        with contextlib.suppress(ConnectionClosed):
            await say(alice, "lost")
        assert await closed(alice, 10) != 1000
    await asyncio.to_thread(broker.start)
    async with join(server, "receive") as alice:
        await say(alice, "hello")
        account = Account.of(["lost", "hello"], [(await hear(alice))["message"]], allowed_lost=1)
    account.check()
    assert server.running


async def test_a_broker_that_is_down_when_a_client_leaves(server, broker):
    """Leaving does not hang, and the room works when the broker is back."""
    async with join(server, "leave") as alice:
        await asyncio.to_thread(broker.kill)
        async with asyncio.timeout(10):
            await alice.close()
    await asyncio.to_thread(broker.start)
    async with join(server, "leave") as bob:
        await say(bob, "hello")
        Account.of(["hello"], [(await hear(bob))["message"]]).check()
        print(f"{members(broker.url, 'leave') - 1} members came back with the broker")
    await until(lambda: server.running)
