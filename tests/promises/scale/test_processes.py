"""Two web processes and two workers on one broker are one site, and outlive the death of either."""

import asyncio
from contextlib import AsyncExitStack
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.promises.faults.account import Account
from tests.promises.faults.chat import hear, join, say
from tests.promises.scale.balancer import Balancer
from tests.promises.scale.conftest import PATIENCE
from tutorial.services.processes import wait_until

CLIENTS = 5  # in each web process
MESSAGES = 10  # from each client

# Milliseconds. Generous, because a test run shares its cores with others; none of it is a promise.
expect.set_options(timeout=30_000)


async def test_a_message_reaches_everyone_in_both_processes_once_and_in_order(servers):
    """What is said in either process, everyone in the room hears exactly once and in the speaker's order."""
    async with AsyncExitStack() as stack:
        sockets = [
            await stack.enter_async_context(join(server, "部屋", user))
            for server in servers
            for user in ["alice", "bob", "alice", "bob", "alice"][:CLIENTS]
        ]

        async def speak(speaker, socket):
            for number in range(MESSAGES):
                await say(socket, f"{speaker} {number}")

        async def listen(socket, count):
            return [(await hear(socket))["message"] for _ in range(count)]

        await asyncio.gather(*(speak(speaker, socket) for speaker, socket in enumerate(sockets)))
        heard = await asyncio.gather(*(listen(socket, len(sockets) * MESSAGES) for socket in sockets))

        sent = [f"{speaker} {number}" for speaker in range(len(sockets)) for number in range(MESSAGES)]
        due = [(listener, message) for listener in range(len(sockets)) for message in sent]
        arrived = [(listener, message) for listener, messages in enumerate(heard) for message in messages]
        Account.of(due, arrived).check()
        for messages in heard:
            for speaker in range(len(sockets)):
                words = [message for message in messages if message.startswith(f"{speaker} ")]
                assert words == [f"{speaker} {number}" for number in range(MESSAGES)]

        # Nothing came twice: what everybody hears next is what is said next.
        await say(sockets[0], "last")
        assert await asyncio.gather(*(listen(socket, 1) for socket in sockets)) == [["last"]] * len(sockets)


@pytest_asyncio.fixture(loop_scope="module")
async def balancer(servers):
    """What the visitors' browsers connect to instead of a server, with both servers running."""
    for server in servers:
        if not server.running:
            await asyncio.to_thread(server.start, PATIENCE)
    async with Balancer(servers) as balancer:
        yield balancer


@pytest.mark.parametrize("victim", [0, 1])
async def test_who_was_on_a_killed_web_process_goes_on_in_the_other(open_page, balancer, servers, victim):
    """When either web process is killed, its browsers reconnect to the other and lose nothing they type."""
    killed, other = servers[victim], servers[1 - victim]
    room = f"{balancer.url}/chat/room/?{urlencode({'name': f'victim {victim}'})}"

    async def enter(user, server):
        balancer.prefer(server)
        page = await open_page(room, user)
        await expect(page.get_by_role("status")).to_have_text("Connected.")
        return page

    async def write(page, message):
        await page.get_by_label("Message").fill(message)
        await page.get_by_role("button", name="Send").click()

    alice, bob = await enter("alice", killed), await enter("bob", other)
    await write(alice, "before")
    await expect(bob.get_by_role("log").locator("p")).to_have_text(["alice: before"])

    balancer.hold()
    await asyncio.to_thread(killed.kill)
    await expect(alice.get_by_role("status")).to_contain_text("Connection lost")
    await expect(bob.get_by_role("status")).to_have_text("Connected.")
    await write(alice, "meanwhile")
    balancer.release()
    await expect(alice.get_by_role("status")).to_have_text("Connected.")
    await write(bob, "welcome back")
    await expect(alice.get_by_role("log").locator("p").last).to_have_text("bob: welcome back")
    await write(alice, "after")
    said = ["alice: before", "alice: meanwhile", "bob: welcome back", "alice: after"]
    for page in (alice, bob):
        await expect(page.get_by_role("log").locator("p")).to_have_text(said)


@pytest.mark.parametrize("victim", [0, 1])
def test_no_mail_is_lost_when_a_worker_is_killed(site, workers, mailbox, publisher, victim):
    """When either worker is killed in mid-task, the other sends all mails, also those of the killed one."""
    mailbox.reset()
    mailbox.stall.clear()
    bodies = publisher.notify_many(site.user_ids["alice"], 8)
    # Each of the four processes of the two workers has a mail in hand.
    wait_until(lambda: len(mailbox.arrivals) >= 4, PATIENCE, "four mails in hand")
    in_hand = set(mailbox.arrivals)
    workers[victim].kill()
    mailbox.stall.set()

    def came_again():
        return [body for body in in_hand if mailbox.runs(body) >= 2]

    wait_until(lambda: len(came_again()) >= 2, PATIENCE, "the killed worker's two mails from the other")
    publisher.wait_until_idle()
    account = mailbox.account(bodies)
    account.check()
    assert account.delivered == 8
    workers[victim].start(PATIENCE)
