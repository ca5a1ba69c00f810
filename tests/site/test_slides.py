"""The slides come from the lessons, fit on their screens, and need no network."""

import re

import pytest
from axe_playwright_python.async_playwright import Axe
from slides import build, markdown, slides, write_sources

from tutorial.course.steps import all_steps

LESSON = """---
minutes: 5
---

# Step 9: bells

## The idea

A bell rings. It is heard by all. A **clapper** is inside, see [the lesson](../x/README.md).

![A bell](../docs/images/bell.svg)

- `ring()` rings. It may be called twice.

## The plain version

> A box. It has more.

```python bells/bell.py
def ring():
    return "ding"
```

<!-- stop: bell -->
Now it rings twice:

```diff bells/bell.py mistake
-    return "ding"
+    return "ding ding"
```

## Go further

Ring another bell.
"""


# Goes through the slides and returns the beginning of each that is too full.
TOO_LARGE = """() => Array.from({ length: Reveal.getTotalSlides() }, () => {
    const slide = Reveal.getCurrentSlide();
    const parts = [slide, ...slide.querySelectorAll("pre code")];
    const tooLarge = slide.scrollHeight > 720 || parts.some((part) => part.scrollWidth > part.clientWidth);
    Reveal.next();
    return tooLarge ? slide.textContent.trim().slice(0, 60) : "";
}).filter(Boolean)"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The slides, built."""
    target = tmp_path_factory.mktemp("slides")
    assert build(target) == 0
    return target


def test_a_slide_shows_the_point_and_the_notes_have_the_rest():
    """A slide shows a paragraph's first sentence and its terms; the speaker sees all of it."""
    title, idea, version = slides(LESSON)
    assert (title.heading, title.blocks) == ("# Step 9: bells", [])
    assert idea.blocks == [
        "A bell rings. A **clapper** is inside, see the lesson.",
        "![A bell](../docs/images/bell.svg)",
        "- `ring()` rings.",
    ]
    assert idea.notes == [
        "A bell rings. It is heard by all. A **clapper** is inside, see the lesson.",
        "`ring()` rings. It may be called twice.",
    ]
    assert version.blocks == [
        "> A box.",
        '`bells/bell.py`\n\n```python\ndef ring():\n    return "ding"\n```',
        "Now it rings twice",
        '`bells/bell.py`\n\n```diff\n-    return "ding"\n+    return "ding ding"\n```',
    ]


def test_a_sentence_that_goes_on_is_not_torn_from_the_one_before():
    """A term's sentence that begins with It or Then comes with what it is about."""
    [_, idea] = slides("# A\n\n## B\n\nFirst. The server goes. Then messages wait in an **outbox**. More.\n")
    assert idea.blocks == ["First. The server goes. Then messages wait in an **outbox**."]


def test_an_aside_is_whole_or_not_there():
    """A slide has no opening parenthesis without its end."""
    [_, first, second] = slides("# A\n\n## B\n\nIt rings. (Said once. Yes.)\n\n## C\n\n(Is it new? Yes.)\n")
    assert (first.blocks, second.blocks) == (["It rings."], ["(Is it new?)"])


@pytest.mark.parametrize(("sign", "language"), [("", "python"), ("+", "diff")])
def test_a_long_listing_goes_on_below_and_loses_no_line(sign, language):
    """A listing that is too long for a slide is cut at an empty line, under the same heading."""
    code = "\n".join(sign + (f"line{number}" if number % 8 else "") for number in range(1, 48))
    made = slides(f"# A\n\n## B\n\n```{language}\n{code}\n```\n")
    first, second, *others = [slide.heading for slide in made]
    assert (first, second, set(others)) == ("# A", "## B", {"### B"})
    text = markdown(made)
    assert re.findall(r"line\d+", text) == re.findall(r"line\d+", code)
    ends = [block.splitlines()[-2] for slide in made[1:-1] for block in slide.blocks]
    assert all(int(end.removeprefix(f"{sign}line")) % 8 == 7 for end in ends)


def test_every_listing_of_a_lesson_is_on_its_slides(tmp_path):
    """The slides have each line of each listing, in the lesson's order."""
    write_sources(tmp_path)
    for step in all_steps():
        lines = re.findall(
            r"^```\w+ \S.*?\n(.*?)^```$", (step / "README.md").read_text(), re.MULTILINE | re.DOTALL
        )
        shown = (tmp_path / f"{step.name[:6]}.md").read_text().splitlines()
        rest = iter(shown)
        assert all(line in rest for listing in lines for line in listing.splitlines() if line.strip())


async def test_the_slides_fit_and_need_no_network(browser, built):
    """Opened as files, they load nothing from a host, everything fits on its slide, and axe finds nothing."""
    page = await browser.new_page(viewport={"width": 1280, "height": 720})
    page.set_default_timeout(600_000)  # milliseconds; only what hangs takes as long
    requested, errors = [], []
    page.on("request", lambda request: requested.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    for step in all_steps():
        await page.goto((built / f"{step.name[:6]}.html").as_uri())
        await page.wait_for_function("window.Reveal && Reveal.isReady()")
        violations = (await Axe().run(page)).response["violations"]
        assert [(each["id"], each["nodes"][0]["html"][:120]) for each in violations] == []
        assert await page.evaluate(TOO_LARGE) == []
        assert await page.locator("aside.notes").count() > 5
        sizes = "(all) => all.map((code) => parseFloat(getComputedStyle(code).fontSize))"
        assert min(await page.locator("pre code").evaluate_all(sizes)) >= 24
    await page.close()
    assert errors == []
    assert [url for url in requested if not url.startswith(("file:", "data:"))] == []
