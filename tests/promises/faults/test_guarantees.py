"""Each promise on the pages names a test that exists, and the settings they quote are right."""

import ast
import inspect
import re
from functools import cache
from pathlib import Path

import pytest
from celery.app.defaults import DEFAULTS
from channels_redis.core import RedisChannelLayer
from kombu.transport.redis import Channel

from tests.promises.faults.__main__ import FIGURES
from tutorial.course.steps import ROOT

PAGE = ROOT / "docs/guarantees.md"
CHECKLIST = ROOT / "docs/concepts/security.md"
PROOF = re.compile(r"\[`?(test_\w+)`?\]\((\S+?\.py)\)")
PLACES = re.compile(r"tests/\S+|step\d\d_\w+/tests/\S+|exercises/\w+/test_\w+\.py")
OURS = [*ROOT.glob("docs/*.md"), *ROOT.glob("docs/concepts/*.md")]


@cache
def known_tests(path: Path) -> dict[str, bool]:
    """Return the tests in a file, and whether each is expected to fail."""
    functions = [node for node in ast.parse(path.read_text()).body if hasattr(node, "decorator_list")]
    return {
        node.name: any("mark.xfail" in ast.unparse(decorator) for decorator in node.decorator_list)
        for node in functions
    }


def part(page: Path, title: str) -> str:
    """Return the text of a page under a heading of the second level."""
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", page.read_text(), re.MULTILINE | re.DOTALL)[1]


def items(text: str) -> list[str]:
    """Return the list items of a text."""
    return re.findall(r"^- .*(?:\n  .*)*", text, re.MULTILINE)


def proofs(page: Path, text: str) -> list[tuple[Path, str]]:
    """Return the tests that a text of a page links to, each as its file and its name."""
    return [((page.parent / path).resolve(), name) for name, path in PROOF.findall(text)]


PROMISES = items(part(PAGE, "What is promised"))
GAPS = items(part(PAGE, "Known gaps"))
PROVED = [(PAGE, promise) for promise in PROMISES] + [
    (CHECKLIST, item)
    for title in ("The socket", "The pages", "The settings")
    for item in items(part(CHECKLIST, title))
]


@pytest.mark.parametrize(("page", "item"), PROVED, ids=[item[2:50] for _, item in PROVED])
def test_each_promise_and_each_item_of_the_checklist_has_its_proof(page, item):
    """Each statement about the app links to a test that exists and is expected to pass."""
    found = proofs(page, item)
    assert found
    for path, name in found:
        assert known_tests(path).get(name) is False, f"{name} is not in {path.name}, or is expected to fail"


def test_each_promise_is_one_sentence():
    """A promise is one line, before its proof."""
    for promise in PROMISES:
        assert re.fullmatch(r"- (?!.*\. ).*\.", promise.splitlines()[0]), promise


def test_each_figure_that_is_named_is_one_of_make_faults():
    """A promise that a figure measures names one that `make faults` has."""
    named = set(re.findall(r"Figure `(\w+)`", PAGE.read_text() + CHECKLIST.read_text()))
    assert named
    assert named <= set(FIGURES)


def test_nothing_is_promised_beside_the_list():
    """Between the items are only headings and introductions."""
    between = part(PAGE, "What is promised")
    for item in PROMISES:
        between = between.replace(item, "")
    assert len([line for line in between.splitlines() if line and not line.startswith("#")]) <= 2


def test_the_known_gaps_are_those_of_the_tests():
    """The gaps list each fault whose test is expected to fail, and no other.

    When you close a gap, move its sentence up to the promises.
    """
    files = ROOT.glob("tests/promises/faults/test_*.py")
    expected = [(path, name) for path in files for name, gap in known_tests(path).items() if gap]
    assert sorted(proofs(PAGE, item)[0] for item in GAPS) == sorted(expected)


@pytest.mark.parametrize("page", OURS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_to_a_test_leads_to_it(page):
    """If a link's text is a test's name, the file it leads to has that test."""
    for path, name in proofs(page, page.read_text()):
        assert PLACES.fullmatch(path.relative_to(ROOT).as_posix())
        assert name in known_tests(path), f"{name} is not in {path}"


def settings_of_a_page(name: str) -> dict[str, tuple[float, float]]:
    """Return the settings in a page's table, each with its default and its value here."""
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \|", (ROOT / name).read_text(), re.MULTILINE)
    return {setting: (int(default), int(here)) for setting, default, here in rows}


def test_the_settings_of_the_channel_layer_are_as_the_page_says(settings):
    """Capacity and expiry: the defaults are those of the installed package, the values those of the step."""
    defaults = inspect.signature(RedisChannelLayer).parameters
    config = settings["CHANNEL_LAYERS"]["default"]["CONFIG"]
    table = settings_of_a_page("docs/concepts/channel-layer.md")
    assert set(table) == {"capacity", "expiry", "group_expiry"}
    for name, (default, here) in table.items():
        assert defaults[name].default == default
        assert config.get(name, default) == here


def test_the_settings_of_the_queue_are_as_the_page_says(settings):
    """Timeouts of tasks: the defaults are those of the installed packages, the values those of the step."""
    options = settings["CELERY_BROKER_TRANSPORT_OPTIONS"]
    table = settings_of_a_page("docs/concepts/tasks.md")
    assert len(table) == 5
    assert table.pop("worker_prefetch_multiplier") == (
        DEFAULTS["worker_prefetch_multiplier"],
        settings["CELERY_WORKER_PREFETCH_MULTIPLIER"],
    )
    assert table == {name: (getattr(Channel, name), options[name]) for name in table}
    assert DEFAULTS["task_acks_late"] is False
    assert list(DEFAULTS["accept_content"]) == ["json"]
