"""Every listing of a lesson is in its step, every command runs, every output is what you see."""

import re

import pytest
from sybil import Document
from sybil.example import SybilFailure

from tests.lessons.playground import FENCES, LessonParser, Playground, contents, type_in
from tutorial.course.front_matter import front_matter
from tutorial.course.steps import all_steps
from tutorial.services.browser import chromium
from tutorial.services.ports import port_problem

STEPS = all_steps()
HEADINGS = [
    ["What you have at the end", "The idea", "The change, file by file", "Run it", "What you see"],
    ["Let it fail", "Check yourself", "Go further"],
]

each_step = pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)


def lesson(step):
    """Return the text of a step's lesson."""
    return (step / "README.md").read_text()


def blocks(step):
    """Return for each block of a lesson the words of its info string and where it begins."""
    found = FENCES(Document(lesson(step), str(step / "README.md")))
    return [(str(block.lexemes["info"]).split(), block.start) for block in found]


@each_step
def test_whoever_follows_a_lesson_has_the_step(step, tmp_path):
    """Its commands show what it prints, and in the end the copy of the step before is this step."""
    if chromium() is None:
        pytest.skip("no Chromium or Chrome on PATH; the lessons open pages")
    if "Connection refused" in lesson(step) and (problem := port_problem("127.0.0.1", 5672)):
        pytest.skip(f"port 5672, where a lesson looks for RabbitMQ and finds none, is not free: {problem}")
    with Playground(step, tmp_path) as playground:
        document = Document.parse(str(step / "README.md"), LessonParser(playground))
        for example in document.examples():
            example.evaluate()
        playground.take_back()
        assert contents(playground.root) == contents(step)


@each_step
def test_a_lesson_says_what_is_given(step):
    """A file that the step changes is either typed in from listings or named as given, and never both."""
    about = front_matter(step / "README.md")
    named = {words[1] for words, _ in blocks(step) if words[1:] and words[0] != "diff"}
    listed = {path for path in named if (step / path).is_file()}
    given = set(about.get("given", []))
    assert about["minutes"] > 0
    assert all((step / path).is_file() for path in given)
    if about.get("typed", True):
        before, after = contents(STEPS[STEPS.index(step) - 1]), contents(step)
        assert {name for name in after if after[name] != before.get(name)} == given | listed


@each_step
def test_a_lesson_has_its_parts(step):
    """All lessons have the same headings, a picture of the idea, and a length for half an hour."""
    headings = " ".join(re.findall(r"^## (.*)$", lesson(step), re.MULTILINE))
    positions = [headings.lower().find(name.lower()) for part in HEADINGS for name in part]
    assert -1 not in positions
    assert positions == sorted(positions)
    assert f"../docs/images/{step.name[:6]}.svg" in lesson(step)
    body = lesson(step).split("---\n", 2)[2]
    assert 60 <= len([line for line in body.splitlines() if line.strip()]) <= 150


@each_step
def test_a_listing_names_its_file_where_a_reader_sees_it(step):
    """The heading above a listing, or the text before it, has the file's name."""
    for words, start in blocks(step):
        if words[1:] and (step / words[1]).is_file():
            shown = re.sub(r"```.*?```", "", lesson(step)[:start], flags=re.DOTALL)
            assert f"`{words[1]}`" in shown[shown.rfind("\n##") :], words[1]


# The checks themselves: each lets a lesson with a fault through only if it does not work.


@pytest.fixture(scope="module")
def follow(tmp_path_factory):
    """Follow a few lines in the playground of step 3, as step 2 left it. No test changes it for the next."""
    with Playground(STEPS[2], tmp_path_factory.mktemp("follow")) as playground:
        playground.console(None, "$ cp -r step02_consumer playground\n$ cd playground\n")

        def follow(text):
            text_document = Document(text, "a lesson")
            for region in LessonParser(playground)(text_document):
                text_document.add(region)
            for example in text_document.examples():
                example.evaluate()
            return playground

        yield follow


FAULTS = {
    "nothing checks it": "```yaml\na: 1\n```\n",
    "no reason": "<!-- unchecked: -->\n```yaml\na: 1\n```\n",
    "no such file": "```python chat/rooting.py\nimport os\n```\n",
    "another line": "```python chat/routing.py\nfrom chat import consumer\n```\n",
    "indented otherwise": "```python config/asgi.py\n    URLRouter(websocket_urlpatterns),\n```\n",
    "there already": "```python chat/consumers.py\nimport hashlib\nimport json\n```\n",
    "another output": "```console\n$ echo one\ntwo\n```\n",
    "more output": "```console\n$ echo one; echo two\none\n```\n",
    "a mistake that does not fit": "```diff chat/consumers.py\n-import jsn\n```\n",
}


@pytest.mark.parametrize("text", FAULTS.values(), ids=FAULTS)
def test_a_lesson_with_a_fault_is_caught(follow, text):
    """A block that nobody checks, a listing or an output that is not true: each fails."""
    with pytest.raises(SybilFailure):
        follow(text)


def test_a_mistake_is_taken_back_at_the_next_heading(follow):
    """What was broken on purpose is whole again in the next part of the lesson."""
    mistake = "```diff chat/consumers.py\n-import json\n+import jsn\n```\n"
    seen = "```console\n$ grep -c jsn chat/consumers.py\n{}\n```\n"
    follow(f"{mistake}{seen.format(1)}\n## Next\n\n{seen.format(0)}")


def test_an_unchecked_block_needs_a_reason(follow):
    """With a reason in the line before it, a block is passed over."""
    follow("<!-- unchecked: this is only an example -->\n```yaml\na: 1\n```\n")


def test_typing_a_part_leaves_the_rest():
    """Only the lines of the listing appear; a line that they rewrite goes with the last of them."""
    before, after = ["a\n", "b\n", "z\n"], ["a\n", "B\n", "C\n", "d\n", "z\n", "e\n"]
    assert type_in(["d\n"], before, after) == ["a\n", "b\n", "d\n", "z\n"]
    assert type_in(["B\n", "C\n", "d\n"], before, after) == ["a\n", "B\n", "C\n", "d\n", "z\n"]
    assert type_in(["e\n"], before, after) == ["a\n", "b\n", "z\n", "e\n"]
