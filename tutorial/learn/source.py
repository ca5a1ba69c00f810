"""Mistakes that a Python file shows as it is written: one small rule for each, no code is run."""

import ast
import difflib
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

from tutorial.learn.problem import Problem

GROUP_CALLS = {"group_add", "group_discard", "group_send"}
CONSUMER_CALLS = {"accept", "close", "send", "send_json"}
TAKES_ALL = {"", "^", ".*", "^.*", ".*$", "^.*$"}
ALIKE = 0.8  # from which ratio two names are taken for the same one
Method = ast.FunctionDef | ast.AsyncFunctionDef


class Written:
    """A file as a learner wrote it, with what it is compared with.

    Args:
        file: Its path in the project.
        mine: The learner's file.
        finished: The solution's.
        everything: The text of the learner's whole project.
    """

    def __init__(self, file: str, mine: bytes, finished: bytes, everything: str):
        self.file, self.everything = file, everything
        self.tree, self.finished = ast.parse(mine), ast.parse(finished)

    def problem(self, line: int, what: str, hint: str) -> Problem:
        """Return a mistake in this file."""
        return Problem(what, self.file, line, hint=hint)


def classes(tree: ast.Module) -> dict[str, ast.ClassDef]:
    """Return the classes of a file by their names."""
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def owners(tree: ast.Module) -> list[ast.ClassDef | ast.Module]:
    """Return a file and the classes in it."""
    return [tree, *classes(tree).values()]


def methods(node: ast.ClassDef | ast.Module) -> dict[str, Method]:
    """Return the methods of a class, or the functions of a file, by their names."""
    return {child.name: child for child in node.body if isinstance(child, Method)}


def never_awaited(written: Written) -> Iterator[Problem]:
    """Find a coroutine that is called as a statement without await, where one of Channels' is called."""
    for owner in owners(written.tree):
        own = methods(owner)
        is_consumer = isinstance(owner, ast.ClassDef) and "Consumer" in "".join(map(ast.unparse, owner.bases))
        plain = {name for name, node in own.items() if isinstance(node, ast.FunctionDef)}
        coroutines = (CONSUMER_CALLS | own.keys()) - plain if is_consumer else set()
        for method in own.values():
            if not isinstance(method, ast.AsyncFunctionDef):
                continue
            layers = {
                ast.unparse(target)
                for node in ast.walk(method)
                if isinstance(node, ast.Assign) and ast.unparse(node.value) == "get_channel_layer()"
                for target in node.targets
            }
            for node in ast.walk(method):
                if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
                    continue
                called = ast.unparse(node.value.func)
                receiver, _, name = called.rpartition(".")
                if (
                    (receiver and name in GROUP_CALLS)
                    or receiver in layers
                    or (receiver in ("self", "super()") and name in coroutines)
                ):
                    yield written.problem(
                        node.lineno,
                        f"{called}() is never awaited",
                        f"A coroutine does nothing until it is awaited: await {called}(…)"
                        " (docs/symptoms.md#s16)",
                    )


def misspelt_methods(written: Written) -> Iterator[Problem]:
    """Find a method that nothing calls, where one of almost the same name is lacking."""
    theirs = classes(written.finished)
    for name, node in classes(written.tree).items():
        if name not in theirs:
            continue
        mine, wanted = methods(node), methods(theirs[name])
        for method in mine.keys() - wanted.keys():
            near = difflib.get_close_matches(method, wanted.keys() - mine.keys(), 1, ALIKE)
            if near and len(re.findall(rf"\b{method}\b", written.everything)) == 1:
                what = f"{name} has {method}; did you mean {near[0]}?"
                yield written.problem(
                    mine[method].lineno, what, f"Nothing calls {method}. Rename it to {near[0]}."
                )


def misplaced_methods(written: Written) -> Iterator[Problem]:
    """Find a function with `self` that is outside every class, or inside another function."""
    hint = "Indent it like the other methods of its class."
    places: list[tuple[str, list[ast.stmt]]] = [("outside its class", written.tree.body)]
    for owner in owners(written.tree):
        places += [(f"inside {name}", node.body) for name, node in methods(owner).items()]
    for where, body in places:
        for node in body:
            # With a decorator it may be a task, which can have a `self` as well.
            if not isinstance(node, Method) or node.decorator_list:
                continue
            if [argument.arg for argument in node.args.args[:1]] == ["self"]:
                yield written.problem(node.lineno, f"{node.name} is {where}", hint)


def hidden_routes(written: Written) -> Iterator[Problem]:
    """Find a route behind one that takes every path."""
    for node in ast.walk(written.tree):
        if not isinstance(node, ast.List):
            continue
        for route, following in pairwise(node.elts):
            match route:
                case ast.Call(func=ast.Name("re_path"), args=[ast.Constant(pattern), *_]) if (
                    pattern in TAKES_ALL
                ):
                    hint = (
                        f"The first route that matches is taken, and line {route.lineno} matches every path."
                    )
                    yield written.problem(
                        following.lineno, "This route is never reached", f"{hint} Put that one last."
                    )


