"""The pytest plugin behind every step's tests: a broker for the run, and real things to start.

Loaded with `-p`, before pytest-django reads the settings, because those take the broker's
address from the environment.
"""

import atexit
import gc
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tutorial.services.broker import Broker, NoBroker, reachable_broker
from tutorial.services.browser import chromium, launch_options
from tutorial.services.ports import free_port
from tutorial.services.processes import guard_children, patience
from tutorial.testing.mail_server import MailServer
from tutorial.testing.site import Server, Site

if TYPE_CHECKING:  # the steps' tests run without Playwright, too
    from playwright.async_api import Browser, BrowserContext, Page

    OpenPage = Callable[..., Awaitable[Page]]

_broker: Broker | None = None
_early: Future[Site] | None = None


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """Start the broker first and put its address into the environment.

    With TUTORIAL_EARLY, a site and its runserver start too, while pytest goes on to read settings and tests.
    """
    global _broker, _early
    os.environ.pop("TUTORIAL_EXERCISES", None)
    os.environ.setdefault("TUTORIAL_CLASSROOM", os.devnull)  # no test tells a board that you have joined
    gc.disable()  # until all is loaded: none of it is garbage, and looking for some takes a third of the time
    guard_children()  # even if the broker isn't ours: Playwright starts a browser
    try:
        _broker = Broker().start()
        # Even if the settings can't be read, and pytest ends before its own clean-up.
        atexit.register(_broker.stop)
        os.environ["REDIS_URL"] = _broker.url
    except NoBroker as embedded:
        try:
            found = reachable_broker()
        except NoBroker as configured:
            raise pytest.UsageError(str(configured)) from None
        if found is None:
            raise pytest.UsageError(str(embedded)) from None
        os.environ["REDIS_URL"] = found
    if os.environ.pop("TUTORIAL_EARLY", ""):
        _early = ThreadPoolExecutor(1).submit(served_site, early_config.rootpath)
    return (yield)


def served_site(step: Path) -> Site:
    """Return a site whose runserver is starting; it ends with this process at the latest."""
    site = Site(step, os.environ["REDIS_URL"])
    atexit.register(site.close)
    site.spawn_shared("runserver")
    return site


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker, so that `-m "not browser"` leaves the browser tests out; let Ctrl-C be heard."""
    # A shell's background job ignores it, and so would commands that tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "browser: needs a Chromium or Chrome")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the browser tests of a module share one event loop, which is where their browser lives."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)
            item.add_marker(pytest.mark.browser)


def pytest_collection_finish() -> None:
    """Collect garbage again, but only what the tests make."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def broker() -> Broker:
    """The embedded broker of this run, for tests that need more than its address."""
    if _broker is None:
        pytest.skip("this test needs the embedded broker, which this platform does not have")
    return _broker


@pytest.fixture(scope="session")
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """The step under test with its own database and two demo users, alice and bob."""
    with _early.result() if _early else Site(request.config.rootpath, os.environ["REDIS_URL"]) as site:
        yield site


@pytest.fixture(params=["runserver", "daphne"])
def server(request: pytest.FixtureRequest, site: Site) -> Server:
    """The step under test, served by Django's runserver and by daphne. Tests must leave it running."""
    return site.shared_server(request.param)


@pytest.fixture(scope="module")
def mail_server() -> Iterator[MailServer]:
    """A real SMTP server that takes, refuses or stalls."""
    with MailServer() as mail_server:
        yield mail_server


@pytest.fixture
def unused_port() -> int:
    """A port that nothing listens on."""
    return free_port()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator["Browser"]:
    """A headless Chromium. Without one, the tests are skipped, or fail if CI is set."""
    if chromium() is None:
        say = pytest.fail if os.environ.get("CI") else pytest.skip
        say("no Chromium or Chrome on PATH; the browser tests need one")
    from playwright.async_api import async_playwright, expect

    expect.set_options(timeout=1000 * patience(10))  # milliseconds
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(**launch_options())
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def open_page(browser: "Browser", site: Site) -> AsyncIterator["OpenPage"]:
    """Open an address as a demo user, each time in a browser context of its own.

    With `TUTORIAL_PAGE`, what a test then expects of a page may take that many seconds, or ten times as long
    as the page took to open.
    """
    from playwright.async_api import expect

    contexts: list[BrowserContext] = []
    site.page_errors.clear()

    async def open_page(url: str, user: str | None = None, **options: Any) -> "Page":
        context = await browser.new_context(**options)
        contexts.append(context)
        if user:
            value = site.sessions[user]
            await context.add_cookies(
                [{"name": "sessionid", "value": value, "domain": "127.0.0.1", "path": "/"}]
            )
        page = await context.new_page()
        page.on("pageerror", lambda error: site.page_errors.append(error.stack or str(error)))
        begin = time.monotonic()
        answer = await page.goto(url)
        if answer and answer.status in (404, 500):
            pytest.fail(f"{url} answers {answer.status}: {await page.title()}")
        if least := float(os.environ.get("TUTORIAL_PAGE") or 0):
            # Opening it has shown how fast this machine is at the moment.
            limit = 1000 * max(least, 10 * (time.monotonic() - begin))
            page.set_default_timeout(limit)
            expect.set_options(timeout=limit)
        return page

    yield open_page
    for context in contexts:
        await context.close()
