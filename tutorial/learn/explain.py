"""Say in a person's words what is not right yet: what was expected and seen, where to look, what to try."""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import normalize

from tutorial.course.assignment import Assignment, Requirement
from tutorial.course.files import project_files
from tutorial.learn.problem import Problem, short
from tutorial.learn.sandbox.supervise import Ended
from tutorial.learn.source import Written, early_import, name_hint

HINTS = Path(__file__).parent / "hints"
# The requirement about config/asgi.py whose line can be read from the file.
LATE_IMPORT = "test_the_routes_are_imported_after_the_apps_are_loaded"
Event = dict[str, Any]  # a line of JSON from `tutorial.learn.sandbox`


@cache
def read_hints(name: str) -> dict[str, Any]:
    """Return the hints of a step by the names of its requirements; none where there is no such file."""
    path = HINTS / f"{name}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def hints(module: str, name: str) -> dict[str, list[str]]:
    """Return what is known about a requirement: `files` to look at, likely ones first, and graded `hints`."""
    known: dict[str, dict[str, list[str]]] = read_hints(module.removeprefix("test_").partition("_")[0])
    return known.get(name, {"files": [], "hints": []})


def graded_hints(assignment: Assignment, name: str) -> list[str]:
    """Return all hints for one of an assignment's requirements, the gentlest first.

    An exercise's are what can be unfolded in its README.
    """
    if assignment.exercise and any(required.name == name for required in assignment.requirements):
        text = assignment.readme.read_text(encoding="utf-8").partition("\n## Hints\n")[2]
        folded = re.findall(r"<details><summary>(.*?)</summary>\s*(.*?)\s*</details>", text, re.DOTALL)
        return [f"{title}\n\n{body}" for title, body in folded]
    steps = (hints(path.stem, name)["hints"] for path in sorted(HINTS.glob("step*.toml")))
    return next(filter(None, steps), [])


class Symptom(NamedTuple):
    """A text that names its mistake, the files it may be in, the likeliest first, and what to do."""

    text: str
    files: list[str]
    hint: str


def symptom(*texts: str) -> Symptom | None:
    """Return the first known symptom that one of some texts shows."""
    for known in read_hints("symptoms")["symptom"]:
        for text in texts:
            if found := re.search(known["text"], text or ""):
                hint = known["hint"].format(**found.groupdict())
                line = next(line for line in text.splitlines() if found[0].partition("\n")[0] in line)
                return Symptom(short(line), known["files"], f"{hint} (docs/symptoms.md#{known['number']})")
    return None


def lesson_order(assignment: Assignment) -> list[str]:
    """Return the solution's files in the order in which a lesson shows them, or an exercise names them."""
    text = assignment.readme.read_text(encoding="utf-8")
    shown = [] if assignment.exercise else re.findall(r"^```\w+ (\S+)$", text, re.MULTILINE)

    def place(name: str) -> tuple[bool, int]:
        return name.endswith((".css", ".svg")), text.find(name) if name in text else len(text)

    named = sorted(assignment.solution, key=place)
    return [*dict.fromkeys(name for name in [*shown, *named] if name in assignment.solution)]


def untouched(project: Path, assignment: Assignment) -> tuple[list[str], bool]:
    """Return the files that are still as they were at the start, in lesson order, and whether all are."""
    pending, touched = [], False
    for name in lesson_order(assignment):
        start, mine, finished = assignment.beginning.get(name), project / name, assignment.solution[name]
        if start == finished:
            continue
        if differs(mine, start) if start is not None else mine.is_file():
            touched = True
        else:
            pending.append(name)
    return pending, not touched


def differs(mine: Path, finished: bytes) -> bool:
    """Tell whether a learner's file does something else than the solution's; comments and layout aside."""
    try:
        ours, theirs = mine.read_text(encoding="utf-8"), finished.decode()
    except (OSError, UnicodeDecodeError):
        return True
    if mine.suffix == ".py":
        try:
            return ast.dump(ast.parse(ours)) != ast.dump(ast.parse(theirs))
        except (SyntaxError, ValueError, RecursionError):
            return True
    return ours.split() != theirs.split()


