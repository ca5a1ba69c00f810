"""A learner who follows a lesson has the step; each section turns its requirements from red to green."""

import os
import re
import subprocess
import sys

import pytest
from sybil import Document
from sybil.example import SybilFailure

from tests.lessons.playground import FENCES, LessonParser, Playground, contents
from tutorial.course.assignment import step_assignment
from tutorial.course.files import write_files
from tutorial.course.front_matter import front_matter
from tutorial.course.steps import ROOT, all_steps
from tutorial.learn.sections import PLAIN, sections
from tutorial.learn.typed import HEADING, Typed, beginning
from tutorial.services.browser import chromium

STEPS = all_steps()
PARTS = ["The idea", PLAIN, "Then it breaks", "Go further"]
GLOSSARY = (ROOT / "docs/glossary.md").read_text()
HANG = 600  # seconds; only what hangs takes as long
# For tests that wait for what is missing and never comes.
HURRIED = {"TUTORIAL_PATIENCE": "0.5", "TUTORIAL_PAGE": "1"}

each_step = pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)


def lesson(step):
    """Return the text of a step's lesson without its front matter."""
    return (step / "README.md").read_text().split("---\n", 2)[2]


def prose(step):
    """Return the text of a lesson without its listings, comments and addresses."""
    text = re.sub(
        r"!\[.*?\]|^```.*?^```$|<!--.*?-->|\]\(.*?\)", "", lesson(step), flags=re.DOTALL | re.MULTILINE
    )
    return re.sub(r"`[^`\n]*`", "", text)


def changes(step):
    """Yield what a learner meets in a lesson: the title of each heading, and each listing or diff."""
    text = lesson(step)
    found = [(match.start(), match[0].lstrip("# "), None, None) for match in HEADING.finditer(text)]
    for block in FENCES(Document(text, "lesson")):
        kind, *rest = str(block.lexemes["info"]).split() or [""]
        path = rest[0] if rest else ""
        if path and (step / path).is_file():
            source = "".join(text[block.start : block.end].splitlines(keepends=True)[1:-1])
            found.append((block.start, None, path, ("mistake" if "mistake" in rest else kind, source)))
    yield from (item[1:] for item in sorted(found, key=lambda item: item[0]))


def stages(step):
    """Return the playground as it is at the end of each section, by title, and how it is when it breaks."""
    files, title, found, broken = beginning(step), "", {}, {}
    for heading, path, change in changes(step):
        if heading in front_matter(step / "README.md")["minutes"]:
            title = heading
            broken[title] = Typed(files)
        elif change and change[0] == "mistake":
            broken[title].change(path, change[1])
        elif change:
            (files.change if change[0] == "diff" else files.listing)(path, change[1])
        found[title] = Typed(files)
    return found, broken


@each_step
def test_a_learner_who_follows_a_lesson_has_the_step(step, tmp_path, request):
    """Its commands show what it prints, and in the end the playground is this step."""
    if chromium() is None:
        pytest.skip("no Chromium or Chrome on PATH; the lessons open pages")
    # That each save leaves a server that starts is for `make test-all`: it takes time.
    each_save = request.config.option.markexpr != "not long"
    with Playground(step, tmp_path, each_save) as playground:
        document = Document.parse(str(step / "README.md"), LessonParser(playground))
        for example in document.examples():
            example.evaluate()
        playground.take_back()
        assert contents(playground.root) == contents(step)


@each_step
def test_a_lesson_says_what_is_given(step):
    """What the lesson names as given is there, and what is typed adds up to the step."""
    about = front_matter(step / "README.md")
    assert all((step / path).exists() for path in about["given"])
    assert list(stages(step)[0].values())[-1] == contents(step)


@each_step
def test_a_lesson_has_its_parts(step):
    """Plain first, then what breaks; each section has its minutes and turns some requirement green."""
    headings = re.findall(r"^## (.*)$", lesson(step), re.MULTILINE)
    assert headings == PARTS
    titles = [heading for heading, *_ in changes(step) if heading]
    minutes = front_matter(step / "README.md")["minutes"]
    assert (
        [title for title in titles if title in minutes]
        == list(minutes)
        == list(sections(step_assignment(step.name)))
    )
    assert next(iter(minutes)) == PLAIN
    assert all(3 <= value <= 20 for value in minutes.values())
    assert f"../docs/images/{step.name[:6]}.svg" in lesson(step)


@each_step
def test_the_plain_version_is_small(step):
    """At most 40 typed lines and 10 new ideas come before something runs."""
    typed = 0
    for heading, _path, change in changes(step):
        if heading == "Then it breaks":
            break
        if change:
            kind, source = change
            lines = source.splitlines()
            typed += (
                sum(bool(line[1:].strip()) and line[0] == "+" for line in lines if line)
                if kind == "diff"
                else sum(bool(line.strip()) for line in lines)
            )
    assert 0 < typed <= 40
    assert len(front_matter(step / "README.md")["ideas"]) <= 10


