"""The search: an error leads to its symptom, and every word to a page that has it."""

import re
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from site_search import symptoms

from tests.site.conftest import HANG

ENTRIES = symptoms()
FIND = """(text) => {
    const form = document.querySelector("form.search-page");
    form.elements.q.value = text;
    form.requestSubmit();
    return document.querySelector("#search-symptoms a")?.getAttribute("href") ?? "nothing";
}"""


def elsewhere(line):
    """Return a line of an error as another machine shows it: another address, port, time and id."""
    line = re.sub(r"127\.0\.0\.1:\d+", "192.168.7.31:8417", line)
    line = re.sub(r"\d\d:\d\d:\d\d", "23:59:58", line)
    line = re.sub(r"\b\d{1,2}/[A-Z][a-z]{2}/\d{4}", "03/Feb/2031", line)
    line = re.sub(r"\b\d{4}-\d\d-\d\d", "2031-02-03", line)
    return re.sub(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b", "0f3c1a77-5d1e-4b55-9f7e-1c2d3e4f5a6b", line)


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser, address):
    """A page that tests may leave as it is."""
    page = await browser.new_page()
    page.set_default_timeout(1000 * HANG)
    yield page
    await page.close()


async def test_every_error_leads_first_to_its_own_entry(page, address):
    """Search for a heading or a line of a symptom, also with your own ports and times: its entry is first."""
    await page.goto(f"{address}search.html")
    wrong = []
    for entry in ENTRIES:
        # A line may be in two entries, such as the server's greeting; either will do.
        for line in [*entry["title"].split(" · "), *entry["lines"]]:
            homes = [f"symptoms.html#{other['anchor']}" for other in ENTRIES if line in other["lines"]]
            homes.append(f"symptoms.html#{entry['anchor']}")
            for text in {line, elsewhere(line)}:
                if (found := await page.evaluate(FIND, text)) not in homes:
                    wrong.append((entry["anchor"], text, found))
    assert wrong == []


async def test_a_pasted_traceback_leads_to_its_entry(page, address):
    """You need not choose the telling line."""
    await page.goto(f"{address}search.html")
    traceback = """Traceback (most recent call last):
  File "/home/me/.venv/lib/python3.13/site-packages/channels/layers.py", line 179, in require_valid_group_name
    raise TypeError(self.invalid_name_error.format("Group", name))
TypeError: Group name must be a valid unicode string with length < 100 containing only ASCII"""
    assert await page.evaluate(FIND, traceback) == "symptoms.html#s09"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("403", "symptoms.html#c403"),
        ("Group name must be", "symptoms.html#s09"),
        ("Apps aren't loaded yet.", "symptoms.html#s08"),
        ("acknowledgement", "concepts/tasks.html"),
        ("epoch", "guarantees.html"),
        ("scheme wss", "lessons/step04.html"),
    ],
)
async def test_the_first_results_have_it(page, address, text, target):
    """The box in the sidebar leads to a page of results, with the entry first or the page among the first."""
    await page.goto(f"{address}index.html")
    await page.locator(".sidebar-search").fill(text)
    await page.locator(".sidebar-search").press("Enter")
    await page.locator("#search-pages li, #search-symptoms li").first.wait_for()
    link = page.locator(f"#search-pages li:nth-child(-n+4) a[href*='{target}']")
    if "#" in target:
        link = page.locator(f"#search-symptoms li:first-child a[href='{target}']")
    await link.first.wait_for()
    await link.first.click()
    await page.wait_for_url(f"**/*{target}*")


async def test_digits_are_words(page, address):
    """403 is found on the pages that have it, too."""
    await page.goto(f"{address}search.html?{urlencode({'q': '403'})}")
    await page.locator("#search-pages a[href*='lessons/step0']").first.wait_for()


async def test_an_opened_file_has_a_search_too(page, site):
    """Without a server, the errors are found as before, and Sphinx's search finds the pages."""
    await page.goto(f"{(site / 'search.html').as_uri()}?{urlencode({'q': 'acknowledgement'})}")
    await page.locator("#search-results a[href*='step05']").first.wait_for()
    await page.goto(f"{(site / 'search.html').as_uri()}?{urlencode({'q': ENTRIES[0]['lines'][0]})}")
    assert await page.locator("#search-symptoms a").first.get_attribute("href") == (
        f"symptoms.html#{ENTRIES[0]['anchor']}"
    )


async def test_the_symptoms_can_be_filtered(page, address):
    """Words leave the entries that have all of them, and the text of an error leaves its own."""
    await page.goto(f"{address}symptoms.html")
    entries = page.locator("article section:has(> h3)")
    assert await entries.count() == len(ENTRIES)
    box = page.get_by_role("searchbox", name="Show only")
    await box.fill("namespace")
    [only] = await page.locator("article h3:visible").all_inner_texts()
    assert "is not a registered namespace" in only
    await box.fill("ConnectionError: Error 111 connecting to 10.1.2.3:6380. Connect call failed")
    assert "Error 111 connecting" in (await page.locator("article h3:visible").all_inner_texts())[0]
    await box.fill("")
    assert await page.locator("article h3:visible").count() == len(ENTRIES)


async def test_no_line_of_an_error_is_cut_off(page, address):
    """Long lines are wrapped: the end of an error often tells the most."""
    await page.set_viewport_size({"width": 360, "height": 800})
    await page.goto(f"{address}symptoms.html")
    lines = page.locator(".highlight-text pre")
    cut = "(all) => all.filter((pre) => pre.scrollWidth > pre.clientWidth).length"
    assert await lines.evaluate_all(cut) == 0
    assert await lines.count() >= len(ENTRIES)
