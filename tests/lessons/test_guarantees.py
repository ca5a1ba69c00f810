"""Each promise of the page of guarantees names a test that exists and is expected to pass."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tutorial.steps import ROOT

PAGE = ROOT / "docs/guarantees.md"
PROOF = re.compile(r"\[`?(test_\w+)`?\]\((\S+?\.py)\)")
PLACES = re.compile(r"tests/\S+|step\d\d_\w+/tests/\S+|exercises/\w+/test_\w+\.py")


@cache
def known_tests(path: Path) -> dict[str, bool]:
    """Return the tests in a file, and whether each is expected to fail."""
    functions = [node for node in ast.parse(path.read_text()).body if hasattr(node, "decorator_list")]
    return {
        node.name: any("mark.xfail" in ast.unparse(decorator) for decorator in node.decorator_list)
        for node in functions
    }


def part(title: str) -> str:
    """Return the text of the page under a heading of the second level."""
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)[1]


def items(text: str) -> list[str]:
    """Return the list items of a text."""
    return re.findall(r"^- .*(?:\n  .*)*", text, re.MULTILINE)


def proofs(text: str) -> list[tuple[Path, str]]:
    """Return the tests that a text links to, each as its file and its name."""
    return [((PAGE.parent / path).resolve(), name) for name, path in PROOF.findall(text)]


PROMISES = items(part("What is promised"))
GAPS = items(part("Known gaps"))


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise[2:50])
def test_each_promise_has_its_proof(promise):
    """A promise is one sentence and links to a test that exists and is expected to pass."""
    sentence = promise.splitlines()[0]
    assert sentence.endswith(".")
    assert ". " not in sentence
    found = proofs(promise)
    assert found
    for path, name in found:
        assert known_tests(path).get(name) is False, f"{name} is not in {path.name}, or is expected to fail"


def test_nothing_is_promised_beside_the_list():
    """Between the items stand only headings and what leads to them."""
    between = part("What is promised")
    for item in PROMISES:
        between = between.replace(item, "")
    assert len([line for line in between.splitlines() if line and not line.startswith("#")]) <= 2


def test_every_link_to_a_test_leads_to_it():
    """The text of each link to a test is a name in the file that it leads to."""
    page = PAGE.read_text()
    for path, name in proofs(page):
        assert PLACES.fullmatch(path.relative_to(ROOT).as_posix())
        assert name in known_tests(path), f"{name} is not in {path}"
    assert len(re.findall(r"\]\(\S+\.py\)", page)) == len(PROOF.findall(page))


def test_the_known_gaps_are_those_of_the_tests():
    """Each fault whose test is expected to fail stands among the gaps, and no other.

    Whoever closes a gap moves its sentence up to the promises.
    """
    expected = {
        (path, name)
        for path in ROOT.glob("tests/faults/test_*.py")
        for name, gap in known_tests(path).items()
        if gap
    }
    named = [proofs(item)[0] for item in GAPS]
    assert set(named) == expected
    assert len(named) == len(expected)
