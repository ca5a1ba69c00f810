"""Exercise: a page shows new posts while it is open, without a WebSocket."""

import asyncio
import json
import os
import re
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import uuid4

import httpx
import psutil
import pytest
import pytest_asyncio
import redis
from playwright.async_api import expect

from tutorial.services.processes import patience, wait_until
from tutorial.testing.site import PRODUCTION, Server

MARKUP = "<img src=x onerror=\"document.title = 'owned'\">"
# uvicorn waits for open streams when it's asked to stop, without a limit of its own.
STOPS = ("--timeout-graceful-shutdown", "1")
# With the key of the development settings: the sessions of the demo users are signed with it.
AS_FOR_OTHERS = PRODUCTION | {"SECRET_KEY": "for-development-only"}
HEARTBEAT = 10  # seconds
PATIENCE = 20  # seconds, more on a busy machine
HANG = 60  # seconds; only what hangs takes as long


@pytest.fixture(scope="module")
def web(site):
    """The step, served by runserver."""
    return site.shared_server("runserver")


@pytest.fixture(scope="module")
def production(site):
    """The step as on a server for others, under uvicorn: the policy allows no script within a page."""
    with Server(site, "uvicorn", arguments=STOPS, env=AS_FOR_OTHERS).start(HANG) as server:
        yield server


@pytest.fixture(scope="module", params=["runserver", "uvicorn"])
def server(request, web):
    """Each of the two."""
    return web if request.param == "runserver" else request.getfixturevalue("production")


@pytest.fixture
def publish(site):
    """Publish a post with the form of the step, over HTTP."""

    async def publish(server, title, user="bob"):
        token = "t" * 32
        cookies = {"sessionid": site.sessions[user], "csrftoken": token}
        form = {"title": title, "body": "本文", "csrfmiddlewaretoken": token}
        async with httpx.AsyncClient(trust_env=False, cookies=cookies, timeout=HANG) as client:
            answer = await client.post(f"{server.url}/blog/new/", data=form)
        assert answer.status_code == 302, f"Publishing a post is answered with {answer.status_code}."

    return publish


class Stream:
    """An open stream, read line by line, as any client may.

    Attributes:
        headers: The headers of the answer.
        comments: How many comments have come.
    """

    def __init__(self, answer):
        self.headers = answer.headers
        self.comments = 0
        self._lines = answer.aiter_lines()

    async def line(self):
        """Return the next line, or fail."""
        try:
            async with asyncio.timeout(patience(PATIENCE)):
                line = await anext(self._lines)
                self.comments += line.startswith(":")
                return line
        except (TimeoutError, StopAsyncIteration, httpx.TransportError) as error:
            pytest.fail(f"The stream sent nothing more: {error!r}")

    async def event(self):
        """Return the id, the author and the title of the next event."""
        found = {}
        while "data" not in found:
            while line := await self.line():
                name, _, value = line.partition(": ")
                found[name] = value
        data = json.loads(found["data"])
        return found.get("id"), data["author"], data["title"]


@pytest.fixture
def listen(site):
    """Open the stream as a user; `last` is the id of the last event that this client had."""

    @asynccontextmanager
    async def listen(server, user="alice", last=None):
        headers = {"Cookie": f"sessionid={site.sessions[user]}"} | ({"Last-Event-ID": last} if last else {})
        async with (
            httpx.AsyncClient(trust_env=False, timeout=None) as client,  # noqa: S113 - line() has a limit
            client.stream("GET", f"{server.url}/blog/events/", headers=headers) as answer,
        ):
            assert answer.status_code == 200, f"/blog/events/ answers {answer.status_code} to {user}."
            yield Stream(answer)

    return listen


@pytest.fixture
async def newest(listen, publish, web):
    """The id of a post that is the newest one."""
    title = str(uuid4())
    await publish(web, title)
    async with listen(web) as stream:
        while (event := await stream.event())[2] != title:
            pass
        return event[0]


@pytest.fixture
def members():
    """Return who is in which group of the channel layer."""
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as broker:

        def members():
            groups = broker.keys("asgi:group:*")
            return {(group, member) for group in groups for member in broker.zrange(group, 0, -1)}

        yield members


