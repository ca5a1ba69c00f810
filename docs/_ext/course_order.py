"""The order of the course: a lesson, its changes, its notebook, its exercises, the next lesson.

Every page says where it is.
"""

import re
from functools import cache
from html import escape

from tutorial.course.assignment import all_exercises, step_assignment
from tutorial.course.steps import ROOT, all_steps, number

EMPTY_HEADING = re.compile(r'<th class="head[^"]*"><p></p></th>')
LESSON = re.compile(r"lessons/step(\d\d)")


@cache
def parts() -> dict[int, list[tuple[str, str]]]:
    """Return the pages of each step in their order: what they are, and their names for Sphinx."""
    found: dict[int, list[tuple[str, str]]] = {}
    for step in all_steps():
        n = number(step)
        found[n] = [("Lesson", f"lessons/step{n:02}")]
        if n - 1 in found:
            found[n].append(("Changes", f"diffs/step{n - 1:02}-step{n:02}"))
        notebooks = sorted(ROOT.glob(f"notebooks/{n:02}_*.ipynb"))
        found[n] += [("Notebook", f"notebooks/{path.stem}") for path in notebooks]
    for exercise in all_exercises():
        found[number(exercise.step)].append(("Exercise", f"exercises/{exercise.name}/README"))
    return found


def add_pages(app, docname, source) -> None:
    """Called when a page is read: let the other pages of a step come after its lesson."""
    if lesson := LESSON.fullmatch(docname):
        pages = "\n".join(f"/{page}" for _, page in parts()[int(lesson[1])][1:])
        source[0] += f"\n```{{toctree}}\n:hidden:\n\n{pages}\n```\n"


def where(pagename: str, address) -> str:
    """Return the line at the top of a page that says where in the course it is, as HTML.

    Args:
        pagename: The page's name for Sphinx.
        address: Called with the name of another page, returns where it is from here.
    """
    step = next((n for n, pages in parts().items() if pagename in [page for _, page in pages]), None)
    if step is None:
        return ""
    pages = parts()[step]
    first = next(page for kind, page in pages if kind == "Exercise")
    exercises = [page for kind, page in pages if kind == "Exercise"]
    items = []
    for kind, page in pages:
        if page in exercises and page != first:
            continue
        text, here = kind, page == pagename
        if page == first:
            text, here = f"{len(exercises)} exercises", pagename in exercises
            if here:
                text = f"Exercise {exercises.index(pagename) + 1} of {len(exercises)}"
        current = ' aria-current="page"' if here else ""
        items.append(f'<li><a href="{escape(address(page))}"{current}>{text}</a></li>')
    # The slides are no page of Sphinx.
    slides = address("index").removesuffix("index.html") + f"slides/step{step:02}.html"
    items.append(f'<li><a href="{escape(slides)}">Slides</a></li>')
    minutes = step_assignment(str(step)).minutes
    title = f"Step {step} of {len(parts())}"
    lesson = f"the lesson takes {minutes} minutes"
    return f'<nav class="where" aria-label="{title}"><p>{title}, {lesson}</p><ol>{"".join(items)}</ol></nav>'


def say_where(app, pagename, templatename, context, doctree) -> None:
    """Called when a page is written: say where in the course it is."""
    # The theme calls the captions of its menu headings, and does not say of which level.
    menu = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = menu.replace('role="heading"', 'role="heading" aria-level="2"')
    if body := context.get("body"):
        # An empty cell above a column is no heading of it.
        context["body"] = EMPTY_HEADING.sub("<td></td>", body)
    if doctree is not None:
        context["body"] = where(pagename, lambda page: context["pathto"](page)) + context["body"]


def setup(app) -> dict:
    """Called by Sphinx."""
    app.connect("source-read", add_pages)
    # After the search has put its mark around the body.
    app.connect("html-page-context", say_where, priority=600)
    return {"parallel_read_safe": True}
