"""The first screen says what you build, in what time, for whom it is, what you need, and where to begin."""

import re
import sys
import tomllib

import pytest
from playwright.async_api import expect

from tests.site.conftest import HANG
from tutorial.course.steps import ROOT

sys.path.insert(0, str(ROOT / "docs/_ext"))
from facts import facts, repository

README = (ROOT / "README.md").read_text()
FIRST_SCREEN = README.partition("| step |")[0]
FILM = ["film", "film-narrow", "film-still"]


def test_the_readmes_figures_are_those_of_the_lessons():
    """The minutes at the top of README.md are added up from the lessons, and it counts the exercises."""
    found = facts()
    assert re.search(r"(\d+) minutes to a working app, (\d+) with", FIRST_SCREEN).groups() == (
        str(found["plain_minutes"]),
        str(found["all_minutes"]),
    )
    assert f"{found['exercises']} [exercises]" in README


def test_the_readme_names_the_repository_and_the_oldest_python():
    """`git clone` has the address of pyproject.toml, and "Python 3.11 or newer" is what it asks for."""
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"git clone {about['urls']['Repository']} " in FIRST_SCREEN
    assert f"Python {about['requires-python'].removeprefix('>=')} or newer" in FIRST_SCREEN


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (360, 740)])
async def test_the_first_screen_answers(browser, address, width, height):
    """What, how long, for whom, with what, the command and the start are seen without scrolling."""
    page = await browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(1000 * HANG)
    await page.goto(address)
    found = facts()
    for text in (
        "Build a live chat",
        f"{found['plain_minutes']} minutes to a working app, {found['all_minutes']} with",
        "if you know Python",
        "No Docker, no root",
        "make setup && make run",
        "Start step 1",
    ):
        element = page.locator("article :is(p, pre, a)", has_text=text).last
        await expect(element).to_be_visible()
        box = await element.bounding_box()
        assert box["y"] + box["height"] <= height, text
    assert repository() in await page.locator("article pre").first.inner_text()
    assert "OWNER" in repository() or "OWNER" not in await page.content()
    await page.get_by_role("link", name="Start step 1").click()
    await expect(page).to_have_url(re.compile(r"lessons/step01\.html"))
    await page.close()


@pytest.mark.parametrize(("motion", "name"), [("no-preference", "film"), ("reduce", "film-still")])
@pytest.mark.parametrize(("scheme", "ending"), [("light", ""), ("dark", "-dark")])
async def test_the_film_moves_only_for_those_who_like_it(browser, address, motion, name, scheme, ending):
    """With less motion you see still pictures; a button changes between them and the film."""
    page = await browser.new_page(
        viewport={"width": 1440, "height": 900}, reduced_motion=motion, color_scheme=scheme
    )
    page.set_default_timeout(1000 * HANG)
    await page.goto(address)
    film = page.locator("#film img:visible")
    await expect(film).to_have_attribute("alt", re.compile("The server is killed"))
    await expect(film).to_have_js_property("currentSrc", f"{address}_static/{name}{ending}.webp")
    for shown in {"film": ["film-still", "film"], "film-still": ["film", "film-still"]}[name]:
        await page.get_by_role("button", name="Still pictures").click()
        await expect(film).to_have_js_property("currentSrc", f"{address}_static/{shown}{ending}.webp")
    await page.close()


@pytest.mark.parametrize("name", FILM)
@pytest.mark.parametrize("ending", ["", "-dark"])
def test_the_film_is_light(name, ending):
    """Each of its files takes less than 400 kB."""
    assert (ROOT / f"docs/static/{name}{ending}.webp").stat().st_size < 400_000
