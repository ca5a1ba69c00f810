"""The search of the site: an error leads to its symptom, other words to pages that Pagefind finds.

A page that is opened as a file can't load Pagefind's index. There, Sphinx's own search takes its place.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from sphinx.errors import ExtensionError

SYMPTOMS = Path(__file__).parents[1] / "symptoms.md"
ENTRY = re.compile(
    r"^\((?P<anchor>\w+)\)=\n### (?P<title>[^\n]*)\n(?P<text>.*?)(?=^\(\w+\)=|^## |\Z)",
    re.MULTILINE | re.DOTALL,
)
SECTION = re.compile(
    r'<section((?: class="[^"]*")?) id="([^"]+)">\n((?:<span id="[^"]+"></span>)*)<(h[2-6])>'
)
ERROR_TEXT = re.compile(r"^```text\n(.*?)^```", re.MULTILINE | re.DOTALL)


def symptoms() -> list[dict]:
    """Return the entries of the symptoms: the anchor, the title, and the lines of the error's text."""
    return [
        {
            "anchor": entry["anchor"],
            "title": entry["title"],
            "lines": [line for text in ERROR_TEXT.findall(entry["text"]) for line in text.splitlines()],
        }
        for entry in ENTRY.finditer(SYMPTOMS.read_text(encoding="utf-8"))
    ]


def prepare_page(app, pagename, templatename, context, doctree) -> None:
    """Called when a page is written: show Pagefind its sections, and give two pages the symptoms."""
    if body := context.get("body"):
        # Pagefind asks for the anchor at the heading.
        context["body"] = SECTION.sub(r'<section\1>\n\3<\4 id="\2">', body)
    if "orphan" in (context.get("meta") or {}):
        # The changes between any two steps repeat those between successive ones.
        context["body"] = f'<div data-pagefind-ignore="all">{context["body"]}</div>'
    if pagename in ("search", "symptoms"):
        app.add_js_file(None, body=f"const SYMPTOMS = {json.dumps(symptoms(), ensure_ascii=False)};")
        app.add_js_file("search.js", defer="defer")


def make_index(app, exception) -> None:
    """Called when the site is built: let Pagefind read it."""
    if exception or app.builder.name != "html":
        return
    parts = ["--root-selector", "article", "--exclude-selectors", ".headerlink, details.change"]
    command = [sys.executable, "-m", "pagefind", "--site", str(app.outdir), "--quiet", *parts]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise ExtensionError(
            f"Pagefind could not read {app.outdir}, so the site has no search: {done.stderr}"
        )


def setup(app) -> dict:
    """Called by Sphinx."""
    app.connect("html-page-context", prepare_page)
    app.connect("build-finished", make_index)
    return {"parallel_read_safe": True}
