"""The site: `make docs` builds it. When you open it, it asks no other host for anything."""

import posixpath
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from tutorial.course.front_matter import FRONT_MATTER, front_matter, minutes

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_ext"))

from diff_pages import solution_part  # noqa: E402 - from _ext
from facts import site_address  # noqa: E402
from listings import adapt_listings  # noqa: E402
from timetable import day  # noqa: E402

LESSONS = sorted(DOCS.parent.glob("step0*/README.md"))
LINK = re.compile(r"(!?)\[([^]]+)\]\(([^)#\s]+)(#[^)\s]+)?\)")

project = "Real-time Django"
copyright = "the authors of the tutorial"
language = "en"
extensions = ["myst_nb", "sphinx_copybutton", "sphinx_design", "diff_pages", "source_pages"]
extensions += ["site_search", "course_order", "dark_pictures", "facts", "listings", "picture_texts", "slides"]
extensions += ["sphinxext.opengraph", "notfound.extension"]
templates_path = ["templates"]
# STYLE.md is for contributors.
exclude_patterns = ["_build", "STYLE.md"]

myst_enable_extensions = ["colon_fence", "substitution"]
myst_heading_anchors = 4
myst_substitutions = {f"minutes{path.parent.name[5]}": minutes(front_matter(path)) for path in LESSONS} | {
    f"plain{path.parent.name[5]}": front_matter(path)["minutes"]["The plain version"] for path in LESSONS
}

# Notebooks appear with their saved outputs. Widgets would be loaded from another host.
nb_execution_mode = "off"
nb_ipywidgets_js = {}

highlight_language = "none"
pygments_style = "default"
pygments_dark_style = "github-dark"
html_theme = "furo"
html_title = "Real-time Django"
html_favicon = "../step01_setup/static/icon.svg"
html_show_sourcelink = False
html_copy_source = False
html_use_index = False
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b6e4f", "color-brand-content": "#0b6e4f"},
    "dark_css_variables": {"color-brand-primary": "#5fd3a8", "color-brand-content": "#5fd3a8"},
}

# What a link to a page shows elsewhere.
ogp_site_url = site_address()
ogp_image = "_static/card.png"
ogp_image_alt = False
# The page for a wrong address may be shown at any depth, so its links begin at the host.
notfound_urls_prefix = urlsplit(ogp_site_url).path
notfound_context = {
    "title": "No such page",
    "body": "<h1>No such page</h1><p>The page has moved, or its address has a typing error. "
    "Use the search or the contents beside this text.</p>",
}

# A copied block has only the commands, without prompts and output.
copybutton_prompt_text = "$ "
# Of a change, the lines as they are after it.
copybutton_exclude = ".linenos, .gp, .go, .unified del"


def page_of(path: str) -> str | None:
    """Return the page that shows a file whose place in the site differs from that in the repository.

    docs/exercises and docs/notebooks are symbolic links, which a Markdown link would be resolved through
    and out of the site.

    Args:
        path: The file's path, or that of a directory with a README, from the repository's root.
    """
    for pattern, page in (
        (r"(step\d\d)_\w+(/README\.md)?", r"/lessons/\1"),
        (r"(notebooks/\w+)\.ipynb", r"/\1"),
        (r"(exercises(?:/\w+)?)(/README\.md)?", r"/\1/README"),
    ):
        if match := re.fullmatch(pattern, path):
            return match.expand(page)
    return None


def adapt_links(text: str, folder: str) -> str:
    """Return a page's text with the links that lead to such files as links to their pages.

    Args:
        text: The text.
        folder: Where the text's file is, from the repository's root.
    """

    def adapt(match: re.Match) -> str:
        mark, words, target, _ = match.groups()
        page = page_of(posixpath.normpath(posixpath.join(folder, target)))
        return f"{{doc}}`{words.replace('`', '')} <{page}>`" if page and not mark else match[0]

    return LINK.sub(adapt, text)


def adapt_lesson(app, relative_path, parent_docname, content) -> None:
    """Called when a page includes a lesson: take the front matter away, and adapt the links."""
    text = adapt_listings(adapt_links(FRONT_MATTER.sub("", content[0]), "stepNN"))
    # The lesson's page is in docs/, but the lesson isn't.
    content[0] = text.replace("](../docs/", "](../")


def adapt_page(app, docname, source) -> None:
    """Called when a page is read: adapt the links, and add the facts of an exercise's front matter."""
    if docname.startswith("notebooks/"):
        return
    place = docname if docname.startswith("exercises/") else f"docs/{docname}"
    if re.fullmatch(r"exercises/\w+/README", docname):
        about = yaml.safe_load(FRONT_MATTER.match(source[0])[1])
        command = f"`tutorial exercise {docname.split('/')[1]}`"
        line = f"{minutes(about)} minutes. After the lesson of step {about['step'][5]}, begin with {command}."
        source[0] = re.sub(r"^(# .*\n)", rf"\1\n{line}\n", source[0], count=1, flags=re.MULTILINE)
    source[0] = adapt_links(source[0], posixpath.dirname(place))
    if re.fullmatch(r"exercises/\w+/README", docname):
        source[0] += solution_part(docname.split("/")[1])


class Plan(SphinxDirective):
    """The plan of a day as a table, with times added up from the lessons' own minutes."""

    required_arguments = 1
    has_content = True

    def run(self) -> list:
        """Return the table."""
        *parts, end = day(self.arguments[0], "\n".join(self.content), DOCS.parent)
        rows = ["| from | minutes | |", "| --- | --- | --- |"]
        for part in parts:
            title = part.title
            if part.readme:
                self.env.note_dependency(part.readme)
                path = part.readme.relative_to(DOCS.parent).as_posix()
                title = f"{{doc}}`{title} <{page_of(path)}>`"
            rows.append(f"| {part.start:%H:%M} | {part.minutes} | {title} |")
        taught = sum(part.minutes for part in parts if part.readme)
        rows.append(
            f"| {end.start:%H:%M} | {taught} | the end, after so many minutes of lessons and exercises |"
        )
        return self.parse_text_to_nodes("\n".join(rows))


def list_external_links(app, exception) -> None:
    """Called when the site is built: write down every address outside with the pages that link to it."""
    found: dict[str, set[str]] = {}
    for docname in app.env.found_docs if exception is None else ():
        for reference in app.env.get_doctree(docname).findall(nodes.reference):
            address = reference.get("refuri", "")
            if address.startswith("http"):
                found.setdefault(address, set()).add(docname)
    lines = [f"{address}  {' '.join(sorted(pages))}\n" for address, pages in sorted(found.items())]
    Path(app.outdir, "external-links.txt").write_text("".join(lines))


def setup(app) -> None:
    """Called by Sphinx."""
    app.connect("build-finished", list_external_links)
    app.add_directive("plan", Plan)
    app.connect("source-read", adapt_page)
    app.connect("include-read", adapt_lesson)