@pytest_asyncio.fixture(loop_scope="module")
async def show(open_page):
    """Open the list of posts as alice; return the region with the notices."""

    async def show(server):
        page = await open_page(f"{server.url}/blog/", "alice")
        return page.get_by_role("region", name="New posts")

    return show


async def shows(notices, *titles, seconds=None):
    """Wait until the notices are about posts with these titles, and no others."""
    texts = [re.compile(re.escape(title)) for title in titles]
    await expect(notices).to_have_text(texts, timeout=seconds and 1000 * seconds)


async def test_a_new_post_comes_at_once(server, web, listen, publish, newest):
    """An open stream gets an event for a post, published on whichever server: its id, author and title."""
    async with listen(server, "alice", newest) as alice, listen(web, "bob", newest) as bob:
        for _ in range(2):  # On a busy machine, 10 s may pass in the middle.
            comments = alice.comments
            await publish(web, "記事")
            number, *post = await alice.event()
            assert (int(number) > int(newest), post) == (True, ["bob", "記事"])
            assert await bob.event() == (number, "bob", "記事")
            if alice.comments == comments:
                break
        assert alice.comments == comments, "The event came only with the next sign of life."
        await publish(server, "もう一つ", "alice")
        assert (await bob.event())[1:] == ("alice", "もう一つ")


async def test_a_client_that_comes_back_gets_what_it_missed(web, listen, publish, newest):
    """With `Last-Event-ID`, a stream begins with the posts after that one: in order, and none twice."""
    for title in ("first", "second", "third"):
        await publish(web, title)
    async with listen(web, "alice", newest) as stream:
        events = [await stream.event() for _ in range(3)]
        await publish(web, "live")
        events.append(await stream.event())
    assert [title for _, _, title in events] == ["first", "second", "third", "live"]
    async with listen(web, "alice", events[1][0]) as stream:
        assert [await stream.event() for _ in range(2)] == events[2:]


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 30])
async def test_an_id_that_is_none_is_no_error(web, listen, newest, last):
    """With a `Last-Event-ID` that no post can have, the stream opens as for a newcomer, not with an error."""
    async with listen(web, "alice", last) as stream:
        assert await stream.event()


async def test_a_newcomer_gets_no_more_than_the_list_shows(web, site, listen, newest):
    """Without `Last-Event-ID`, the stream begins with at most 50 posts, and ends with the newest."""
    make = "from blog.models import Post; "
    make += (
        f"Post.objects.bulk_create([Post(author_id={site.user_ids['bob']}, title=str(n)) for n in range(60)])"
    )
    await asyncio.to_thread(site.run, "manage.py", "shell", "-c", make)
    async with listen(web, "alice") as stream:
        titles = [(await stream.event())[2] for _ in range(50)]
    assert titles == [str(number) for number in range(10, 60)]


async def test_no_title_forges_an_event(web, listen, publish, newest):
    """A title with line breaks is one event, with the title as it was written."""
    title = f"a\r\n\r\nid: 1\rdata: {{}}\n\n{MARKUP}\u2028"
    async with listen(web, "alice", newest) as stream:
        await publish(web, title)
        number, _, heard = await stream.event()
        await publish(web, "next")
        assert (await stream.event())[2] == "next"
    assert (int(number) > int(newest), heard.split()) == (True, title.split())


async def test_the_answer_says_that_it_is_a_stream(server, listen):
    """The headers: `text/event-stream`, nothing is kept in a cache, and no proxy may collect events."""
    async with listen(server) as stream:
        headers = stream.headers
    assert headers["Content-Type"].startswith("text/event-stream")
    assert "no-store" in headers["Cache-Control"]
    assert headers["X-Accel-Buffering"] == "no"


# `tutorial check` gives a test that takes `site` its whole time: ten seconds of silence take ten seconds.
async def test_a_silent_stream_says_that_it_is_alive(site, web, listen, newest):
    """After 10 s of silence a comment comes, a line that begins with a colon, so that no proxy hangs up."""
    async with listen(web, "alice", newest) as stream:
        try:
            async with asyncio.timeout(patience(2 * HEARTBEAT)):
                while not stream.comments:
                    await stream.line()
        except TimeoutError:
            pytest.fail("No comment came.")


