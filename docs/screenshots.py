"""Take the pictures of the lessons again: `python docs/screenshots.py`.

Runs the real steps and the board in a headless Chromium. A step's page is 900 pixels wide, in light and in
dark colours.
"""

import asyncio
import sys
from datetime import datetime
from pathlib import Path

from PIL import Image
from playwright.async_api import async_playwright, expect

from tutorial.course.steps import ROOT, find_step
from tutorial.services.broker import Broker
from tutorial.services.browser import launch_options
from tutorial.testing.mail_server import MailServer
from tutorial.testing.site import Site

sys.path.insert(0, str(ROOT))
from tests.cli.classroom import Board, full_room, sign

IMAGES = Path(__file__).parent / "images"
ROOM = "/chat/room/?name=%E6%97%A5%E6%9C%AC%E8%AA%9E%E3%81%AE%E9%83%A8%E5%B1%8B"  # 日本語の部屋
TALK = [
    ("alice", "こんにちは!"),
    ("bob", "Hello Alice, is this room new?"),
    ("alice", "はい。Any name makes one."),
]


async def window(browser, site: Site, user: str, height: int, width: int = 900, **options):
    """Return a page in a demo user's own browser window, at five past noon.

    Args:
        browser: The Chromium.
        site: The site where the user has a session.
        user: The demo user's name.
        height: The window's height in pixels.
        width: The window's width in pixels.
        options: More for Playwright's `new_context`.
    """
    options |= {"viewport": {"width": width, "height": height}, "locale": "en-GB"}
    context = await browser.new_context(**options)
    cookie = {"name": "sessionid", "value": site.sessions[user], "domain": "127.0.0.1", "path": "/"}
    await context.add_cookies([cookie])
    page = await context.new_page()
    await page.clock.set_fixed_time(datetime(2026, 1, 5, 12, 5))
    return page


async def picture(page, name: str) -> None:
    """Take a picture in light colours, `NAME.png`, and one in dark colours, `NAME-dark.png`."""
    for scheme, ending in ("light", ""), ("dark", "-dark"):
        await page.emulate_media(color_scheme=scheme)
        path = IMAGES / f"{name}{ending}.png"
        await page.screenshot(path=path)
        # A third of the bytes, and text as sharp as before.
        Image.open(path).convert("RGB").quantize(64).save(path, optimize=True)


async def say(page, text: str) -> None:
    """Write a message in a room and send it."""
    await page.get_by_label("Message").fill(text)
    await page.get_by_role("button", name="Send").click()


async def publish(page, url: str, title: str, body: str) -> None:
    """Publish a post, and wait for the page that says so."""
    await page.goto(f"{url}/blog/new/")
    await page.get_by_label("Title").fill(title)
    await page.get_by_label("Body").fill(body)
    await page.get_by_role("button", name="Publish").click()
    await expect(page.get_by_role("status")).to_contain_text("Published.")


async def take(browser, broker_url: str, mail_env: dict[str, str]) -> None:
    """Take all pictures: the status page of step 1, a room of step 4, the posts of step 5."""
    with Site(find_step("1"), broker_url) as site:
        page = await window(browser, site, "alice", 340)
        url = site.server().url
        await page.goto(url)
        await page.goto(url)  # the second visit: the first one opens the connection to the broker
        await picture(page, "status")
    with Site(find_step("4"), broker_url) as site:
        url = site.server().url + ROOM
        pages = {user: await window(browser, site, user, 460) for user in ("alice", "bob")}
        for page in pages.values():
            await page.goto(url)
            await expect(page.get_by_role("status")).to_contain_text("Connected.")
        for count, (user, text) in enumerate(TALK, 1):
            await say(pages[user], text)
            for page in pages.values():
                await expect(page.locator("#log p")).to_have_count(count)
        await picture(pages["alice"], "room")
    with Site(find_step("5"), broker_url, mail_env) as site:
        url = site.server().url
        site.worker()
        page = await window(browser, site, "alice", 500)
        for title, body in (
            ("はじめまして", "これは最初の記事です。"),
            ("Second post", "A worker mails a notice."),
        ):
            await publish(page, url, title, body)
        await picture(page, "posts")


async def take_board(browser) -> None:
    """Take the pictures of the board: the instructor's page and the projector's, with a dozen people."""
    signs = {
        "mika": sign("step02_consumer", 3, at_for=900, hints=2),
        "yuki": sign("step02_consumer", 3, at_for=240),
        "たろう": sign("step02_consumer", 3, at_for=720, hints=1),
        "lena": sign("step02_consumer", 1, at_for=300, hand="help", hand_text="Which file is meant?"),
        "omar": sign("step03_routing", 1, at_for=60),
        "noah": sign("step03_routing", 0, at_for=30, doctor="bad"),
        "björn": sign("step02_consumer", 3, at_for=100),
        "zoë": sign("step02_consumer", 11, hand="done"),
        "李雷": sign("step02_consumer", 4, at_for=200),
    }
    with Board() as board:
        async with full_room(board, signs):
            for name, url, width, height in (
                ("board", board.page, 1200, 800),
                ("board-projector", board.projector, 1024, 576),
            ):
                page = await browser.new_page(viewport={"width": width, "height": height})
                await page.goto(url)
                await expect(page.locator("#counts")).to_contain_text("9 people")
                # The address of everybody's own network.
                await page.locator("#join").evaluate(
                    "each => each.textContent = 'To join: tutorial join http://192.0.2.7:8800 BCDFGH'"
                )
                await picture(page, name)
                await page.close()


async def main() -> None:
    """Start a broker, a mail server and a browser, and take the pictures."""
    IMAGES.mkdir(exist_ok=True)
    with Broker() as broker, MailServer() as mail_server:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(**launch_options())
            await take(browser, broker.url, mail_server.env)
            await take_board(browser)
            await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
