"""What a lesson has you type, up to any of its sections, and how to catch up with it."""

import re
from pathlib import Path

from tutorial.course.assignment import Assignment, UnknownAssignment, nearest, step_assignment
from tutorial.learn.playground import dated, make_commit
from tutorial.learn.sections import sections

HEADING = re.compile(r"^##+ .*$", re.MULTILINE)
BLOCK = re.compile(r"^```(?P<info>.*)\n(?P<source>(?:.*\n)*?)^```$|^##+ (?P<title>.*)$", re.MULTILINE)


class DoesNotFit(AssertionError):
    """Raised for a block of a lesson that doesn't fit what was typed before it."""


class Typed(dict[str, str]):
    """The text of every file of a playground by its path, changed by the blocks of a lesson."""

    def listing(self, path: str, source: str) -> None:
        """Type a new file, or find the lines of a listing in one that exists.

        Raises:
            DoesNotFit: They are not in it.
        """
        if path not in self:
            self[path] = source
        elif f"\n{source}" not in f"\n{self[path]}":
            raise DoesNotFit(f"These lines are not in {path}:\n{source}")

    def change(self, path: str, source: str, back: bool = False) -> None:
        """Add and remove the lines of a file that a diff says, or take that back.

        Raises:
            DoesNotFit: The lines around are not in the file, or more than once.
        """
        lines = source.splitlines(keepends=True)
        old = "".join(line[1:] or "\n" for line in lines if line[0] != "+")
        new = "".join(line[1:] or "\n" for line in lines if line[0] != "-")
        if back:
            old, new = new, old
        text = f"\n{self[path]}"
        if (count := text.count(f"\n{old}")) != 1:
            raise DoesNotFit(f"{path} has these lines {count} times, not once:\n{old}")
        self[path] = text.replace(f"\n{old}", f"\n{new}")[1:]


def beginning(step: Path) -> Typed:
    """Return what a playground for a step begins with."""
    files = step_assignment(step.name).beginning
    return Typed({name: content.decode() for name, content in files.items()})


def typed_before(assignment: Assignment, title: str) -> Typed:
    """Return the files of somebody who has typed a lesson up to a section.

    Args:
        assignment: A step.
        title: The section's title.
    """
    files = beginning(assignment.step)
    for block in BLOCK.finditer(assignment.readme.read_text(encoding="utf-8")):
        if block["title"] == title:
            break
        # A mistake made on purpose is taken back at the next heading, so it is left out.
        match (block["info"] or "").split():
            case ["diff", path]:
                files.change(path, block["source"])
            case [_, path] if (assignment.step / path).is_file():
                files.listing(path, block["source"])
    return files


def find_section(assignment: Assignment, name: str) -> tuple[str, str]:
    """Return the title of the section that a person named, or in which a named requirement is.

    Args:
        assignment: A step.
        name: A title, or a requirement's text as `check` shows it or name; or a part of one, in any case.

    Returns:
        The title, and the text of the requirement if that was named, else an empty text.

    Raises:
        UnknownAssignment: Nothing, or more than one section, is called so.
    """
    parts = sections(assignment)
    wanted = re.sub(r"^[✓✗ ]+| \[.*\]$", "", " ".join(name.split())).casefold()
    texts = [(title, each) for title, part in parts.items() for each in part]
    exact = {title: "" for title in parts if wanted == title.casefold()}
    exact |= {title: each.text for title, each in texts if wanted in (each.name, each.text.casefold())}
    by_title = {title: "" for title in parts if wanted in title.casefold()}
    within = {
        title: each.text
        for title, each in texts
        if wanted.replace(" ", "_") in each.name or wanted in each.text.casefold()
    }
    for found in (exact, by_title, within):
        if len(found) == 1:
            return found.popitem()
    among = by_title or within
    if among:
        raise UnknownAssignment(
            f"{name!r} is in more than one section: {', '.join(among)}. Name one of them."
        )
    near = nearest(name, [*parts, *(each.text for _, each in texts)], parts)
    raise UnknownAssignment(f"{assignment.title.capitalize()} has no {name!r}. {near}")


def catch_up(assignment: Assignment, project: Path, title: str) -> list[tuple[str, str]]:
    """Give a playground the files of somebody who has typed a lesson up to a section.

    A file of the learner's that differs is kept beside the new one, with the date in its name, and so is a
    file that the lesson makes only later. Files that the lesson doesn't know stay as they are.

    Args:
        assignment: A step.
        project: The playground.
        title: The section's title.

    Returns:
        Each file that was changed, with the name under which the learner's own is now, or an empty text.

    Raises:
        OSError: It cannot be written to.
    """
    make_commit(project, f"Before catching up with {title}")
    files, changed = typed_before(assignment, title), []
    own = {name: content.decode(errors="replace") for name, content in assignment.solution.items()}
    later = [name for name in own if name not in files and (project / name).is_file()]
    for name in sorted([*files, *later]):
        path, new = project / name, files.get(name)
        if name.startswith("tests/") or (path.is_file() and path.read_text(errors="replace") == new):
            continue
        kept = dated(path) if path.exists() else None
        if kept:
            path.rename(kept)
        if new is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(new, encoding="utf-8")
        changed.append((name, kept.name if kept else ""))
    make_commit(project, f"Caught up with {title}")
    return changed
