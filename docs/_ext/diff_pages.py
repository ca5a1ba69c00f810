"""The pages of docs/diffs and the solutions of exercises: what changes, file by file.

A page between two successive steps has a heading and a sentence for each file; here it gets the change.
A page between any two others has only a title: it takes the sentences of the pages between.
"""

import re
from functools import cache
from html import escape
from itertools import pairwise
from pathlib import Path

from changes import counts, figures, file_change
from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

from tutorial.course.assignment import exercise_assignment
from tutorial.course.compose import read_files, target_of
from tutorial.course.diffs import DIFFS
from tutorial.course.files import project_files
from tutorial.course.steps import all_steps, find_step, number

PAGE = re.compile(r"diffs/step(\d\d)-step(\d\d)")
EXERCISE = re.compile(r"exercises/(\w+)/README")
SECTION = re.compile(r"^## `(?P<name>[^`\n]+)`\n\n(?P<help>.*?)\n*(?=^## |\Z)", re.MULTILINE | re.DOTALL)
# Long, and not what a step is about. Unfold them to read them.
FOLDED = re.compile(r"^tests/|\.css$|\.json$")
VIEW = """<form class="change-view" hidden>
<fieldset><legend>Changed files</legend>
<label><input type="radio" name="view" value="unified" checked> unified</label>
<label><input type="radio" name="view" value="split"> side by side</label></fieldset>
<button type="button" data-unfold="1">Unfold all</button>
<button type="button" data-unfold="">Fold all</button>
</form>"""


@cache
def project(step: Path) -> dict[str, str]:
    """Return the texts of a step's files by their path, without its lesson, which is new in every step."""
    return {name: text.decode() for name, text in read_files(step).items() if name != "README.md"}


def changed_files(before: int, after: int) -> dict[str, tuple[str | None, str]]:
    """Return the files that differ between two steps, by path: their texts before, or None, and after.

    Args:
        before: The number of the earlier step.
        after: The number of the later one.
    """
    old, new = project(find_step(str(before))), project(find_step(str(after)))
    return {name: (old.get(name), new[name]) for name in sorted(new) if old.get(name) != new[name]}


def total(changes: dict[str, tuple[str | None, str]]) -> str:
    """Return how many files and lines changes have, as HTML."""
    added, removed = map(sum, zip(*(counts(*change) for change in changes.values()), strict=True))
    files = f"{len(changes)} file{'s' if len(changes) > 1 else ''}"
    return f"{files} {figures(added, removed)}"


def contents(changes: dict[str, tuple[str | None, str]]) -> str:
    """Return a table of the changed files with their counts, and the buttons for all of them, as HTML."""
    rows = ""
    for name, change in changes.items():
        new = "new" if change[0] is None else ""
        link = f'<a href="#{nodes.make_id(name)}"><code>{escape(name)}</code></a>'
        added, removed = counts(*change)
        rows += f'<tr><td>{link}</td><td>{new}</td><td class="added">+{added}</td>'
        rows += f'<td class="removed">−{removed}</td></tr>'
    names = '<th>file</th><td></td><th class="added">added</th><th class="removed">removed</th>'
    table = f"<thead><tr>{names}</tr></thead><tbody>{rows}</tbody>"
    table = f'<table class="docutils change-files">{table}</table>'
    return f'<p class="change-sum">{total(changes)}</p>{table}{VIEW}'


def sentences(before: int, after: int) -> dict[str, str]:
    """Return how to read each changed file, from the pages between successive steps.

    Args:
        before: The number of the earlier step.
        after: The number of the later one.
    """
    found: dict[str, list[str]] = {}
    for i, j in pairwise(range(before, after + 1)):
        for section in SECTION.finditer((DIFFS / f"step{i:02}-step{j:02}.md").read_text(encoding="utf-8")):
            found.setdefault(section["name"], []).append(f"*Step {j}:* {section['help']}")
    return {name: "\n\n".join(helps) for name, helps in found.items()}


