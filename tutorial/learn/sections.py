"""The sections of a lesson: the plain version first, then one for each way to make it hold."""

from tutorial.course.assignment import Assignment, Requirement
from tutorial.learn.explain import read_hints

PLAIN = "The plain version"


def sections(assignment: Assignment) -> dict[str, list[Requirement]]:
    """Return an assignment's own requirements by section, in the lesson's order.

    All requirements of an exercise are in one section without a title.
    """
    noted = assignment.about["minutes"]
    found: dict[str, list[Requirement]] = {title: [] for title in noted} if isinstance(noted, dict) else {}
    known = {} if assignment.exercise else read_hints(assignment.name.partition("_")[0])
    for required in assignment.requirements:
        found.setdefault(known.get(required.name, {}).get("section", ""), []).append(required)
    return {title: required for title, required in found.items() if required}


def in_work(assignment: Assignment, done: dict[str, list[str]], stuck: str = "") -> str:
    """Return the title of the section in work: that of the problem, else the first not met, else nothing.

    Args:
        assignment: A step.
        done: For each step, the names of its requirements that are met.
        stuck: The name of the requirement that failed last, or an empty text.
    """
    met = set(done.get(assignment.name, []))
    parts = sections(assignment)
    for title, part in parts.items():
        if stuck in {each.name for each in part} - met:
            return title
    return next((title for title, part in parts.items() if {each.name for each in part} - met), "")


def ahead(assignment: Assignment, done: dict[str, list[str]]) -> set[str]:
    """Return the names of the requirements in the sections after the first that is not done."""
    met, parts = set(done.get(assignment.name, [])), iter(sections(assignment).values())
    for part in parts:
        if {required.name for required in part} - met:
            break
    return {required.name for part in parts for required in part}


def why(assignment: Assignment, name: str) -> tuple[str, str]:
    """Return why a requirement of a step matters, and where there is more; empty texts for an exercise.

    Args:
        assignment: A step or an exercise.
        name: The name of the requirement.
    """
    known = read_hints("why").get(assignment.name.partition("_")[0], {})
    return next(((said[name], said["link"]) for said in known.values() if name in said), ("", ""))


def plain(assignment: Assignment) -> list[Requirement]:
    """Return the requirements that must be met before one goes on to the next step."""
    return sections(assignment).get(PLAIN, [])


def hardened_only(assignment: Assignment) -> set[str]:
    """Return the files that only requirements of later sections are about."""
    known = {} if assignment.exercise else read_hints(assignment.name.partition("_")[0])
    parts = sections(assignment)
    files = {
        title: {name for required in part for name in known.get(required.name, {}).get("files", [])}
        for title, part in parts.items()
    }
    needed = files.pop(PLAIN, set())
    return set().union(*files.values()) - needed
