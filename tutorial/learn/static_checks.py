"""What can be said about a learner's project without running it: missing files, syntax, plain mistakes."""

import ast
import difflib
from pathlib import Path

from tutorial.course.assignment import Assignment, requirements
from tutorial.course.files import project_files
from tutorial.course.steps import all_steps
from tutorial.learn.explain import LATE_IMPORT, lesson_order, untouched
from tutorial.learn.problem import Problem, short
from tutorial.learn.source import (
    RULES,
    Written,
    early_import,
    name_hint,
    names_in_list,
    syntax_hint,
    undefined_names,
)

LARGEST_FILE = 8 * 1024 * 1024  # bytes; a larger file is not looked at
SETTINGS, ASGI, PACKAGE = "config/settings.py", "config/asgi.py", "config/__init__.py"


def static_problems(project: Path, assignment: Assignment) -> list[Problem]:
    """Return what is wrong with a project as it is written, then what it lacks in the lesson's order."""
    files = {
        name: path
        for name, path in project_files(project).items()
        if name.endswith(".py") and not name.startswith("tests/") and path.stat().st_size <= LARGEST_FILE
    }
    wrong = syntax_errors(files)
    unreadable = {problem.file for problem in wrong}
    readable = {name: path for name, path in files.items() if name not in unreadable}
    wrong += mistakes(readable, assignment)
    lacking = missing_files(project, assignment)
    if SETTINGS in readable and (lacking or not assignment.exercise):
        lacking += forgotten_apps(readable[SETTINGS], assignment)
    if PACKAGE in readable:
        lacking += forgotten_celery_app(readable[PACKAGE], assignment)
    if not lacking:
        return wrong
    named = {problem.file for problem in lacking}
    lesson = f"The lesson has a listing for it: {assignment.readme.parent.name}/README.md."
    lacking += [
        Problem(f"{name} is still as it was at the start", name, hint=lesson)
        for name in untouched(project, assignment)[0]
        if name not in named and (project / name).exists()
    ]
    order = lesson_order(assignment)
    return wrong + sorted(lacking, key=lambda problem: order.index(problem.file))


def missing_files(project: Path, assignment: Assignment) -> list[Problem]:
    """Return the files of the finished project that a learner's has not yet."""
    files = project_files(project)
    extra = [name for name in files if name not in assignment.solution]
    missing = []
    for name in assignment.solution:
        if (project / name).is_file() or is_optional(assignment, name):
            continue
        base = name.rpartition("/")[2]
        moved = next((other for other in files if other.endswith(f"/{base}")), None)
        near = [other for other in extra if other.rpartition("/")[0] == name.rpartition("/")[0]]
        near = difflib.get_close_matches(name, near, 1, 0.85)
        home = next((step for step in all_steps() if (step / name).is_file()), assignment.readme.parent)
        hint = f"The lesson has a listing for it: {home.name}/README.md."
        if base == "__init__.py":
            hint = "An empty file is enough: it makes the directory a package."
        elif near:
            hint = f"There is {near[0]}. Is it {name}? Rename it: mv {near[0]} {name}"
        elif moved:
            hint = f"There is {moved}, which has the same name. Does it belong here?"
        missing.append(Problem(f"{name} is missing", name, hint=hint))
    return missing


def is_optional(assignment: Assignment, name: str) -> bool:
    """Tell whether a project can be judged without a file: pictures, and the free choices of an exercise."""
    if name.endswith((".svg", ".css")):
        return True
    return bool(assignment.exercise) and not (assignment.step / name).exists()


def forgotten_apps(settings: Path, assignment: Assignment) -> list[Problem]:
    """Return the problem of apps that the finished INSTALLED_APPS has and a learner's has not."""
    mine, line = settings.read_text(encoding="utf-8"), 0
    if names := names_in_list(ast.parse(mine), "INSTALLED_APPS"):
        line = names[-1][1]
    finished = names_in_list(ast.parse(assignment.solution[SETTINGS]), "INSTALLED_APPS")
    # In whatever way it is put there, and also as the name of its AppConfig.
    apps = [f'"{app}"' for app, _ in finished if f'"{app}' not in mine and f"'{app}" not in mine]
    if not apps:
        return []
    verb = "is" if len(apps) == 1 else "are"
    what = f"{' and '.join(apps)} {verb} not in INSTALLED_APPS"
    return [Problem(what, SETTINGS, line, hint="The lesson adds to this list.")]


def forgotten_celery_app(package: Path, assignment: Assignment) -> list[Problem]:
    """Return the problem of a Celery app that only the worker would find."""
    if b"celery" not in assignment.solution[PACKAGE] or "celery" in package.read_text(encoding="utf-8"):
        return []
    hint = "It must import the Celery app, or .delay() looks for a broker elsewhere (docs/symptoms.md#s22)."
    return [Problem(f"{PACKAGE} does not import the Celery app", PACKAGE, hint=hint)]


def syntax_errors(files: dict[str, Path]) -> list[Problem]:
    """Return the files that are no Python, one problem each."""
    problems = []
    for name, path in files.items():
        try:
            compile(path.read_bytes(), name, "exec", dont_inherit=True)
        except SyntaxError as error:
            what = f"{type(error).__name__}: {error.msg}"
            line, hint = short((error.text or "").strip()), syntax_hint(error.msg)
            problems.append(Problem(what, name, error.lineno or 0, seen=line, hint=hint))
        except (ValueError, RecursionError, MemoryError) as error:
            problems.append(Problem(f"This is no Python: {error}", name, hint="Look for stray characters."))
    return problems


def mistakes(files: dict[str, Path], assignment: Assignment) -> list[Problem]:
    """Return what is wrong in files that Python can read."""
    solution = assignment.solution
    everything = "\n".join(path.read_bytes().decode(errors="replace") for path in files.values())
    # Each name once in a file, at its first line.
    undefined = {(file, name): line for file, line, name in reversed(undefined_names(files))}
    problems = [
        Problem(
            f"The name {name} is not defined", file, line, hint=name_hint(name, file, files[file], solution)
        )
        for (file, name), line in reversed(undefined.items())
    ]
    for name, path in files.items():
        written = Written(name, path.read_bytes(), solution.get(name, b""), everything)
        problems += [problem for rule in RULES for problem in rule(written)]
        if name == ASGI and not judged_by_a_test(assignment):
            problems += early_import(written)
    return problems


def judged_by_a_test(assignment: Assignment) -> bool:
    """Tell whether a test asks for the order of imports in asgi.py: a lesson may begin without it."""
    tests = (assignment.tests()[name] for name in assignment.selection()[0])
    return any(required.name == LATE_IMPORT for path in tests for required in requirements(path))
