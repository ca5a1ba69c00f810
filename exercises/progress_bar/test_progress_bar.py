"""Exercise: a page shows how far a long task is, while it runs."""

import asyncio
import json
import os
import re

import httpx
import pytest
import redis
from playwright.async_api import expect
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tutorial.testing.site import Worker

POSTS = 8
BODY = "本文です。"
WRITE_POSTS = f"""
import django; django.setup()
from blog.models import Post
from django.contrib.auth.models import User
for name, count in [("alice", {POSTS}), ("carol", 1)]:
    author, _ = User.objects.get_or_create(username=name)
    for number in range(count):
        Post.objects.create(author=author, title=str(number), body="{BODY}")
"""
PATIENCE = 60  # seconds; the machine may be busy


@pytest.fixture(scope="module")
def web(site):
    """The step, served by runserver, with eight posts by alice, one by carol and none by bob."""
    site.run("-c", WRITE_POSTS)
    return site.shared_server("runserver")


@pytest.fixture(scope="module")
def worker(site):
    """A real worker. Tasks it hasn't finished when it dies are delivered again after 2 s."""
    with Worker(site, env={"VISIBILITY_TIMEOUT": "2"}, arguments=("--without-mingle",)) as worker:
        yield worker.start(PATIENCE)


@pytest.fixture
def begin(site, web):
    """Press the button as alice, without a browser, and return the address of the report's page."""

    def begin():
        with httpx.Client(base_url=web.url, cookies={"sessionid": site.sessions["alice"]}) as client:
            form = client.get("/reports/")
            assert form.status_code == 200, (
                f"GET /reports/ answers {form.status_code}: there is no such page."
            )
            token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form.text)[1]
            answer = client.post("/reports/", data={"csrfmiddlewaretoken": token})
        assert re.fullmatch(r"/reports/\d+/", answer.headers.get("Location", "")), (
            "No redirect to /reports/ID/."
        )
        return answer.headers["Location"]

    return begin


@pytest.fixture
def listen(site, web):
    """Open the socket of a report's page, as its owner or somebody else."""

    def listen(page, user="alice"):
        headers = site.headers(web.url, user)
        return connect(web.websocket_url(f"/ws{page}"), additional_headers=headers, proxy=None)

    return listen


async def hear(socket):
    """Return the next frame, or fail."""
    try:
        async with asyncio.timeout(PATIENCE):
            return json.loads(await socket.recv())
    except TimeoutError:
        pytest.fail(f"No frame came within {PATIENCE} s.")


async def hear_to_the_end(socket):
    """Return all frames up to the one that has the result."""
    frames = [await hear(socket)]
    while frames[-1]["characters"] is None:
        frames.append(await hear(socket))
    return frames


async def test_every_step_is_told_while_the_task_runs(begin, listen, worker):
    """The socket says {"done": 1, "total": 8, "characters": null} and so on, and the count at the end."""
    async with listen(begin()) as alice:
        frames = await hear_to_the_end(alice)
    assert {frame["total"] for frame in frames} == {POSTS}
    steps = [frame["done"] for frame in frames]
    assert steps == list(range(steps[0], POSTS + 1))
    assert len(steps) > POSTS / 2, "The steps came too late, in one piece, or not at all."
    assert frames[-1]["characters"] == POSTS * len(BODY), "Count the characters of alice's posts only."


async def test_who_comes_late_is_told_the_state(begin, listen, worker):
    """A page that opens in the middle, or after the end, shows at once how far the work is."""
    page = begin()
    async with listen(page) as alice:
        while (await hear(alice))["done"] < POSTS / 2:
            pass
        async with listen(page) as late:
            assert (await hear(late))["done"] >= POSTS / 2
        await hear_to_the_end(alice)
    async with listen(page) as afterwards:
        assert await hear(afterwards) == {"done": POSTS, "total": POSTS, "characters": POSTS * len(BODY)}


async def test_a_report_is_its_owners(begin, listen, site, web):
    """For another user, or a visitor without a login, a report's page is 404 and its socket 403."""
    page = begin()
    async with httpx.AsyncClient(base_url=web.url) as stranger:
        assert (await stranger.get("/reports/")).headers["Location"] == "/login/?next=/reports/"
    async with httpx.AsyncClient(base_url=web.url, cookies={"sessionid": site.sessions["bob"]}) as bob:
        assert (await bob.get(page)).status_code == 404
        assert "You have not written a post yet." in (await bob.get("/reports/")).text
    for path, user in [(page, "bob"), (page, None), ("/reports/999999999999999999/", "alice")]:
        with pytest.raises(InvalidStatus) as refusal:
            await listen(path, user)
        assert refusal.value.response.status_code == 403


async def next_task_in_hand():
    """Wait briefly until the worker has noted the next task: there may be only one, and a long one.

    A worker that dies after it has taken a task, and before it has noted that, loses the task.
    """
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as broker:
        before = set(broker.hkeys("unacked"))
        for _ in range(15):
            noted = set(broker.hkeys("unacked"))
            if noted and not noted & before:
                break
            await asyncio.sleep(0.02)


async def test_a_killed_worker_costs_one_step(begin, listen, worker):
    """If a worker is killed in the middle, the next goes on where it was, not from the beginning."""
    async with listen(begin()) as alice:
        while (await hear(alice))["done"] < POSTS / 2:
            pass
        await next_task_in_hand()
        await asyncio.to_thread(worker.kill)
        await asyncio.to_thread(worker.start, PATIENCE)
        frames = await hear_to_the_end(alice)
    steps = [frame["done"] for frame in frames]
    assert steps[0] > POSTS / 2, "The work began again from the start."
    assert steps == list(range(steps[0], POSTS + 1)), "A step was counted twice or left out."
    assert frames[-1]["characters"] == POSTS * len(BODY)


async def test_the_page_shows_a_bar_that_moves(open_page, web, worker):
    """The bar has a name, moves without a reload, and at the end the page shows the count."""
    alice = await open_page(f"{web.url}/reports/", "alice")
    assert "How much" in await alice.content(), "There is no page at /reports/ yet."
    await alice.get_by_role("button", name=re.compile("Count")).click()
    bar = alice.get_by_role("progressbar", name="Posts counted")
    await expect(bar).to_have_attribute("max", str(POSTS))
    value = "bar => bar.value"
    first = await bar.evaluate(value)
    assert first < POSTS, (
        "The page came after all the work was done: the view must leave the work to the worker."
    )
    await expect(alice.get_by_role("status")).to_have_text(
        f"You have written {POSTS * len(BODY)} characters.", timeout=PATIENCE * 1000
    )
    assert await bar.evaluate(value) == POSTS
