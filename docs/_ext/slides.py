"""Make slides for each step from its lesson: `python docs/_ext/slides.py [DIRECTORY]`. The site has them too.

A slide has the lesson's headings, listings and pictures as they are, and of each paragraph and list item the
first sentence and those with a term in bold. The rest is in the speaker's notes. sphinx-revealjs builds the
slides, which need no network.
"""

import math
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from markdown_it import MarkdownIt
from sphinx.errors import ExtensionError

from tutorial.course.front_matter import FRONT_MATTER
from tutorial.course.steps import ROOT, all_steps, number

CONFIGURATION = ROOT / "docs/slides"
TARGET = ROOT / "docs/_build/html/slides"
LINK = re.compile(r"(?<!!)\[([^]]+)\]\([^)]+\)|<(https?://[^>]+)>")
IMAGE = re.compile(r"!\[([^]]*)\]\(([^)]+)\)")
TORN_ASIDE = re.compile(r"\s*\([^()]*(\([^()]*\)[^()]*)*$")
# A sentence ends where the next one begins with a capital, a sign or code.
SENTENCE_END = re.compile(r"(?<=[.?!])\s+(?=[A-Z“`*\d])")
GOES_ON = re.compile(r"(It|They|Then|This|That|These|Those|There|Here|So|But|And|Its|Their|Both)\b")
LEFT_OUT = ("Go further",)
# Heights are in lines of text; docs/slides/static/slides.css says how high those are.
HEIGHT = {"#": 13, "##": 15, "###": 15}  # below a heading of one line
LETTERS = 68  # in a line of text
GAP = 0.5  # after a block
PICTURE = {".svg": 9, ".png": 12}
CODE_LINE = 0.8
CODE_LETTERS = 80  # in a line of a listing
CODE_FRAME = 1.1
LONGEST_CODE = 15  # lines of a listing on one slide


@dataclass
class Slide:
    """A slide.

    Attributes:
        heading: Its heading, with the number signs.
        blocks: Its content, in Markdown.
        notes: The text for the speaker.
        height: How much of it is full, in lines of text.
    """

    heading: str
    blocks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    height: float = 0


def plain(text: str) -> str:
    """Return a text with its links as words."""
    return LINK.sub(lambda match: match[1] or f"`{match[2]}`", " ".join(text.split()))


def sentences(text: str) -> tuple[str, str]:
    """Return the part of a text that a slide shows, and all of it."""
    whole = plain(text)
    all_of_it = SENTENCE_END.split(whole)
    shown = {0} | {place for place, sentence in enumerate(all_of_it) if "**" in sentence}
    # One that goes on from the sentence before makes no sense without it.
    for place in range(len(all_of_it) - 1, 0, -1):
        if place in shown and GOES_ON.match(all_of_it[place]):
            shown.add(place - 1)
    chosen = " ".join(all_of_it[place] for place in sorted(shown)).removesuffix(":")
    # No aside without its end. If the text is nothing but an aside, its first sentence.
    return TORN_ASIDE.sub("", chosen) or (chosen and f"{chosen})"), whole


def rows(code: list[str]) -> int:
    """Return how many lines a listing takes on a slide, where long ones are wrapped."""
    return sum(max(1, math.ceil(len(line) / CODE_LETTERS)) for line in code)


