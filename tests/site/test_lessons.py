"""The lessons on the site: whose listing it is, what is new in it, and where the file is."""

import re
from html import unescape

import pytest

from tutorial.course.steps import all_steps

TAG = re.compile(r"<[^>]*>")
FENCE = re.compile(r"^```(\w+) (\S+\.\w+)(?: mistake)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LISTING = re.compile(r'<div class="listing"><p class="listing-name">(.*?)</p>(.*?)</pre>', re.DOTALL)
LINE = re.compile(r'<(ins|del|span) class="line">(.*?)\n</\1>', re.DOTALL)
SIGNS = {"ins": "+", "del": "-", "span": " "}


@pytest.mark.parametrize("step", all_steps(), ids=lambda step: step.name)
def test_a_listing_marks_what_the_lesson_changes(site, step):
    """Each listing of a file has the file's name over it, and its new and removed lines marked as such."""
    written = [
        (name, code if language == "diff" else re.sub("^", " ", code, flags=re.MULTILINE)[:-1])
        for language, name, code in FENCE.findall((step / "README.md").read_text())
    ]
    html = (site / f"lessons/{step.name[:6]}.html").read_text()
    shown = []
    for caption, code in LISTING.findall(html):
        lines = [SIGNS[tag] + unescape(TAG.sub("", text)) + "\n" for tag, text in LINE.findall(code)]
        shown.append((TAG.sub("", caption).partition(",")[0], "".join(lines)))
    assert [name for name, _ in shown] == [name for name, _ in written]
    for (_, here), (name, there) in zip(shown, written, strict=True):
        assert list(map(str.rstrip, here.splitlines())) == list(map(str.rstrip, there.splitlines())), name


def test_a_link_to_code_shows_it(site):
    """A link to a file of Python or JavaScript opens a page of it, and downloads nothing."""
    for path in site.rglob("*.html"):
        assert re.findall(r'<a [^>]*download[^>]*href="[^"]*\.(?:py|js)"', path.read_text()) == [], path
    page = (site / "source/step03_routing/chat/routing.py.html").read_text()
    count = len((all_steps()[2] / "chat/routing.py").read_text().splitlines())
    assert re.findall(r'id="L(\d+)"', page) == [str(n + 1) for n in range(count)]


def test_what_a_terminal_shows_has_a_caption(site):
    """You see whether to type something into a terminal, and which, or into the browser."""
    html = (site / "lessons/step04.html").read_text()
    captions = re.findall(r'<span class="caption-text">(.*?)</span>', html)
    assert {"Terminal", "Terminal: server", "The page", "Type into the browser’s console"} <= set(captions)


def test_a_picture_of_the_app_is_dark_where_the_page_is(site):
    """Each picture that has a dark one comes with it, and the theme shows one of the two."""
    for page, name in {"step01": "status", "step04": "room", "step05": "posts"}.items():
        html = (site / f"lessons/{page}.html").read_text()
        shown = re.findall(rf'class="(only-\w+)" src="\S+/({name}\S*)"', html)
        assert shown == [("only-light", f"{name}.png"), ("only-dark", f"{name}-dark.png")]