@each_step
def test_no_term_comes_before_its_sentence(step):
    """A new idea is in the glossary, bold where a lesson first says it, and in no earlier lesson."""
    earlier = STEPS[: STEPS.index(step)]
    before = "\n".join(prose(other).partition("## Go further")[0] for other in earlier)
    for idea in front_matter(step / "README.md")["ideas"]:
        assert re.search(rf"^{re.escape(idea)}$", GLOSSARY, re.MULTILINE), f"{idea} is not in the glossary."
        word = re.compile(rf"(\*\*)?\b{re.escape(idea)}s?\b", re.IGNORECASE)
        first = word.search(prose(step).partition("\n## ")[2])
        assert first, f"{idea} is not in the lesson."
        assert first[1], (
            f"{idea} is said before it is explained: …{prose(step)[first.start() - 40 : first.end()]}"
        )
        assert not word.search(before), f"{idea} is said in an earlier lesson."


@each_step
def test_a_listing_uses_no_name_that_comes_later(step):
    """Each save leaves code without an undefined name: an import comes before the lines that use it."""
    files = beginning(step)
    ruff = ["ruff", "check", "--isolated", "--select", "F821", "--output-format", "concise", "-"]
    for heading, path, change in changes(step):
        if heading or change[0] == "mistake":
            continue
        (files.change if change[0] == "diff" else files.listing)(path, change[1])
        if path.endswith(".py"):
            command = [sys.executable, "-m", *ruff]
            found = subprocess.run(command, input=files[path], capture_output=True, text=True, timeout=HANG)
            assert not found.returncode, f"{path} after:\n{change[1]}\n{found.stdout}{found.stderr}"


@each_step
def test_a_listing_names_its_file_where_a_reader_sees_it(step):
    """The text between a heading and a listing has the file's name."""
    text = lesson(step)
    for block in FENCES(Document(text, "lesson")):
        words = str(block.lexemes["info"]).split()
        if words[1:] and (step / words[1]).is_file():
            shown = re.sub(r"```.*?```", "", text[: block.start], flags=re.DOTALL)
            assert f"`{words[1]}`" in shown[shown.rfind("\n##") :], words[1]


ANSWERS = (
    "from django.test import Client; print(Client().get('/', headers={'host': 'localhost'}).status_code)"
)


@pytest.mark.parametrize("step", STEPS[1:], ids=lambda step: step.name)
def test_what_a_lesson_lays_down_answers(step, tmp_path):
    """Before the first line is typed, a running server still serves its first page."""
    write_files({name: text.encode() for name, text in beginning(step).items()}, tmp_path)
    command = [sys.executable, "manage.py", "shell", "-v", "0", "-c", ANSWERS]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=HANG)
    assert done.stdout.strip() in ("200", "503"), done.stdout + done.stderr


@pytest.mark.long
@each_step
def test_each_section_turns_its_requirements_green(step, tmp_path):
    """At the end of a section its requirements are met, and before it at least one of them wasn't."""
    found, broken = stages(step)
    for title, required in sections(step_assignment(step.name)).items():
        for files, good in (broken[title], False), (found[title], True):
            if files == contents(step):
                continue  # The step's own suite runs these.
            project = tmp_path / f"{title}-{good}"
            write_files({name: text.encode() for name, text in files.items()}, project)
            tests = [f"tests/{one.module}.py::{one.name}" for one in required]
            command = [sys.executable, "-m", "pytest", "-qx", "--tb=short", "-p", "no:cacheprovider", *tests]
            env = os.environ | ({} if good else HURRIED)
            done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, timeout=HANG)
            assert (done.returncode == 0) == good, f"{title}, {good}:\n{done.stdout[-3000:]}"


# The checks themselves: each lets a lesson with a fault through only if it does not work.


@pytest.fixture(scope="module")
def follow(tmp_path_factory):
    """Follow a few lines in the playground of step 3. No test changes it for the next."""
    with Playground(STEPS[2], tmp_path_factory.mktemp("follow")) as playground:
        playground.console(None, "$ tutorial start 3\n$ cd playground\n")

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
    "another line": "```python chat/consumers.py\nimport jsn\n```\n",
    "indented otherwise": "```python chat/consumers.py\nawait self.accept()\n```\n",
    "a change that does not fit": "```diff chat/consumers.py\n import jsn\n+import re\n```\n",
    "a place that is not the only one": "```diff chat/consumers.py\n             return\n+\n```\n",
    "another output": "```console\n$ echo one\ntwo\n```\n",
    "more output": "```console\n$ echo one; echo two\none\n```\n",
    "a mistake that does not fit": "```diff chat/consumers.py mistake\n-import jsn\n```\n",
}


@pytest.mark.parametrize("text", FAULTS.values(), ids=FAULTS)
def test_a_lesson_with_a_fault_is_caught(follow, text):
    """A block that nobody checks, a listing or an output that is not true: each fails."""
    with pytest.raises(SybilFailure):
        follow(text)


def test_a_mistake_is_taken_back_at_the_next_heading(follow):
    """What was broken on purpose is whole again in the next part of the lesson."""
    mistake = "```diff chat/consumers.py mistake\n-import json\n+import jsn\n```\n"
    seen = "```console\n$ grep -c jsn chat/consumers.py\n{}\n```\n"
    follow(f"{mistake}{seen.format(1)}\n## Next\n\n{seen.format(0)}")


def test_an_unchecked_block_needs_a_reason(follow):
    """With a reason in the line before it, a block is passed over."""
    follow("<!-- unchecked: this is only an example -->\n```yaml\na: 1\n```\n")