async def test_a_visitor_without_a_login_is_refused(server, listen):
    """Without a login the answer is 403: no stream, and no login page, which EventSource would follow."""
    async with listen(server):
        pass
    async with httpx.AsyncClient(trust_env=False, timeout=HANG) as client:
        answer = await client.get(f"{server.url}/blog/events/")
    assert (answer.status_code, "location" in answer.headers) == (403, False)


async def test_a_client_that_leaves_leaves_the_group(server, listen, members):
    """While a stream is open it is in a group of the channel layer; soon after its client left, it isn't."""
    before = members()
    async with listen(server, "alice") as alice, listen(server, "bob") as bob:
        await alice.line()
        await bob.line()
        joined = members() - before
        assert len(joined) == 2, f"Two open streams are {len(joined)} members of groups."
    await asyncio.to_thread(wait_until, lambda: not joined & members(), PATIENCE, "an empty group")


async def test_a_stream_keeps_no_connection_to_the_database(web, listen, newest):
    """Twelve streams that wait don't keep the database open twelve times: PostgreSQL would run out."""
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(listen(web)) for _ in range(12)]
        for stream in streams:
            await stream.event()
        process = psutil.Process(web.pid)

        def files():
            return sum(file.path.endswith("db.sqlite3") for file in process.open_files())

        await asyncio.to_thread(wait_until, lambda: files() < 6, PATIENCE, "closed connections")


async def test_the_page_shows_a_new_post(show, publish, production):
    """The list says, without a reload, whose post has appeared under which title; markup stays text."""
    region = await show(production)
    notices = region.locator("p")
    await expect(region).to_have_attribute("aria-live", "polite")
    await publish(production, "記事")
    await shows(notices, "記事")
    await publish(production, MARKUP)
    await shows(notices, "記事", MARKUP)
    await expect(notices.last).to_contain_text("bob")
    assert await region.page.locator("main img").count() == 0


async def test_nothing_is_missed_while_the_page_loads(show, publish, production):
    """A post published after the list was made, and before its stream opens, is shown; older ones aren't."""
    await publish(production, "older")
    notices = (await show(production)).locator("p")
    page, asked, go_on = notices.page, asyncio.Event(), asyncio.Event()

    async def hold(route):
        asked.set()
        await go_on.wait()
        await route.continue_()

    await page.route("**/blog/events/**", hold)
    await page.reload()
    async with asyncio.timeout(patience(PATIENCE)):
        await asked.wait()
    await publish(production, "in between")
    go_on.set()
    await shows(notices, "in between")


async def test_what_was_published_while_the_server_was_dead_comes_once(site, show, publish, web):
    """After `kill -9` and a new start, the page shows the posts of the meantime: in order, and none twice."""
    with Server(site, "uvicorn", arguments=STOPS, env=AS_FOR_OTHERS).start(HANG) as server:
        notices = (await show(server)).locator("p")
        await publish(web, "before")
        await shows(notices, "before")
        server.kill()
        await publish(web, "first")
        await publish(web, "second")
        await asyncio.to_thread(server.start, HANG)
        await shows(notices, "before", "first", "second", seconds=patience(PATIENCE))
        await publish(server, "after")
        await shows(notices, "before", "first", "second", "after")


async def test_a_wrong_answer_is_not_the_end(site, show, publish, production):
    """After a proxy's 502, EventSource gives up. The page tries again, and misses nothing."""
    notices = (await show(production)).locator("p")
    page, refused = notices.page, asyncio.Event()

    async def refuse(route):
        await route.fulfill(status=502, body="Bad Gateway")
        refused.set()

    await page.route("**/blog/events/**", refuse)
    await page.reload()
    async with asyncio.timeout(patience(PATIENCE)):
        await refused.wait()
    await publish(production, "while the proxy was alone")
    await page.unroute("**/blog/events/**")
    await shows(notices, "while the proxy was alone", seconds=patience(PATIENCE))


async def test_another_sites_page_reads_nothing(open_page, web, production):
    """A page of another origin gets no event, even with the visitor's cookies: its browser refuses it."""
    page = await open_page(f"{web.url}/login/", "alice")
    said = await page.evaluate(
        """(url) => new Promise((done) => {
            const source = new EventSource(url, { withCredentials: true });
            source.onopen = () => done("open");
            source.onerror = () => done("refused");
        })""",
        f"{production.url}/blog/events/",
    )
    assert said == "refused"
