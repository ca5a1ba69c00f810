"""The site for everybody: by keyboard, on a phone, on paper, and for a screen reader."""

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe

from tests.site.conftest import HANG

PAGES = [
    *("index", "lessons/index", "lessons/step04", "diffs/index", "diffs/step03-step04", "load", "symptoms"),
    *(
        "exercises/README",
        "exercises/echo/README",
        "notebooks/02_consumer",
        "guarantees",
        "errata",
        "glossary",
    ),
    *("concepts/tasks", "deploy", "instructors", "search", "source/step04_client/chat/views.py"),
]
SETTINGS = [(1440, "light"), (1440, "dark"), (360, "light"), (360, "dark")]


@pytest_asyncio.fixture(loop_scope="module")
async def phone(browser):
    """A window as wide as a phone's."""
    page = await browser.new_page(viewport={"width": 360, "height": 800}, reduced_motion="reduce")
    page.set_default_timeout(1000 * HANG)
    yield page
    await page.close()


@pytest.mark.parametrize(("width", "scheme"), SETTINGS)
async def test_axe_finds_nothing(browser, address, width, scheme):
    """Names, roles, contrast, headings and landmarks are right on a page of each kind."""
    context = await browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    context.set_default_timeout(1000 * HANG)
    found = {}
    for name in PAGES:
        page = await context.new_page()
        await page.goto(f"{address}{name}.html")
        violations = (await Axe().run(page)).response["violations"]
        if violations:
            found[name] = [(each["id"], each["nodes"][0]["html"][:120]) for each in violations]
        await page.close()
    await context.close()
    assert found == {}


async def test_the_menu_works_by_keyboard(phone, address):
    """Closed, the menu takes no focus; Enter opens it, Escape closes it and returns to its button."""
    await phone.goto(f"{address}lessons/step01.html")
    hidden = """() => {
        const { left, right, width } = document.activeElement.getBoundingClientRect();
        return width > 1 && (right <= 0 || left >= innerWidth) ? document.activeElement.outerHTML : "";
    }"""
    for _ in range(12):
        await phone.keyboard.press("Tab")
        assert await phone.evaluate(hidden) == ""
    button = phone.get_by_role("button", name="Contents of the site")
    await button.focus()
    await phone.keyboard.press("Enter")
    await phone.locator(".sidebar-drawer :focus").wait_for()
    assert await button.get_attribute("aria-expanded") == "true"
    await phone.keyboard.press("Escape")
    assert await button.get_attribute("aria-expanded") == "false"
    assert await button.evaluate("(button) => button === document.activeElement")


@pytest.mark.parametrize("name", ["exercises/README", "load"])
async def test_a_phone_shows_every_column(phone, address, name):
    """No table is wider than the window, and each cell says what it is."""
    await phone.goto(f"{address}{name}.html")
    cells = phone.locator("article table.docutils tbody td")
    wide = "(cells) => cells.filter((cell) => cell.getBoundingClientRect().right > innerWidth).length"
    assert await cells.evaluate_all(wide) == 0
    assert await phone.locator("td[data-label]").count() == await cells.count() > 0


async def test_print_has_no_skip_link_and_wraps_code(browser, address):
    """On paper nothing covers the text, and no line of code is cut off."""
    page = await browser.new_page(viewport={"width": 700, "height": 900})
    page.set_default_timeout(1000 * HANG)
    await page.goto(f"{address}lessons/step05.html")
    await page.emulate_media(media="print")
    assert not await page.locator(".skip-to-content").is_visible()
    cut = "(all) => all.filter((pre) => pre.scrollWidth > pre.clientWidth).length"
    assert await page.locator("pre").evaluate_all(cut) == 0
    await page.close()
