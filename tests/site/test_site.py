"""The site builds without a warning, loads nothing from other hosts, and its links lead somewhere."""

import asyncio
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import pytest

from tests.site.conftest import HANG
from tutorial.course.steps import ROOT, all_steps

LINK = re.compile(r"\]\(([^)\s]+)\)")
PAGES = [
    *("index", "lessons/step01", "lessons/step05", "exercises/rate_limit/README", "diffs/step02-step03"),
    *("notebooks/02_consumer", "symptoms", "errata", "concepts/processes", "guarantees", "glossary"),
    *("instructors", "search"),
]
OURS = [path for part in ("docs", "exercises") for path in ROOT.joinpath(part).rglob("*.md")]
OURS = [path for path in OURS if "_build" not in path.parts]
OURS += [step / "README.md" for step in all_steps()] + sorted(ROOT.glob("*.md"))


META = re.compile(r'<meta (?:property|name)="([^"]+)" content="([^"]*)"')
ABOUT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PUBLISHED_AT = f"/{ABOUT['urls']['Repository'].rpartition('/')[2]}/"


def made_pages(site):
    """Return the pages of the site without the slides."""
    return [path for path in site.rglob("*.html") if "slides" not in path.relative_to(site).parts]


class Links(HTMLParser):
    """Collects the addresses that a page refers to, here and elsewhere, and the anchors it has."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.external, self.anchors = [], set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        """Called for every tag."""
        for name, value in attributes:
            if name in ("href", "src") and value and not value.startswith(("data:", "mailto:")):
                self.external.add((tag, value)) if value.startswith("http") else self.addresses.append(value)
            if name == "id":
                self.anchors.add(value)


def test_the_site_builds_within_a_minute(site):
    """`make docs` has no warning and takes less than 60 seconds of a processor."""
    assert float((site / "seconds").read_text()) < 60


def test_every_link_in_the_site_leads_somewhere(site):
    """Each address and anchor in the built pages exists."""
    pages = {path.as_uri(): Links(path.read_text()) for path in site.rglob("*.html")}
    missing = []
    for page, links in pages.items():
        for address in links.addresses:
            if page.endswith("/404.html"):
                # It may be shown at any depth, so its own links begin at the host.
                assert address.startswith(("#", PUBLISHED_AT)), address
                address = address.removeprefix(PUBLISHED_AT)
            target, anchor = urldefrag(urljoin(page, address))
            path = Path(unquote(target.removeprefix("file://").partition("?")[0]))
            known = pages.get(path.as_uri())
            if not path.exists() or (anchor and known and unquote(anchor) not in known.anchors):
                missing.append((page, address))
    assert missing == []


@pytest.mark.parametrize("page", OURS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_on_a_code_host_leads_somewhere(page):
    """Each relative link of a lesson or page leads to a file, if you read it on a code host."""
    for link in LINK.findall(page.read_text()):
        if "://" not in link and not link.startswith("#"):
            assert (page.parent / link.partition("#")[0]).exists(), link


def test_the_links_to_elsewhere_are_listed(site):
    """external-links.txt has every address outside, with the pages that link to it. The test fetches none."""
    listed = dict(line.split(" ", 1) for line in (site / "external-links.txt").read_text().splitlines())
    assert "guarantees" in listed["https://hexdocs.pm/phoenix/channels.html"]
    # The theme's own links are on every page; slides have none.
    pages = [Links(path.read_text()).external for path in made_pages(site)]
    ours = set.union(*pages) - set.intersection(*pages)
    assert {address for tag, address in ours if tag == "a"} <= set(listed)


def test_every_page_says_what_it_is_when_linked_elsewhere(site):
    """A link that you post shows the page's title, a sentence or two, and the picture of the course."""
    for path in made_pages(site):
        about = dict(META.findall(path.read_text()))
        assert about["description"] == about["og:description"] != "", path
        assert about["og:title"], path
        assert about["og:url"].endswith(f"{PUBLISHED_AT}{path.relative_to(site).as_posix()}")
        assert (site / about["og:image"].partition(PUBLISHED_AT)[2]).is_file()


@pytest.mark.parametrize("notebook", sorted(ROOT.glob("notebooks/*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_can_be_downloaded(site, notebook):
    """Its page has a link to the notebook itself."""
    page = site / f"notebooks/{notebook.stem}.html"
    [link] = re.findall(r'href="([^"]+\.ipynb)">Download this notebook<', page.read_text())
    assert (page.parent / link).read_bytes() == notebook.read_bytes()


@pytest.mark.parametrize("step", all_steps(), ids=lambda step: step.name)
def test_a_lesson_leads_to_its_slides_and_they_lead_back(site, step):
    """`make docs` puts the slides into the site."""
    name = f"{step.name[:6]}.html"
    assert f"../slides/{name}" in Links((site / "lessons" / name).read_text()).addresses
    assert f"../lessons/{name}" in Links((site / "slides" / name).read_text()).addresses


def test_no_page_takes_anything_from_elsewhere(site):
    """Scripts, styles, pictures and fonts come with the site, on every page."""
    for path in site.rglob("*.html"):
        assert {(tag, address) for tag, address in Links(path.read_text()).external if tag != "a"} == set()


def test_no_lesson_shows_what_it_tells_its_tests(site):
    """A lesson's comments drive its test. You see none of them."""
    for step in all_steps():
        assert "&lt;!" not in (site / f"lessons/{step.name[:6]}.html").read_text()


@pytest.mark.parametrize("page", ["lessons/step01", "lessons/step05", "concepts/tasks"])
def test_a_page_leads_to_the_previous_and_the_next(site, page):
    """If you read in order, you need no menu."""
    related = (site / f"{page}.html").read_text().partition('class="related-pages"')[2]
    assert "next-page" in related
    assert "prev-page" in related


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
async def test_the_site_needs_no_other_host(browser, address, width, scheme):
    """A dozen pages load only from their own server, and are no wider than a phone's window."""
    context = await browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, service_workers="block"
    )
    context.set_default_timeout(1000 * HANG)
    requested = []
    context.on("request", lambda request: requested.append(request.url))

    async def look(name):
        page = await context.new_page()
        await page.goto(f"{address}{name}.html", wait_until="networkidle")
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == (scheme == "dark"), name

    await asyncio.gather(*map(look, PAGES))
    await context.close()
    assert len(requested) > len(PAGES)
    assert [url for url in requested if not url.startswith((address, "data:"))] == []


def test_the_pictures_are_small():
    """A screenshot takes less than 60 kB, a drawing less than 6 kB with its text as text."""
    images = ROOT / "docs/images"
    assert all(path.stat().st_size < 60_000 for path in images.glob("*.png"))
    for path in images.glob("*.svg"):
        assert path.stat().st_size < 6_000
        assert "<text" in path.read_text()
        assert "prefers-color-scheme: dark" in path.read_text()