def choose_place(candidates: list[tuple[str, int]], project: Path, assignment: Assignment) -> tuple[str, int]:
    """Return the likeliest of some places, which begin with the likeliest, as file and line.

    A file that does the same as the solution's is not the one to change, however loudly it complains.
    """
    solution = assignment.solution
    for file, line in candidates:
        if file not in solution or differs(project / file, solution[file]):
            return file, line
    named = {file for file, _ in candidates}
    others = [
        name
        for name in lesson_order(assignment)
        if name not in named and differs(project / name, solution[name])
    ]
    others += [name for name in project_files(project) if name not in solution and name.endswith(".py")]
    others = [name for name in others if not name.startswith("tests/")]
    if assignment.exercise:
        readme = assignment.readme.read_text(encoding="utf-8")
        pending, _ = untouched(project, assignment)
        # What is still to do comes first. A new file that the README doesn't name is a free choice.
        free = {name for name in others if name not in readme and not (project / name).exists()}
        others.sort(key=lambda name: (name in free, name not in pending))
    kinds = {Path(file).suffix for file in named}
    if likely := [name for name in others if Path(name).suffix in kinds] or others:
        return likely[0], 0
    return candidates[0] if candidates else ("config/settings.py", 0)


def explain_failure(event: Event, required: Requirement, project: Path, assignment: Assignment) -> Problem:
    """Return the problem that a failed test shows, of which `tutorial.learn.sandbox.events` told."""
    expected, seen = expected_and_seen(event)
    known = hints(required.module, required.name)
    sign = symptom(event["server"], f"{event['error']}: {event['message']}")
    frames = [tuple(frame) for frame in (*reversed(event["frames"]), *reversed(event["server_frames"]))]
    candidates = [(file, 0) for file in sign.files] if sign else []
    frames = [*page_frames(event["page"], project), *frames]
    candidates += [*frames, *((file, 0) for file in known["files"])]
    if assignment.exercise and re.search("frame|socket", required.text, re.IGNORECASE):
        candidates += [(file, 0) for file in new_consumers(project, assignment)]
    pending, nothing_done = untouched(project, assignment)
    file, line = (pending[0], 0) if nothing_done else choose_place(candidates, project, assignment)
    line = line or next((number for name, number in frames if name == file), 0)
    if sign:
        hint = sign.hint
        seen = sign.text if sign.text in short(event["server"]) else seen
    elif event["page"]:
        seen = f"Uncaught {short(event['page'].splitlines()[0])}"
        hint = "The page's script stops there. The browser's console (F12) shows the same."
    elif undefined := re.search(r"name '(\w+)' is not defined", f"{event['message']}\n{event['server']}"):
        hint = name_hint(undefined[1], file, project / file, assignment.solution)
    elif "ZeroDivisionError" in f"{event['error']} {event['server']}":
        hint = "Is it the lesson's `1 / 0`? Take it out."
    elif file in pending:
        state = "is still as it was at the start" if (project / file).exists() else "is not there yet"
        hint = f"{file} {state}. {assignment.readme.parent.name}/README.md says what to write."
    elif assignment.exercise:
        hint = "`tutorial hint` unfolds what the exercise's README has to say."
    else:
        hint = next(iter(known["hints"]), "Compare with the lesson: tutorial compare")
    if required.name == LATE_IMPORT:
        written = Written(file, (project / file).read_bytes(), assignment.solution[file], "")
        for found in early_import(written):
            line, hint = found.line, found.hint
    # pytest writes what is not ASCII as escapes.
    case = re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), event["case"])
    what = f"{required.text} [{case}]" if case else required.text
    server = event["server"] if short(event["server"]) != seen else ""
    return Problem(what, file, line, required, expected, seen, server, hint, event["traceback"])


def page_frames(error: str, project: Path) -> list[tuple[str, int]]:
    """Return the places in a project's scripts that are in an exception's stack, as a browser writes it."""
    found = re.findall(r"/(static/[^\s:?]+\.js)\S*?:(\d+):\d+", error)
    return [
        (name, int(line)) for path, line in found for name in project_files(project) if name.endswith(path)
    ]


def new_consumers(project: Path, assignment: Assignment) -> list[str]:
    """Return the files in which a learner has written a consumer, whatever they are called."""
    files = {name: path for name, path in project_files(project).items() if name.endswith(".py")}
    return [
        name
        for name, path in files.items()
        if b"Consumer)" in path.read_bytes() and path.read_bytes() != assignment.beginning.get(name)
    ]


def loading_problem(found: Event, copy: Path, assignment: Assignment) -> Problem:
    """Return the problem that an exception while loading shows."""
    message = short(found["message"].replace(f"{copy}/", ""))
    text = f"{found['error']}: {message}" if message else found["error"]
    if found["error"] in ("SystemExit", "KeyboardInterrupt"):
        text = f"The code ends the interpreter while it is loaded ({text})"
    sign = symptom(text)
    places = [(file, 0) for file in sign.files] if sign else []
    places += [tuple(found["place"])] if found["place"] else []
    places += file_in(found["message"], assignment)
    file, line = choose_place([*places, ("config/settings.py", 0)], copy, assignment)
    line = line or next((number for name, number in places if name == file), 0)
    hint = sign.hint if sign else loading_hint(found)
    return Problem(text, file, line, seen="", hint=hint, traceback=found["traceback"])


