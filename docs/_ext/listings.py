"""The listings of a lesson: under their file's name, with the new lines marked."""

import re
from html import escape

from changes import Line, coloured, signed, unified
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from tutorial.course.steps import find_step

FENCE = re.compile(
    r"^```(?P<language>[a-z]+) (?P<words>[^\n]+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
PLAIN_CONSOLE = re.compile(r"^```console$", re.MULTILINE)
SHOWN = {"page": "The page", "browser": "The browser's console"}


def caption(language: str, words: str) -> str:
    """Return what is over a listing that isn't a file's.

    Args:
        language: The language of its fence.
        words: The words behind that: a terminal's name, or `page` and its address.
    """
    place, *rest = words.split()
    if language == "console":
        return f"Terminal: {words}"
    if language == "js":
        return "Type into the browser's console"
    address = next((word for word in rest if "/" in word), "")
    return f"{SHOWN[place]} {address}".strip()


def adapt(match: re.Match) -> str:
    """Return a fence of a lesson as a directive."""
    language, words, code = match.group("language", "words", "code")
    if "." in words.split()[0]:
        return f"```{{listing}} {words}\n:language: {language}\n\n{code}```"
    return f"```{{code-block}} {language}\n:caption: {caption(language, words)}\n\n{code}```"


def adapt_listings(text: str) -> str:
    """Return a lesson's text with captions for its listings."""
    return PLAIN_CONSOLE.sub("```{code-block} console\n:caption: Terminal\n", FENCE.sub(adapt, text))


class Listing(SphinxDirective):
    """A part of a file, or a change of it."""

    required_arguments = 1
    optional_arguments = 1
    option_spec = {"language": str}
    has_content = True

    def run(self) -> list:
        """Return it as HTML."""
        name, *rest = self.arguments
        code = "\n".join(self.content)
        if self.options["language"] == "diff":
            lines = signed(name, code)
        else:
            lines = [Line(" ", line) for line in coloured(name, code and code + "\n")]
        title = f"<code>{escape(name)}</code>"
        step = find_step(self.env.docname[-2:])
        if (step / name).is_file() and not rest:
            page = f"source/{step.name}/{name}"
            title = f'<a href="{self.env.app.builder.get_relative_uri(self.env.docname, page)}">{title}</a>'
        if rest:
            title += ", a mistake to try"
        html = (
            f'<div class="listing"><p class="listing-name">{title}</p>{unified(lines, numbers=False)}</div>'
        )
        return [nodes.raw("", html, format="html")]


def setup(app) -> dict:
    """Called by Sphinx."""
    app.add_directive("listing", Listing)
    return {"parallel_read_safe": True}
