"""What is counted and timed in posts while many people write, and while the database is away."""

import asyncio
import functools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress

import httpx

from tests.promises.faults.account import Account
from tests.promises.faults.chat import STEP, crowd, exchange
from tests.promises.faults.mail import Mailbox
from tutorial.services.broker import Broker
from tutorial.services.processes import PATIENCE, wait_until
from tutorial.testing.postgres import Postgres
from tutorial.testing.site import PRODUCTION, Server, Site, Worker

TITLES = """
import json
from blog.models import Post
print(json.dumps([post.title for post in Post.objects.all()]))
"""


@contextmanager
def newsroom(env: dict[str, str]) -> Iterator[tuple[Site, list[Server], Mailbox]]:
    """Run two web processes and a worker on a database; yield the site, the servers and the mail server."""
    with ExitStack() as stack:
        broker, mailbox = stack.enter_context(Broker()), stack.enter_context(Mailbox())
        site = stack.enter_context(Site(STEP, broker.url, PRODUCTION | env))
        stack.enter_context(Worker(site, env=mailbox.env)).start(PATIENCE)
        yield site, [site.server("uvicorn") for _ in range(2)], mailbox


@contextmanager
def postgres_newsroom() -> Iterator[tuple[Postgres, Site, list[Server], Mailbox]]:
    """Do the same on a PostgreSQL server, and yield that server too."""
    with Postgres(durable=True) as postgres, newsroom({"DATABASE_URL": postgres.create("site")}) as room:
        yield postgres, *room


def titles(site: Site) -> set[str]:
    """Return the titles of all posts in the database."""
    return set(json.loads(site.run("manage.py", "shell", "-v", "0", "-c", TITLES)))


async def publish(server: Server, people: list[str], each: int, until: asyncio.Event | None = None) -> list:
    """Let people publish posts at the same time, each the next one when the last is answered.

    Args:
        server: A web process.
        people: Their names; each has a client and a connection of its own.
        each: How many posts each of them publishes.
        until: If given, they go on until it is set.

    Returns:
        For each post its title, the status of the answer, or 0 without one, and its seconds.
    """
    done = []

    async def person(name: str) -> None:
        cookies = {"sessionid": server.site.sessions["alice"]}
        async with httpx.AsyncClient(
            base_url=server.url, cookies=cookies, timeout=PATIENCE, trust_env=False
        ) as http:
            number = 0
            while number < each or (until and not until.is_set()):
                title, number, status = f"{name} {number}", number + 1, 0
                start = time.perf_counter()
                with suppress(httpx.TransportError):
                    page = await http.get("/blog/new/")
                    status = page.status_code
                    if page.is_success:
                        start = time.perf_counter()
                        data = {
                            "title": title,
                            "body": "本文",
                            "csrfmiddlewaretoken": http.cookies["csrftoken"],
                        }
                        status = (await http.post("/blog/new/", data=data)).status_code
                done.append((title, status, time.perf_counter() - start))

    await asyncio.gather(*map(person, people))
    return done


def account_of(done: list, site: Site, mailbox: Mailbox) -> tuple[Account, int]:
    """Wait for the mails; return the account of posts, and how many mails there are.

    A post is delivered if it's there, refused if its author saw an error and it isn't, and lost if its
    author saw none and it isn't.
    """
    taken = {title for title, status, _ in done if status == 302}
    with suppress(TimeoutError):
        wait_until(lambda: len(mailbox.taken()) >= len(taken), 60, "the mails")
    there = titles(site)
    assert there <= {title for title, *_ in done}
    refused = sum(status != 302 and title not in there for title, status, _ in done)
    account = Account(
        sent=len(done), delivered=len(there), refused=refused, lost=len(taken - there), allowed_lost=0
    )
    return account, len(mailbox.taken())


def answers(server: Server) -> bool:
    """Return whether a server shows the posts."""
    return httpx.get(f"{server.url}/blog/", trust_env=False, timeout=PATIENCE).is_success


def many_authors(site: Site, servers: list[Server], mailbox: Mailbox, full: bool) -> Account:
    """Let 20 people publish 500 posts over two web processes."""
    people, each = (10, 25) if full else (4, 5)

    async def everybody() -> list:
        left, right = ([f"{side} {number}" for number in range(people)] for side in ("left", "right"))
        halves = await asyncio.gather(publish(servers[0], left, each), publish(servers[1], right, each))
        return [*halves[0], *halves[1]]

    start = time.perf_counter()
    done = asyncio.run(everybody())
    took = time.perf_counter() - start
    account, mails = account_of(done, site, mailbox)
    seconds = sorted(second for *_, second in done)
    p50, p99 = statistics.median(seconds), seconds[int(0.99 * (len(seconds) - 1))]
    account.note = f"{mails} mails; p50 {p50:.2g} s, p99 {p99:.2g} s; over after {took:.0f} s"
    if mails < sum(status == 302 for _, status, _ in done):
        raise AssertionError(f"A mail is missing: {account}")
    return account


def authors_on_sqlite(full: bool) -> Account:
    """20 people publish 500 posts at once, over two web processes, on SQLite.

    A request that waits for its turn to write for longer than the timeout, on a busy machine, is refused.
    """
    with newsroom({}) as (site, servers, mailbox):
        return many_authors(site, servers, mailbox, full)


def authors_on_postgres(full: bool) -> Account:
    """20 people publish 500 posts at once, over two web processes, on PostgreSQL."""
    with postgres_newsroom() as (_, site, servers, mailbox):
        account = many_authors(site, servers, mailbox, full)
    if account.refused:
        raise AssertionError(f"PostgreSQL takes each post: {account}")
    return account


def database_restarts(full: bool) -> Account:
    """PostgreSQL is killed and restarted while people publish and chat, and the worker sends their mails."""
    kills = 3 if full else 1

    async def everything(postgres: Postgres, servers: list[Server]) -> tuple[list, int, list[float]]:
        over, waits, due = asyncio.Event(), [], 0
        async with AsyncExitStack() as stack:
            sockets = [
                socket
                for server in servers
                for socket in await stack.enter_async_context(crowd(server, 2, "newsroom"))
            ]
            publishing = [
                asyncio.create_task(publish(server, [f"{server.port} {n}" for n in range(3)], 1, over))
                for server in servers
            ]
            for number in range(kills):
                await asyncio.sleep(1)
                await asyncio.to_thread(postgres.kill)
                # Open sockets need no database.
                heard = Account.of(*await exchange(sockets, f"kill {number}")).check()
                due += heard.delivered
                await asyncio.to_thread(postgres.start, PATIENCE)
                start = time.perf_counter()
                for server in servers:
                    await asyncio.to_thread(wait_until, functools.partial(answers, server), 60, "a page")
                waits.append(time.perf_counter() - start)
            await asyncio.sleep(1)
            over.set()
            return [post for done in await asyncio.gather(*publishing) for post in done], due, waits

    with postgres_newsroom() as (postgres, site, servers, mailbox):
        done, heard, waits = asyncio.run(everything(postgres, servers))
        account, mails = account_of(done, site, mailbox)
    account.note = (
        f"{kills} kills; {mails} mails; {heard} chat messages heard meanwhile, all; "
        f"the pages were back at most {max(waits):.2g} s after the database"
    )
    if mails < sum(status == 302 for _, status, _ in done):
        raise AssertionError(f"A mail is missing: {account}")
    return account


FIGURES: list[Callable[[bool], Account]] = [authors_on_sqlite, authors_on_postgres, database_restarts]