def loading_hint(found: Event) -> str:
    """Return what to try about an exception while loading."""
    if found["error"] in ("ImportError", "ModuleNotFoundError") or "module '" in found["message"]:
        return "Compare this name with the name in the file that it comes from."
    if found["shown_by_django"]:
        return "`python manage.py check` in your directory shows the same, and -v here the whole traceback."
    return "-v shows the whole traceback."


def stopped_problem(ended: Ended, file: str, copy: Path) -> Problem:
    """Return the problem of code that ended or hung instead of telling what came of it."""
    frames = re.findall(r'File "(.+?)", line (\d+)', ended.output if ended.why == "hung" else "")
    own = [(Path(path), int(line)) for path, line in frames if Path(path).is_relative_to(copy)]
    own = [(path, line) for path, line in own if not path.is_relative_to(copy / "tests")]
    line = 0
    if own:
        file, line = own[0][0].relative_to(copy).as_posix(), own[0][1]
    if ended.why == "hung":
        what = f"The code hangs: nothing happened for {ended.silent:.0f} s"
        hint = "A loop without an end, or a wait for something that never comes."
    elif ended.why == "printed too much":
        what = f"The code prints without end: {ended.printed // 2**20} MB so far"
        hint = "Take the print() out of the loop."
    else:
        code = ended.code or 0
        by_signal = f"by signal {-code}" if code < 0 else f"with code {code}"
        what = f"The code ends the interpreter ({by_signal})"
        hint = "Look for exit(), quit(), os._exit() or os.kill()."
    return Problem(
        what, file, line, hint=hint, seen="" if frames else last_line(ended.output), traceback=ended.output
    )


def last_line(output: str) -> str:
    """Return the last line of an output, shortened."""
    lines = output.strip().splitlines()
    return short(lines[-1]) if lines else ""


def file_in(message: str, assignment: Assignment) -> list[tuple[str, int]]:
    """Return the file of the project's own that a message names as a module, such as `chat.consumers`."""
    names = (name.replace(".", "/") for name in re.findall(r"'([\w.]+)'", message))
    return [(f"{name}.py", 0) for name in names if f"{name}.py" in assignment.solution]


def expected_and_seen(event: Event) -> tuple[str, str]:
    """Return what a failed test expected and what it saw, each in a line."""
    message, kind = event["message"], event["error"]
    first_line = short(message.strip().partition("\n")[0])
    if comparison := event["comparison"]:
        op, left, right = comparison["op"], short(comparison["left"]), short(comparison["right"])
        if left != right and normalize("NFC", left) == normalize("NFC", right):  # which look the same
            left, right = (text.encode("ascii", "backslashreplace").decode() for text in (left, right))
        words = {"==": right, "in": f"{left} in what is seen", "not in": f"{left} not in what is seen"}
        return words.get(op, f"{op} {right}"), right if op in ("in", "not in") else left
    # What Playwright says when a page does not show in time what it should.
    page = r"(?:Locator|Page) expected (.*?)\n\s*(?:Actual value|Error): ?(.*?)\n"
    if found := re.search(page, message, re.DOTALL):
        return short(f"the page {found[1]}"), short(found[2] or "nothing") or "nothing"
    waited = re.search(r"Waited (\S+) s for (.*?)\.?\n", f"{message}\n")
    if kind == "TimeoutError":
        if waited:
            return waited[2], f"nothing of it within {waited[1]} s"
        return "an answer", "nothing came in time"
    if kind == "NotStarted":
        # Django's last line about a command that there isn't says nothing of it.
        last = event.get("server") or last_line(message.replace("Type 'manage.py help' for usage.", ""))
        command = re.match(r"python (manage\.py .*) failed:", message)
        starts = f"{command[1]} does its work" if command else "a server or worker that starts"
        return short(waited[2]) if waited else starts, short(last)
    if kind == "Failed" and (raised := re.search(r"DID NOT RAISE.*?'?([\w.]+)'?>?\)*$", message)):
        return f"an exception: {raised[1].rpartition('.')[2]}", "none"
    if kind == "AssertionError":
        # Without the sentence that pytest shows when it does not hold.
        statement = re.split(r', f?"|, \($', (event["test"] or ["", 0, ""])[2].removeprefix("assert "))[0]
        return short(statement), first_line.removeprefix("assert ") or "it does not hold"
    return "no error", f"{kind}: {first_line}" if first_line else kind