def compose_page(app, docname, source) -> None:
    """Called when a page is read: add the changes to a page of docs/diffs."""
    if not (page := PAGE.fullmatch(docname)):
        return
    before, after = map(int, page.groups())
    changes = changed_files(before, after)
    text = source[0]
    told = sentences(before, after)
    if missing := [name for name in changes if name not in told]:
        raise ExtensionError(
            f"docs/diffs says nothing about {', '.join(missing)}, which step {after} changes. "
            "Write a heading and a sentence in the page of that step."
        )
    if after > before + 1:
        # In a checkout, the page says how to see the changes in a terminal.
        text = text.partition("\n\n")[0] + f"\n\nAll that steps {before + 1} to {after} change, as one.\n"
        text += "".join(f"\n## `{name}`\n\n{told[name]}\n" for name in changes)
        for i, j in pairwise(range(before, after + 1)):
            app.env.note_dependency(str(DIFFS / f"step{i:02}-step{j:02}.md"), docname=docname)
    text = SECTION.sub(r"## `\g<name>`\n\n\g<help>\n\n```{change} \g<name>\n```\n\n", text)
    text = text.replace("\n## ", "\n```{changes}\n```\n\n## ", 1)
    # The table at the top leads to each file, and the change is wide.
    orphan = "orphan: true\n" if after > before + 1 else ""
    source[0] = f"---\nhide-toc: true\n{orphan}---\n\n{text}"


class Change(SphinxDirective):
    """What happens to a file, on a page of docs/diffs or of an exercise."""

    required_arguments = 1

    def run(self) -> list:
        """Return the change as HTML."""
        name = self.arguments[0]
        if page := EXERCISE.fullmatch(self.env.docname):
            assignment = exercise_assignment(page[1])
            old, folder = assignment.step / name, f"exercises/{page[1]}"
            before = old.read_text(encoding="utf-8") if old.exists() else None
            after = assignment.solution[name].decode()
            for path in project_files(assignment.exercise / "solution").values():
                self.env.note_dependency(str(path))
        else:
            page = PAGE.fullmatch(self.env.docname)
            folder = find_step(page[2]).name
            before, after = changed_files(*map(int, page.groups()))[name]
            for step in page.groups():
                if (path := find_step(step) / name).exists():
                    self.env.note_dependency(str(path))
        link = self.env.app.builder.get_relative_uri(self.env.docname, f"source/{folder}/{name}")
        shown = not (FOLDED.search(name) or EXERCISE.fullmatch(self.env.docname))
        return [nodes.raw("", file_change(name, before, after, link, shown), format="html")]


class Changes(SphinxDirective):
    """The table of a page of docs/diffs; on their index, the table of all pairs of steps."""

    def run(self) -> list:
        """Return the table as HTML."""
        if page := PAGE.fullmatch(self.env.docname):
            return [nodes.raw("", contents(changed_files(*map(int, page.groups()))), format="html")]
        numbers = [number(step) for step in all_steps()]
        head = "".join(f'<th scope="col">to {after}</th>' for after in numbers[1:])
        rows = ""
        for before in numbers[:-1]:
            cells = ""
            for after in numbers[1:]:
                page = f"step{before:02}-step{after:02}"
                link = (
                    f'<a href="{page}.html">{total(changed_files(before, after))}</a>'
                    if after > before
                    else ""
                )
                cells += f"<td>{link}</td>"
            rows += f'<tr><th scope="row">from {before}</th>{cells}</tr>'
        corner = '<td class="corner">step</td>'
        table = f"<thead><tr>{corner}{head}</tr></thead><tbody>{rows}</tbody>"
        return [nodes.raw("", f'<table class="docutils change-pairs">{table}</table>', format="html")]


def solution_part(name: str) -> str:
    """Return the part of an exercise's page that shows what its solution changes in the step.

    Args:
        name: The exercise.
    """
    assignment = exercise_assignment(name)
    names = list(map(target_of, project_files(assignment.exercise / "solution")))
    parts = "".join(f"\n```{{change}} {name}\n```\n" for name in names)
    if any((assignment.step / name).exists() for name in names):
        parts = f"\n```{{raw}} html\n{VIEW}\n```\n{parts}"
    return f"\n## The solution\n\nWhat it changes in the step. Unfold a file to read it.\n{parts}"


def setup(app) -> dict:
    """Called by Sphinx."""
    app.add_directive("change", Change)
    app.add_directive("changes", Changes)
    app.connect("source-read", compose_page)
    return {"parallel_read_safe": True}
