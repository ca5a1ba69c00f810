"""Servers that stop, are killed, or stand side by side."""

import asyncio

import pytest

from tests.promises.faults.account import Account
from tests.promises.faults.chat import closed, copy_step, crowd, hear, join, members, say
from tutorial.testing.site import Site

IN_MEMORY = '\nCHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}\n'


async def exchange(sockets, text):
    """Let everyone in a room say something in turn; return what was due and what arrived."""
    due, arrived = [], []
    for speaker, socket in enumerate(sockets):
        message = f"{text} {speaker}"
        await say(socket, message)
        due += [(listener, message) for listener in range(len(sockets))]
        arrived += [(listener, (await hear(each))["message"]) for listener, each in enumerate(sockets)]
    return due, arrived


async def stop_with_clients(server, room, how):
    """Stop a server with 10 clients in a room; return the account until then and the close codes."""
    async with crowd(server, 10, room) as sockets:
        due, arrived = await exchange(sockets, "before")
        assert members(server.site.env["REDIS_URL"], room) == 10
        await asyncio.to_thread(how)
        codes = await asyncio.gather(*map(closed, sockets))
    return Account.of(due, arrived), codes


async def test_sigterm_of_the_production_server_leaves_nothing_behind(mortal):
    """uvicorn closes 10 clients with 1012, service restart, and no group member is left in the broker."""
    server = mortal.server("uvicorn")
    account, codes = await stop_with_clients(server, "uvicorn", server.stop)
    assert codes == [1012] * 10
    assert members(mortal.broker.url, "uvicorn") == 0
    account.check()


async def test_sigterm_of_daphne_says_nothing_to_its_clients(mortal):
    """daphne sends no close frame, 1006, and drops clean-ups: its members stay until group_expiry."""
    server = mortal.server("daphne")
    account, codes = await stop_with_clients(server, "daphne", server.stop)
    print(f"daphne: close codes {set(codes)}, {members(mortal.broker.url, 'daphne')} of 10 members left")
    assert codes == [1006] * 10
    account.check()


async def test_after_sigkill_clients_connect_again(mortal):
    """A killed server loses its sockets and nothing else: clients connect again and go on talking."""
    server = mortal.server("uvicorn")
    account, codes = await stop_with_clients(server, "killed", server.kill)
    account.check()
    assert codes == [1006] * 10
    await asyncio.to_thread(server.start)
    async with crowd(server, 10, "killed") as sockets:
        due, arrived = await exchange(sockets, "after")
    Account.of(due, arrived).check()


@pytest.mark.parametrize(("layer", "crosses"), [("redis", True), ("in memory", False)])
async def test_two_processes_hear_each_other_only_through_a_broker(mortal, tmp_path, layer, crosses):
    """With the Redis layer a message crosses processes; with the in-memory layer it does not, in silence."""
    if crosses:
        servers = [mortal.shared_server("uvicorn"), mortal.server("uvicorn")]
        await cross(servers, 2)
        return
    step = copy_step(tmp_path, {"config/settings.py": {"": IN_MEMORY}})
    with Site(step, mortal.broker.url) as site:
        await cross([site.server("uvicorn"), site.server("uvicorn")], 1)


async def cross(servers, hearers):
    """Let one person in each process say 10 messages; assert in how many processes each is heard."""
    async with join(servers[0], "both") as alice, join(servers[1], "both", "bob") as bob:
        for number in range(10):
            await say(alice, f"a{number}")
            await say(bob, f"b{number}")
        heard = [[(await hear(socket))["message"] for _ in range(10 * hearers)] for socket in (alice, bob)]
        due = [(listener, f"{who}{number}") for listener in (0, 1) for who in "ab" for number in range(10)]
        arrived = [(listener, message) for listener, messages in enumerate(heard) for message in messages]
        account = Account.of(due, arrived, allowed_lost=0 if hearers == 2 else 20).check()
        assert account.delivered == 20 * hearers
        for socket in (alice, bob):
            # Each hears its own again, and nothing that came in between.
            await say(socket, "last")
        assert (await hear(alice))["message"] == "last"
        assert (await hear(bob))["message"] == "last"
