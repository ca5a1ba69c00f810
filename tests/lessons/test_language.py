"""What people read here follows docs/STYLE.md: the phrases below appear nowhere outside code."""

import ast
import io
import json
import re
import tokenize

import pytest

from tutorial.course.steps import ROOT

# A regular expression, case-insensitive unless it says otherwise, and what to write instead.
INSTEAD = {
    r"(?-i:\bWho)\b(?![^.!?\n|]*\?)": "A visitor who …, A message sent to …, If you …",
    r"\bwhoever\b": "anybody who, a visitor who, if you",
    r"\b(?:stands?|stood)\b(?! (?:for|in for|out|up)\b)": "is, comes, says",
    r"\bin vain\b": "forever, without an answer",
    r"\bto be had\b": "available, installed",
    r"\ball the same\b": "anyway",
    r"\balso (?:when|where|if)\b": "even if",
    r"\b(?:is|are|was|were|be) told\b": "gets, hears; say what the reader sees",
    r"\bas against\b": "unlike, without",
    r"\bso much as\b": "even",
    r"\bfor ever\b": "forever",
    r"\b(?:simply|easily|obviously|of course)\b": "nothing: delete it",
    r"\bone(?:self|'s own| types)\b": "yourself, your own, you",
}
SPLIT = {re.compile(phrase.replace(" ", r"\s+"), re.IGNORECASE): what for phrase, what in INSTEAD.items()}
PLACES = ("*.md", "docs/**/*.md", "notebooks/*", "exercises/**/*", "step0*/**/*", "tests/**/*.py")
PLACES += ("tutorial/**/*", "benchmarks/*.py")
LEFT_OUT = {ROOT / "CHANGELOG.md", ROOT / "docs/STYLE.md"}
CODE = re.compile(r"^( *)(```+|~~~+).*?^\1\2|`(?:[^`\n]|\n(?!\n))+`", re.DOTALL | re.MULTILINE)
GLOSSARY = re.compile(r"^```\{glossary\}$(.*?)^```$", re.DOTALL | re.MULTILINE)


def without_code(text):
    """Return a text with its lines, but without blocks of code and code in backticks."""
    return CODE.sub(lambda code: "…" + "\n" * code[0].count("\n"), GLOSSARY.sub(r"\1", text))


def python(path):
    """Yield comments and strings with their lines; of the course's own tests only the docstrings."""
    text = path.read_text()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    nodes = list(ast.walk(ast.parse(text)))
    if path.is_relative_to(ROOT / "tests"):
        nodes = [node.value for node in nodes if isinstance(node, ast.Expr)]
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def notebook(path):
    """Yield the cells of text; in place of a line, the cell's number."""
    for number, cell in enumerate(json.loads(path.read_text())["cells"], 1):
        if cell["cell_type"] == "markdown":
            yield number, "".join(cell["source"])


def whole(path):
    yield 1, path.read_text()


READERS = {".py": python, ".ipynb": notebook} | dict.fromkeys(
    [".md", ".toml", ".js", ".css", ".html", ".patch"], whole
)


def banned(text):
    """Yield each banned phrase in a text with its line, from 0, and what to write instead."""
    text = without_code(text)
    for phrase, instead in SPLIT.items():
        for match in phrase.finditer(text):
            yield text.count("\n", 0, match.start()), " ".join(match[0].split()), instead


def test_what_people_read_has_no_banned_phrase():
    """No lesson, page, hint, error text, docstring or comment has a phrase that docs/STYLE.md bans."""

    found = []
    for path in sorted({path for place in PLACES for path in ROOT.glob(place)} - LEFT_OUT):
        if path.suffix in READERS and "_build" not in path.parts:
            for first, text in READERS[path.suffix](path):
                for line, phrase, instead in banned(text):
                    found.append(f"{path.relative_to(ROOT)}:{first + line}: “{phrase}”. Write: {instead}")
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("Fine.\nWho sends to the group\nreaches all.", ["Who"]),
        ("Who is there? The page says who.", []),
        ("So does whoever can read it, also\nwhen it is old.", ["whoever", "also when"]),
        ("The check stands first. ASGI stands for an interface.", ["stands"]),
        ("```console\n$ in vain\n```\n`of course` and of\ncourse", ["of course"]),
        ("```{glossary}\ntask\n  It is simply run.\n```", ["simply"]),
    ],
)
def test_banned_phrases_are_found_in_prose_only(text, phrases):
    """A phrase is found across lines and in the glossary, and not in code or in a question."""
    assert [phrase for _, phrase, _ in banned(text)] == phrases
