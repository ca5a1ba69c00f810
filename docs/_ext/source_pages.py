"""A page for each file, where a line has an address: `source/step04_client/chat/views.py.html#L12`."""

from collections.abc import Iterator
from html import escape

from changes import whole

from tutorial.course.assignment import all_exercises
from tutorial.course.compose import read_files, target_of
from tutorial.course.files import project_files
from tutorial.course.steps import all_steps


def sources() -> dict[str, str]:
    """Return the files that have a page: those of the steps, and those of solutions, whole."""
    found = {}
    for step in all_steps():
        found |= {f"{step.name}/{name}": text.decode() for name, text in read_files(step).items()}
    for exercise in all_exercises():
        names = map(target_of, project_files(exercise.exercise / "solution"))
        found |= {f"exercises/{exercise.name}/{name}": exercise.solution[name].decode() for name in names}
    return {path: text for path, text in found.items() if not path.endswith("README.md")}


def pages(app) -> Iterator[tuple[str, dict, str]]:
    """Called when the pages of documents are written: add those of files."""
    for path, text in sources().items():
        title = f"<code>{escape(path)}</code>"
        code = whole(path, text, anchors=True)
        body = f'<div data-pagefind-ignore="all"><h1>{title}</h1><div class="source">{code}</div></div>'
        yield f"source/{path}", {"title": path, "body": body, "display_toc": False, "toc": ""}, "page.html"


def setup(app) -> dict:
    """Called by Sphinx."""
    app.connect("html-collect-pages", pages)
    return {"parallel_read_safe": True}
