"""Servers that stop, are killed, or run side by side."""

import asyncio

import pytest

from tests.promises.faults.account import Account
from tests.promises.faults.chat import closed, copy_step, crowd, exchange, hear_messages, join, members, say
from tutorial.services.processes import PATIENCE
from tutorial.testing.site import PRODUCTION, Server, Site

IN_MEMORY = '\nCHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}\n'


@pytest.fixture
def make_server(site):
    """Make a server that a test stops or kills. It gets time to end in order on a busy machine."""
    servers = []

    def make_server(kind):
        servers.append(Server(site, kind).start(PATIENCE))
        return servers[-1]

    yield make_server
    for server in servers:
        server.close()


async def stop_with_clients(server, room, how):
    """Stop a server with 10 clients in a room, who have heard each other; return their close codes."""
    async with crowd(server, 10, room) as sockets:
        Account.of(*await exchange(sockets, "before")).check()
        assert members(server.site.env["REDIS_URL"], room) == 10
        await asyncio.to_thread(how)
        return await asyncio.gather(*map(closed, sockets))


async def test_sigterm_of_the_production_server_leaves_nothing_behind(make_server):
    """uvicorn closes 10 clients with 1012, service restart, and no group member is left in the broker."""
    server = make_server("uvicorn")
    assert await stop_with_clients(server, "uvicorn", server.stop) == [1012] * 10
    assert members(server.site.env["REDIS_URL"], "uvicorn") == 0


async def test_sigterm_of_daphne_says_nothing_to_its_clients(make_server):
    """daphne sends no close frame, 1006, and drops clean-ups: its members stay until group_expiry."""
    server = make_server("daphne")
    assert await stop_with_clients(server, "daphne", server.stop) == [1006] * 10
    print(f"daphne: {members(server.site.env['REDIS_URL'], 'daphne')} of 10 members left")


async def test_after_sigkill_clients_connect_again(make_server):
    """A killed server loses its sockets and nothing else: clients reconnect and go on talking."""
    server = make_server("uvicorn")
    assert await stop_with_clients(server, "killed", server.kill) == [1006] * 10
    await asyncio.to_thread(server.start, PATIENCE)
    async with crowd(server, 10, "killed") as sockets:
        Account.of(*await exchange(sockets, "after")).check()


@pytest.mark.parametrize(
    ("changes", "crosses"), [({}, True), ({"": IN_MEMORY}, False)], ids=["redis", "in memory"]
)
async def test_two_processes_hear_each_other_only_through_a_broker(site, tmp_path, changes, crosses):
    """With the Redis layer a message crosses processes; with the in-memory layer it silently doesn't."""
    step = copy_step(tmp_path, {"config/production.py": changes})
    with Site(step, site.env["REDIS_URL"], PRODUCTION) as other:
        servers = [other.server("uvicorn"), other.server("uvicorn")]
        async with join(servers[0], "both") as alice, join(servers[1], "both", "bob") as bob:
            # Each one's next message is its own: nothing of the other's came before it.
            for speaker, listener, words in ((alice, bob, "a"), (bob, alice, "b"), (alice, bob, "last")):
                await say(speaker, words)
                for socket in (speaker, listener) if crosses else (speaker,):
                    assert await hear_messages(socket, 1) == [words]