def pieces(code: list[str], margin: int) -> Iterator[list[str]]:
    """Cut a listing into pieces of about one length that fit on a slide.

    It is cut at an empty line, or before a line without indentation, or anywhere.

    Args:
        code: Its lines.
        margin: How many characters of each line are signs of a diff.
    """
    while (lines := rows(code)) > LONGEST_CODE:
        even = math.ceil(len(code) / math.ceil(lines / LONGEST_CODE))
        last = min(LONGEST_CODE, len(code) - 1)
        window = [(index, code[index][margin:]) for index in range(even // 2, last + 1)]
        cuts = [index for index, line in window if not line.strip()]
        cuts = cuts or [index for index, line in window if line[0] not in " )]}"]
        cut = min(cuts, key=lambda index: abs(index - even), default=even)
        yield code[:cut]
        code = "\n".join(code[cut:]).lstrip("\n").split("\n")
    yield code


def blocks(text: str) -> Iterator[tuple[str, str, float, str]]:
    """Return the parts of a lesson: kind, Markdown, height in lines of text, and words for the notes."""
    mark = ""
    for token in MarkdownIt().parse(text):
        if token.type.endswith("_open") and not (token.type == "paragraph_open" and token.level):
            mark = token.markup
        elif token.type == "inline" and mark.startswith("#"):
            yield "heading", f"{mark} {plain(token.content)}", 0, ""
        elif token.type == "inline":
            for words, path in IMAGE.findall(token.content):
                yield "picture", f"![{words}]({path})", PICTURE[path[-4:]], ""
            shown, whole = sentences(IMAGE.sub("", token.content))
            if shown:
                yield "text", f"{mark} {shown}".strip(), math.ceil(len(shown) / LETTERS) + GAP, whole
        elif token.type == "fence" and token.content.strip():
            language, name, *_ = [*token.info.split(), "text", ""]
            caption = f"`{name}`\n\n" if "." in name else ""
            for piece in pieces(token.content.splitlines(), language == "diff"):
                code = "\n".join(piece)
                height = rows(piece) * CODE_LINE + CODE_FRAME + bool(caption)
                yield "code", f"{caption}```{language}\n{code}\n```", height, ""


def slides(lesson: str) -> list[Slide]:
    """Return the slides of a lesson.

    Args:
        lesson: The text of its README.
    """
    made: list[Slide] = []
    skipped = False
    for kind, block, height, words in blocks(FRONT_MATTER.sub("", lesson)):
        if kind == "heading":
            skipped = block.removeprefix("## ") in LEFT_OUT or (skipped and block.startswith("###"))
            made += [] if skipped else [Slide(block)]
        elif not skipped:
            level, title = made[-1].heading.split(" ", 1)
            if made[-1].height and made[-1].height + height > HEIGHT[level]:
                # It continues below, under the same heading.
                made.append(Slide(f"{'##' if level == '#' else '###'} {title}"))
            made[-1].blocks.append(block)
            made[-1].height += height
            made[-1].notes += [words] if words else []
    return made


def markdown(made: list[Slide]) -> str:
    """Return slides as the text that sphinx-revealjs builds."""
    parts = []
    for slide in made:
        parts += [slide.heading, *slide.blocks]
        if slide.notes:
            parts.append("\n".join(["```{revealjs-notes}", *slide.notes, "```"]))
    # Items that follow one another are one list.
    return re.sub(r"^(- .*)\n\n(?=- )", r"\1\n", "\n\n".join(parts) + "\n", flags=re.MULTILINE)


def write_sources(directory: Path, site: bool = False) -> None:
    """Write the text of all slides, with the pictures they show.

    Args:
        directory: Where to; it must exist.
        site: Whether they lead back to the site, which is above them.
    """
    names = []
    for step in all_steps():
        text = markdown(slides((step / "README.md").read_text(encoding="utf-8")))
        for _, picture in IMAGE.findall(text):
            shutil.copy(step / picture, directory)
        text = IMAGE.sub(lambda match: f"![{match[1]}]({Path(match[2]).name})", text)
        names.append(f"step{number(step):02}")
        if site:
            text = text.replace("\n\n", f'\n\n<a href="../lessons/{names[-1]}.html">The lesson</a>\n\n', 1)
        (directory / f"{names[-1]}.md").write_text(text, encoding="utf-8")
    index = ["# Real-time Django", "", *(f"- [](./{name}.md)" for name in names)]
    index += ["", '<a href="../index.html">The course</a>'] if site else []
    toctree = ["", "```{toctree}", ":hidden:", "", *names, "```", ""]
    (directory / "index.md").write_text("\n".join(index + toctree), encoding="utf-8")


def build(target: Path = TARGET) -> int:
    """Build the slides; return the exit code.

    Args:
        target: The directory for them.
    """
    with tempfile.TemporaryDirectory(prefix="slides-") as directory:
        write_sources(Path(directory), site=(target.parent / "lessons").exists())
        words = ["-q", "-W", "--keep-going", "-b", "revealjs", "-d", f"{directory}/.doctrees"]
        command = [sys.executable, "-m", "sphinx", *words, "-c", CONFIGURATION, directory, target]
        return subprocess.run(command, check=False).returncode  # noqa: S603


def add_to_site(app, exception) -> None:
    """Called when the site is built: put the slides into it."""
    if exception is None and app.builder.name == "html" and build(Path(app.outdir, "slides")):
        raise ExtensionError("The slides could not be built. `make slides` shows why.")


def setup(app) -> dict:
    """Called by Sphinx."""
    app.connect("build-finished", add_to_site)
    return {"parallel_read_safe": True}


if __name__ == "__main__":
    chosen = Path(sys.argv[1]) if sys.argv[1:] else TARGET
    if failed := build(chosen):
        sys.exit(failed)
    print(f"The slides are {chosen}/index.html")
