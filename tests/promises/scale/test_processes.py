"""Two web processes on one broker are one site, and outlive the death of either."""

import asyncio
from contextlib import AsyncExitStack, ExitStack
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.promises.faults.account import Account
from tests.promises.faults.chat import converse, crowd, hear_messages, say
from tests.promises.faults.line import Line
from tutorial.services.processes import PATIENCE
from tutorial.testing.site import Server


@pytest.fixture(scope="module")
def servers(site):
    """Two web processes, as in production. A test that kills one needs `balancer`, which starts it again."""
    with ExitStack() as stack:
        servers = [stack.enter_context(Server(site, "uvicorn")) for _ in range(2)]
        yield [server.start(PATIENCE) for server in servers]


async def test_a_message_reaches_everyone_in_both_processes_once_and_in_order(servers):
    """Everyone in the room hears a message from either process exactly once, in its sender's order."""
    async with AsyncExitStack() as stack:
        crowds = [
            await stack.enter_async_context(crowd(server, count, "部屋", user=user))
            for server in servers
            for user, count in (("alice", 3), ("bob", 2))
        ]
        sockets = [socket for each in crowds for socket in each]
        Account.of(*await converse(sockets, 10)).check()
        # Nothing came twice: everybody's next message is the next one sent.
        await say(sockets[0], "last")
        assert [await hear_messages(socket, 1) for socket in sockets] == [["last"]] * len(sockets)


@pytest_asyncio.fixture(loop_scope="module")
async def balancer(servers):
    """The balancer that browsers connect to, with both servers running."""
    for server in servers:
        if not server.running:
            await asyncio.to_thread(server.start, PATIENCE)
    with Line(*(server.port for server in servers)) as balancer:
        yield balancer


@pytest.mark.parametrize("victim", [0, 1])
async def test_who_was_on_a_killed_web_process_goes_on_in_the_other(open_page, balancer, servers, victim):
    """When either web process is killed, its browsers reconnect to the other and lose nothing you type."""
    killed, other = servers[victim], servers[1 - victim]
    room = f"http://127.0.0.1:{balancer.port}/chat/room/?{urlencode({'name': f'victim {victim}'})}"

    async def enter(user, server):
        balancer.prefer(server.port)
        page = await open_page(room, user)
        await expect(page.get_by_role("status")).to_have_text("Connected.")
        return page

    async def write(page, message):
        await page.get_by_label("Message").fill(message)
        await page.get_by_role("button", name="Send").click()

    alice, bob = await enter("alice", killed), await enter("bob", other)
    await write(alice, "before")
    for page in (alice, bob):  # else alice's server may die before she has her own line
        await expect(page.get_by_role("log").locator("p")).to_have_text(["alice: before"])

    balancer.open.clear()
    await asyncio.to_thread(killed.kill)
    await expect(alice.get_by_role("status")).to_contain_text("Connection lost")
    await expect(bob.get_by_role("status")).to_have_text("Connected.")
    await write(alice, "meanwhile")
    balancer.open.set()
    await expect(alice.get_by_role("status")).to_have_text("Connected.")
    await write(bob, "welcome back")
    await expect(alice.get_by_role("log").locator("p").last).to_have_text("bob: welcome back")
    await write(alice, "after")
    said = ["alice: before", "alice: meanwhile", "bob: welcome back", "alice: after"]
    for page in (alice, bob):
        await expect(page.get_by_role("log").locator("p")).to_have_text(said)
