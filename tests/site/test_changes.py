"""The pages of changes: right, easy to copy from, and usable by keyboard."""

import re
from html import unescape
from itertools import combinations

import pytest
import pytest_asyncio

from tests.site.conftest import HANG
from tutorial.course.assignment import exercise_assignment
from tutorial.course.diffs import diff_file
from tutorial.course.steps import all_steps, number

TAG = re.compile(r"<[^>]*>")
FILE = re.compile(r'<details class="change".*?</details>', re.DOTALL)
NAME = re.compile(r'<span class="name">(.*?)</span>')
LINE = re.compile(r'<(ins|del|span) class="line"[^>]*>(.*?)\n</\1>', re.DOTALL)
STEPS = [number(step) for step in all_steps()]


def shown(html):
    """Return the removed and the added lines of each file on a page, sorted."""
    found = {}
    for part in FILE.findall(html):
        unified = re.sub(r'<div class="split".*?</div></div>', "", part, flags=re.DOTALL)
        new = 'class="kind">new file' in part
        lines = [
            ("+" if kind == "ins" or new else "-", unescape(TAG.sub("", text)))
            for kind, text in LINE.findall(unified)
            if kind != "span" or new
        ]
        found[NAME.search(part)[1]] = sorted(lines)
    return found


def committed(diff):
    """Return the same of a committed diff."""
    found = {}
    for part in re.split(r"^diff --git ", diff, flags=re.MULTILINE)[1:]:
        name = part.splitlines()[0].rpartition(" b/")[2]
        body = part.partition("\n@@")[2].splitlines()[1:]
        found[name] = sorted((line[0], line[1:]) for line in body if line[0] in "+-")
    return found


@pytest.mark.parametrize("after", STEPS[1:])
def test_a_page_shows_what_the_committed_diff_says(site, after):
    """Every added and removed line of every file is on the page, and none of git's own lines."""
    html = (site / f"diffs/step{after - 1:02}-step{after:02}.html").read_text()
    assert shown(html) == committed(diff_file(after).read_text())
    assert "/dev/null" not in html
    assert not re.search(r"\bindex [0-9a-f]{7}", html)


@pytest.mark.parametrize("after", STEPS[1:])
def test_each_changed_file_has_a_sentence_and_its_counts(site, after):
    """You read why a file changes before how, and the table at the top counts its lines."""
    page = diff_file(after).with_suffix(".md").read_text()
    parts = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    changes = committed(diff_file(after).read_text())
    assert [part.splitlines()[0] for part in parts] == [f"`{name}`" for name in changes]
    assert all(part.rstrip().endswith(".") for part in parts)
    html = (site / f"diffs/step{after - 1:02}-step{after:02}.html").read_text()
    table = html.partition('<table class="docutils change-files"')[2].partition("</table>")[0]
    rows = re.findall(r"<code>(.*?)</code>.*?>\+(\d+)<.*?>−(\d+)<", table)
    signs = {name: [sign for sign, _ in lines] for name, lines in changes.items()}
    assert rows == [(name, str(s.count("+")), str(s.count("-"))) for name, s in signs.items()]


@pytest.mark.parametrize(("before", "after"), list(combinations(STEPS, 2)))
def test_any_step_can_be_compared_with_a_later_one(site, before, after):
    """The index leads to a page for each pair of steps, and the page to each file as a whole."""
    name = f"step{before:02}-step{after:02}.html"
    assert f'href="{name}"' in (site / "diffs/index.html").read_text()
    html = (site / "diffs" / name).read_text()
    links = re.findall(r'class="whole" href="([^"]+)"', html)
    assert len(links) == len(FILE.findall(html)) > 0
    assert all((site / "diffs" / link).is_file() for link in links)


def test_an_exercise_shows_what_its_solution_changes(site):
    """A patched file has its new lines marked, and leads to the whole file."""
    html = (site / "exercises/echo/README.html").read_text()
    added = [line for sign, line in shown(html)["chat/routing.py"] if sign == "+"]
    assert '    re_path(r"^ws/echo/$", echo.EchoConsumer.as_asgi()),' in added
    [link] = re.findall(r'class="whole" href="([^"]+routing[^"]+)"', html)
    whole = unescape(TAG.sub("", (site / "exercises/echo" / link).read_text()))
    assert exercise_assignment("echo").solution["chat/routing.py"].decode() in whole


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser, address):
    """A page of changes in a wide window, whose clipboard the test may read."""
    context = await browser.new_context(viewport={"width": 1440, "height": 900})
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.set_default_timeout(1000 * HANG)
    page = await context.new_page()
    await page.goto(f"{address}diffs/step02-step03.html")
    yield page
    await context.close()


async def test_a_copied_change_has_the_lines_as_they_are_after_it(page):
    """The copy button leaves out signs, numbers and removed lines; a selection has no signs and numbers."""
    change = page.locator("details", has_text="config/asgi.py").first
    code = change.locator("pre.unified").first
    selected = await code.evaluate(
        "(pre) => { getSelection().selectAllChildren(pre); return `${getSelection()}` }"
    )
    assert "ProtocolTypeRouter" in selected
    assert [line for line in selected.splitlines() if re.match(r"\s*[\d+−-]", line)] == []
    await code.hover()
    await change.locator("button.copybtn").first.click()
    await change.locator("button.copybtn.success").first.wait_for()
    copied = await page.evaluate("navigator.clipboard.readText()")
    after = (all_steps()[2] / "config/asgi.py").read_text()
    assert copied.strip() in after
    assert "ProtocolTypeRouter" in copied


async def test_the_changes_can_be_folded_and_put_side_by_side_by_keyboard(page):
    """Enter folds a file, an arrow key changes the view, and the next page remembers it."""
    change = page.locator("details.change").first
    await change.locator("summary").focus()
    await page.keyboard.press("Enter")
    assert not await change.evaluate("(details) => details.open")
    await page.get_by_role("button", name="Unfold all").focus()
    await page.keyboard.press("Enter")
    assert await page.locator("details.change:not([open])").count() == 0
    assert not await change.locator(".split").first.is_visible()
    await page.get_by_role("radio", name="unified").focus()
    await page.keyboard.press("ArrowRight")
    assert await change.locator(".split").first.is_visible()
    assert not await change.locator(".unified").first.is_visible()
    await page.reload()
    assert await page.locator(".split").first.is_visible()
