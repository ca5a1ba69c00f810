"""A page for each file, where a line has an address: `source/step04_client/chat/views.py.html#L12`."""

from collections.abc import Iterator
from functools import cache
from html import escape
from pathlib import Path

from changes import whole
from docutils import nodes
from docutils.utils import new_document
from sphinx import addnodes
from sphinxext.opengraph import get_tags

from tutorial.course.assignment import all_exercises
from tutorial.course.compose import read_files, target_of
from tutorial.course.files import project_files
from tutorial.course.steps import ROOT, all_steps


def sources() -> dict[str, str]:
    """Return the files that have a page: those of the steps, whole ones of solutions, and the proofs."""
    tests = [*ROOT.glob("tests/promises/**/*.py"), *ROOT.glob("exercises/*/test_*.py")]
    found = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in tests}
    for step in all_steps():
        found |= {f"{step.name}/{name}": text.decode() for name, text in read_files(step).items()}
    for exercise in all_exercises():
        names = map(target_of, project_files(exercise.exercise / "solution"))
        found |= {f"exercises/{exercise.name}/{name}": exercise.solution[name].decode() for name in names}
    return {path: text for path, text in found.items() if not path.endswith("README.md")}


@cache
def source_paths() -> set[str]:
    """Return the paths of the files that have a page."""
    return set(sources())


def pages(app) -> Iterator[tuple[str, dict, str]]:
    """Called when the pages of documents are written: add those of files."""
    for path, text in sources().items():
        title = f"<code>{escape(path)}</code>"
        code = whole(path, text, anchors=True)
        body = f'<div data-pagefind-ignore="all"><h1>{title}</h1><div class="source">{code}</div></div>'
        yield f"source/{path}", {"title": path, "body": body, "display_toc": False, "toc": ""}, "page.html"


def describe(app, pagename, templatename, context, doctree) -> None:
    """Called when a page is written: one without a document has no text to take its description from."""
    if doctree is None:
        path = pagename.removeprefix("source/")
        text = f"{path}: a file of the course." if path != pagename else "Real-time Django in five steps."
        document = new_document(pagename)
        document += nodes.paragraph(text=text)
        known = {"title": "Search", "meta": {}, "metatags": ""} | context
        places = {"srcdir": app.srcdir, "outdir": app.outdir, "config": app.config}
        tags = get_tags(known, document, **places, builder=app.builder, env=app.env)
        context["metatags"] = known["metatags"] + tags


def offer_notebook(app, doctree) -> None:
    """Called when a page is read: let a notebook's page offer the notebook, after its first words."""
    if (name := app.env.docname).startswith("notebooks/") and (title := doctree.next_node(nodes.title)):
        link = addnodes.download_reference(
            "", "Download this notebook", reftarget=f"/{name}.ipynb", refdoc=name
        )
        title.parent.insert(2, nodes.paragraph("", "", link))


def link_sources(app, doctree) -> None:
    """Called when a page is read: let a link to a file that has a page show it, rather than download it."""
    known, docname = source_paths(), app.env.docname
    place = Path(app.env.doc2path(docname)).resolve().parent
    for node in list(doctree.findall(addnodes.download_reference)):
        target = node["reftarget"]
        path = Path(app.srcdir, target[1:]) if target.startswith("/") else place / target
        try:
            name = path.resolve().relative_to(ROOT).as_posix()
        except ValueError:
            continue
        if name in known:
            address = app.builder.get_relative_uri(docname, f"source/{name}")
            node.replace_self(nodes.reference("", "", *node.children, internal=True, refuri=address))


def setup(app) -> dict:
    """Called by Sphinx."""
    # Before Sphinx collects what is to be downloaded.
    app.connect("doctree-read", link_sources, priority=100)
    app.connect("doctree-read", offer_notebook, priority=100)
    app.connect("html-collect-pages", pages)
    app.connect("html-page-context", describe)
    return {"parallel_read_safe": True}
