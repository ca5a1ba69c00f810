"""The order of the course: you read everything by following Next, and every page says where you are."""

import json
import re
from html import unescape
from urllib.parse import urljoin

from tutorial.course.assignment import all_exercises
from tutorial.course.steps import ROOT, all_steps, number

NEXT = re.compile(r'<a class="next-page" href="([^"]+)"')
WHERE = re.compile(r'<nav class="where" aria-label="([^"]+)">(.*?)</nav>', re.DOTALL)
CURRENT = re.compile(r'aria-current="page">([^<]+)<')


def course():
    """Return the pages of the course in order, with what each says that it is."""
    pages = []
    for step in all_steps():
        n = number(step)
        place = f"Step {n} of {len(all_steps())}"
        pages.append((f"lessons/step{n:02}.html", place, "Lesson"))
        if n > 1:
            pages.append((f"diffs/step{n - 1:02}-step{n:02}.html", place, "Changes"))
        for notebook in ROOT.glob(f"notebooks/{n:02}_*.ipynb"):
            pages.append((f"notebooks/{notebook.stem}.html", place, "Notebook"))
        exercises = [exercise for exercise in all_exercises() if exercise.step == step]
        assert [exercise.minutes for exercise in exercises] == sorted(e.minutes for e in exercises)
        for count, exercise in enumerate(exercises, start=1):
            what = f"Exercise {count} of {len(exercises)}"
            pages.append((f"exercises/{exercise.name}/README.html", place, what))
    return pages


def followed(site, page):
    """Return the pages that you come to by following Next."""
    found = []
    while page not in found:
        found.append(page)
        if not (link := NEXT.search((site / page).read_text())):
            return found
        page = urljoin(page, link[1])
    raise AssertionError(f"Next leads from {found[-1]} back to {page}")


def test_next_leads_through_the_course(site):
    """Lesson, its changes, its notebook, its exercises from the shortest on, next lesson; then the rest."""
    visited = followed(site, "index.html")
    pages = [page for page, _, _ in course()]
    begin = visited.index(pages[0])
    assert visited[begin : begin + len(pages)] == pages
    assert {"symptoms.html", "load.html", "notebooks/06_load.html", "instructors.html"} <= set(visited)


def test_every_page_of_the_course_says_where_it_is(site):
    """The step, and which of its pages this is."""
    for page, place, what in course():
        found = WHERE.search((site / page).read_text())
        assert found, page
        assert (found[1], CURRENT.findall(found[2])) == (place, [what])


def test_the_sidebar_has_titles_not_folders(site):
    """Exercises, notebooks and lessons are listed by their titles."""
    menu = (
        (site / "lessons/step01.html")
        .read_text()
        .partition('class="sidebar-tree"')[2]
        .partition("</aside>")[0]
    )
    texts = [unescape(re.sub(r"<[^>]+>", "", text)) for text in re.findall(r"<a [^>]*>(.*?)</a>", menu)]
    titles = [re.search(r"^# (.*)$", e.readme.read_text(), re.MULTILINE)[1] for e in all_exercises()]
    for notebook in ROOT.glob("notebooks/*.ipynb"):
        first = "".join(json.loads(notebook.read_text())["cells"][0]["source"])
        titles.append(re.search(r"^# (.*)$", first, re.MULTILINE)[1])
    assert set(titles) <= set(texts)
    assert [text for text in texts if re.search(r"\w_\w", text)] == []
