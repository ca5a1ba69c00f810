"""What can be said about a learner's project without running it: missing files, syntax."""

from pathlib import Path

from tutorial.course.assignment import Assignment
from tutorial.course.files import project_files
from tutorial.course.steps import all_steps
from tutorial.learn.explain import Problem, short

LARGEST_FILE = 8 * 1024 * 1024  # bytes; a larger file is not looked at


def static_problems(project: Path, assignment: Assignment) -> list[Problem]:
    """Return what is wrong with a project as it is written."""
    return missing_files(project, assignment) or syntax_errors(project)


def missing_files(project: Path, assignment: Assignment) -> list[Problem]:
    """Return the files of the finished project that a learner's has not yet."""
    has = {name.rpartition("/")[2] for name in project_files(project)}
    missing = []
    for name in assignment.solution:
        if (project / name).is_file() or is_optional(assignment, name):
            continue
        base = name.rpartition("/")[2]
        moved = next((other for other in project_files(project) if other.endswith(f"/{base}")), None)
        home = next((step for step in all_steps() if (step / name).is_file()), assignment.readme.parent)
        hint = f"The lesson says what belongs into it: {home.name}/README.md."
        if moved and base in has and base != "__init__.py":
            hint = f"There is {moved}, which has the same name. Does it belong here?"
        elif base == "__init__.py":
            hint = "An empty file is enough: it makes the directory a package."
        missing.append(Problem(f"{name} is missing", name, hint=hint))
    return missing


def is_optional(assignment: Assignment, name: str) -> bool:
    """Tell whether a project can be judged without a file: pictures, and the free choices of an exercise."""
    if name.endswith((".svg", ".css")):
        return True
    return bool(assignment.exercise) and not (assignment.step / name).exists()


def syntax_errors(project: Path) -> list[Problem]:
    """Return the files that are no Python, one problem each."""
    problems = []
    for name, path in project_files(project).items():
        if not name.endswith(".py") or name.startswith("tests/") or path.stat().st_size > LARGEST_FILE:
            continue
        try:
            compile(path.read_bytes(), name, "exec", dont_inherit=True)
        except SyntaxError as error:
            line = (error.text or "").strip()
            problems.append(
                Problem(
                    f"{type(error).__name__}: {error.msg}",
                    name,
                    error.lineno or 0,
                    seen=short(line),
                    hint="Look at this line and at the one before it: a bracket, a quote or a colon.",
                )
            )
        except (ValueError, RecursionError, MemoryError) as error:
            problems.append(Problem(f"This is no Python: {error}", name, hint="Look for stray characters."))
    return problems