def names_in_list(tree: ast.Module, setting: str) -> list[tuple[str, int]]:
    """Return the texts in a setting that is a list, each with its line."""
    return [
        (element.value, element.lineno)
        for node in tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [setting]
        for element in getattr(node.value, "elts", [])
        if isinstance(element, ast.Constant) and isinstance(element.value, str)
    ]


def duplicates(written: Written) -> Iterator[Problem]:
    """Find what is in a list of settings twice."""
    for setting in ("INSTALLED_APPS", "MIDDLEWARE"):
        names = names_in_list(written.tree, setting)
        count = Counter(name for name, _ in names)
        for name in (name for name in count if count[name] > 1):
            line = [line for other, line in names if other == name][-1]
            yield written.problem(line, f'"{name}" is in {setting} twice', "Take one of the two lines out.")


def early_import(written: Written) -> Iterator[Problem]:
    """Find what is imported before get_asgi_application() is called, where the solution imports it after."""
    late = {module for module, line in imports(written.finished) if line > loads_apps(written.finished)}
    for module, line in imports(written.tree):
        if module in late and line < loads_apps(written.tree):
            yield written.problem(
                line,
                f"{module} is imported before get_asgi_application() is called",
                "Move this line below that call. runserver hides the mistake; daphne and uvicorn do not start"
                " once a consumer imports a model. (docs/symptoms.md#s08)",
            )


def loads_apps(tree: ast.Module) -> int:
    """Return the line in which get_asgi_application() is called; 0 where it is not."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return min((node.lineno for node in calls if "get_asgi_application" in ast.unparse(node.func)), default=0)


def imports(tree: ast.Module) -> list[tuple[str, int]]:
    """Return the modules that a file imports while it is loaded, each with its line."""
    found = [(node.module or "", node.lineno) for node in tree.body if isinstance(node, ast.ImportFrom)]
    plain = (node for node in tree.body if isinstance(node, ast.Import))
    return found + [(alias.name, node.lineno) for node in plain for alias in node.names]


RULES: tuple[Callable[[Written], Iterator[Problem]], ...] = (
    duplicates,
    misplaced_methods,
    misspelt_methods,
    never_awaited,
    hidden_routes,
)
# What the interpreter says of code that it cannot read, and what to do about it.
SYNTAX = {
    r"unindent does not match|inconsistent use of tabs|unexpected indent": (
        "Compare the spaces at the beginning of this line with those of the line above."
    ),
    r"expected an indented block": (
        "What belongs to the line named here is indented by four more spaces. It may not be empty: `pass`."
    ),
    r"'await' outside|asynchronous .* outside": (
        "Only a coroutine can await: write `async def` for the function around this line."
    ),
    r"'return' outside function|'yield' outside": "This line has left its function: indent it.",
    r"unterminated .*string": "A quote is missing at the end of this text.",
    r"unmatched|does not match opening|was never closed": "Count the brackets: each needs its partner.",
}
ANY_SYNTAX = "Look at this line and at the one before it: a bracket, a quote, a comma or a colon."


def syntax_hint(message: str) -> str:
    """Return what to do about code that the interpreter cannot read."""
    return next((hint for said, hint in SYNTAX.items() if re.search(said, message)), ANY_SYNTAX)


def undefined_names(files: Mapping[str, Path]) -> list[tuple[str, int, str]]:
    """Return the names that are used and defined nowhere, as file, line and name; found by ruff."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--exit-zero", "--quiet"]
    command += ["--select", "F821", "--output-format", "json", *map(str, files.values())]
    names = {str(path.resolve()): name for name, path in files.items()}
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return [
        (names[str(Path(one["filename"]).resolve())], one["location"]["row"], one["message"].split("`")[1])
        for one in json.loads(done.stdout or "[]")
        if one["code"] == "F821"
    ]


def imported_names(tree: ast.Module) -> Iterator[tuple[str, ast.Import | ast.ImportFrom]]:
    """Find the names that imports give to a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name, node) for alias in node.names)


def name_hint(name: str, file: str, mine: Path, solution: Mapping[str, bytes]) -> str:
    """Return where a name that a file lacks comes from, as the solution has it; `mine` is the learner's."""
    imported = {alias: node.lineno for alias, node in imported_names(ast.parse(mine.read_bytes()))}
    if close := difflib.get_close_matches(name, imported, 1, ALIKE):
        return f"Line {imported[close[0]]} imports {close[0]}. Did you mean {name} there?"
    sources = [file, *solution] if file in solution else [*solution]
    trees = {source: ast.parse(solution[source]) for source in sources if source.endswith(".py")}
    for source, tree in trees.items():
        for alias, node in imported_names(tree):
            if alias == name:
                node.names = [one for one in node.names if name in (one.asname, one.name)]
                return f"Nothing in this file imports it. Add: {ast.unparse(node)}"
        if any(name in ast.unparse(node).split("=")[0].split() for node in tree.body) or name in {
            *methods(tree),
            *classes(tree),
        }:
            return f"The lesson defines it in {source}."
    near = difflib.get_close_matches(
        name, {node.id for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.Name)}, 1
    )
    return f"Did you mean {near[0]}?" if near else "Is it spelt as where it is defined, and imported?"
