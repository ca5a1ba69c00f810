"""`tutorial check`: the finished step passes, missing parts are named, and no code of yours does harm."""

import re
import sys
import threading

import psutil
import pytest
from rich.console import Console

from tests.cli.conftest import contents, replace
from tutorial.course.assignment import step_assignment
from tutorial.course.steps import ROOT, all_steps, find_step, number
from tutorial.learn import check as checking
from tutorial.learn.check import Cancelled, Verdict, check
from tutorial.learn.explain import expected_and_seen, hints, read_hints
from tutorial.learn.playground import STATE, State
from tutorial.learn.problem import Problem
from tutorial.learn.progress import judge, remember
from tutorial.learn.render import (
    Progress,
    Words,
    new_console,
    progress,
    show_sections,
    show_verdict,
    why_text,
)
from tutorial.learn.sections import PLAIN, sections, why

LONG = pytest.mark.long
STEP_2 = step_assignment("2")
# Makes the tests of step 2 that are judged below a few.
FEW = "layer_is or reaches_everyone"


def test_a_finished_step_passes_its_own_tests(monkeypatch):
    """Finished is finished, whatever you exported for a try. (Later steps: see tests/exercises.)"""
    monkeypatch.setenv("ALLOWED_HOSTS", "chat.example.com")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "config.production")
    verdict = check(find_step("1"), step_assignment("1"), only="layer or shows or needed")
    assert verdict.good, verdict.problems
    assert len(verdict.names("done")) >= 2
    assert {required.module for required in verdict.required} == {"test_step01_setup"}


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_the_next_steps_tests_name_what_is_missing(tutorial, step):
    """Judged by the next step, a step is not done, and each file that it lacks is named at once."""
    done = tutorial("check", step + 1, find_step(str(step)), "--all")
    assert done.exit_code == 1
    new = set(step_assignment(str(step + 1)).solution) - set(step_assignment(str(step)).solution)
    for name in new - {"static/icon.svg"}:
        assert f"{name}: {name} is missing" in done.output, name


def test_a_file_of_an_earlier_step_is_in_that_steps_lesson(tutorial):
    """If you went on without it, you're sent to the lesson that has it."""
    done = tutorial("check", 4, find_step("2"), "--all")
    assert re.search(
        r"chat/routing.py is missing\s+hint\s+The lesson .*?: step03_routing/README.md", done.output
    )
    assert re.search(
        r"chat/forms.py is missing\s+hint\s+The lesson .*?: step04_client/README.md", done.output
    )


@LONG
def test_files_in_place_and_no_settings(project):
    """With the new files in place and nothing else changed, the file that lacks a line is named."""
    directory = project(2)
    for name in ("chat/routing.py", "chat/consumers.py"):
        (directory / name).write_text((find_step("3") / name).read_text())
    verdict = check(directory, step_assignment("3"), only="cookie")
    assert not verdict.good
    assert verdict.problems[0].file == "config/asgi.py"


# Harmless

# The first line of the code put into a project: it writes its process id into the file $PIDS.
PIDS = "import os; f = open(os.environ['PIDS'], 'a'); f.write(f'{os.getpid()}\\n'); f.close()\n"
FORK = f"""{PIDS}
import time
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid()
    {PIDS}
    while True:
        time.sleep(1)
"""


@pytest.fixture
def pids(tmp_path, monkeypatch):
    """A file in which a learner's processes leave their ids; none of them may run when the test ends."""
    path = tmp_path / "pids"
    path.touch()
    monkeypatch.setenv("PIDS", str(path))
    yield path
    assert path.read_text(), "the code did not run"
    for pid in set(map(int, path.read_text().split())):
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def spoil(project, code):
    """Return a copy of step 2 whose consumer begins with some code."""
    directory = project(2)
    path = directory / "chat/consumers.py"
    path.write_text(f"{code}\n{path.read_text()}")
    return directory


def where(directory, statement):
    """Return the lines that may be named for a statement of the consumer: its own and the next."""
    line = (directory / "chat/consumers.py").read_text().splitlines().index(statement) + 1
    return line, line + 1


@pytest.mark.parametrize(
    ("code", "says", "lines"),
    [
        ("1 / 0", "ZeroDivisionError", (2,)),
        pytest.param("while True:\n    pass", "hangs", (2, 3), marks=LONG),
        pytest.param("exit(3)", "ends the interpreter while it is loaded", (2,), marks=LONG),
        pytest.param("import os; os._exit(3)", "ends the interpreter (with code 3)", (0,), marks=LONG),
        pytest.param("os.kill(os.getpid(), 9)", "ends the interpreter (by signal 9)", (0,), marks=LONG),
        pytest.param("raise KeyboardInterrupt", "ends the interpreter while it is loaded", (2,), marks=LONG),
        pytest.param("import chat.consumres", "No module named 'chat.consumres'", (2,), marks=LONG),
        pytest.param("while True:\n    print('x' * 100_000)", "prints without end", (0,), marks=LONG),
    ],
    ids=lambda value: str(value)[:30],
)
def test_code_that_does_not_even_load_gets_a_clear_line(project, pids, monkeypatch, code, says, lines):
    """For code that raises, exits, hangs or floods as it loads, you see file, line and reason, in time."""
    # Less than it takes elsewhere: what follows hangs for good.
    monkeypatch.setattr(checking, "LOAD_LIMIT", 4)
    monkeypatch.setenv("TUTORIAL_PATIENCE", "3")
    [problem] = check(spoil(project, PIDS + code), STEP_2).problems
    assert says in problem.what
    assert (problem.file, problem.line in lines) == ("chat/consumers.py", True)


@pytest.mark.parametrize(
    ("name", "text"), [("chat/consumers.py", b"\0"), ("config/settings.py", b"\xff\xfe")]
)
def test_a_file_that_is_no_text_is_named(project, name, text):
    """Bytes that aren't Python get a line, too, and no traceback."""
    directory = project(2)
    (directory / name).write_bytes(text)
    assert check(directory, STEP_2).problems[0].file == name


@LONG
def test_code_that_forks_leaves_no_process(project, pids):
    """Forked processes end with the check, even those with a session of their own."""
    verdict = check(spoil(project, FORK), STEP_2, only="layer_is")
    assert verdict.good, verdict.problems
    assert len(set(pids.read_text().split())) >= 3


@LONG
def test_a_megabyte_of_output_is_cut_and_said(tutorial, project):
    """Code that prints a megabyte is judged as ever; a note says how much it was."""
    directory = spoil(project, "print('x' * 1_048_576)")
    done = tutorial("check", 2, directory, "-k", "layer_is")
    assert done.exit_code == 0, done.output
    assert "printed 1,04" in done.output
    assert len(done.output) < 5000


@LONG
@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("        while True:\n            pass", "hangs"),
        ("        __import__('os')._exit(0)", "ends the interpreter (with code 0)"),
    ],
)
def test_code_that_stops_the_tests_is_named(project, monkeypatch, statement, says):
    """Code that hangs in a test is ended, and code that ends the interpreter in mid-test isn't a success."""
    monkeypatch.setattr(checking, "LIMIT", 5)
    monkeypatch.setenv("TUTORIAL_PATIENCE", "3")
    directory = project(2)
    replace(directory, "chat/consumers.py", "        await self.accept()", statement)
    verdict = check(directory, STEP_2, only=FEW)
    [problem] = verdict.problems
    assert says in problem.what
    assert verdict.names("not yet") == ["test_a_message_reaches_everyone_in_the_room"]
    assert problem.requirement.name == "test_a_message_reaches_everyone_in_the_room"
    assert problem.file == "chat/consumers.py"
    # It's known where it hung, but not where it ended.
    assert problem.line in (where(directory, statement.splitlines()[0]) if says == "hangs" else (0,))


@LONG
def test_the_learners_own_tests_do_not_count(project):
    """If you empty or break a test, the course's own judges you, and yours stays as you wrote it."""
    directory = project(2)
    replace(directory, "chat/consumers.py", '"type": "chat_message"', '"type": "chat_msg"')
    (directory / "tests/test_step02_consumer.py").write_text("def test_nothing(): pass\n")
    (directory / "tests/conftest.py").write_text("1 / 0\n")
    (directory / "conftest.py").write_text("1 / 0\n")
    (directory / "pytest.ini").write_text("[pytest]\naddopts = --collect-only\n")
    before = contents(directory)
    verdict = check(directory, STEP_2, only=FEW)
    assert verdict.problems[0].file == "chat/consumers.py"
    assert contents(directory) == before


# Read by the learner


def test_the_first_problem_says_all_a_learner_needs(tutorial, project):
    """One line for each requirement; then place, requirement, result and a hint; exit code 1."""
    directory = project(2)
    replace(directory, "chat/consumers.py", '"type": "chat_message"', '"type": "chat_msg"')
    done = tutorial("check", 2, directory, "-k", f"{FEW} or another_room or longest")
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert any(line.startswith("✗ The plain version") for line in lines)
    assert any(line.startswith("  ✗ What one person says reaches everybody") for line in lines)
    assert any(line.startswith("  · Each room has a group of its own") for line in lines)
    [head] = [line for line in lines if line.startswith("chat/consumers.py: What one person says reaches")]
    assert lines.index(head) > 3
    assert "No handler for message type chat_msg" in done.output
    assert "docs/symptoms.md#s15" in done.output
    assert "Traceback" not in done.output
    assert "\x1b[" not in done.output
    state = State.read(directory)
    assert (state.stuck, state.place) == ("test_a_message_reaches_everyone_in_the_room", "chat/consumers.py")
    assert state.mistake == "ValueError: No handler for message type chat_msg"


@LONG
def test_all_problems_and_their_tracebacks(tutorial, project):
    """With --all each problem is shown, with -v what Python says about it."""
    directory = project(2)
    replace(directory, "chat/consumers.py", '"type": "chat_message"', '"type": "chat_msg"')
    done = tutorial("check", 2, directory, "-k", f"{FEW} or longest", "--all", "-v")
    assert done.exit_code == 1
    assert len(re.findall(r"^chat/consumers.py: ", done.output, re.MULTILINE)) == 2
    assert "ValueError: No handler for message type chat_msg" in done.output
    assert "dispatch" in done.output


@LONG
def test_what_was_not_met_is_judged_first(project):
    """The requirement that failed last time comes first, unless it's in a section that you aren't at yet."""
    directory, longest = project(2), "test_the_longest_message_is_delivered_whole"
    for done in [], [required.name for required in STEP_2.requirements if required.name != longest]:
        State(STEP_2.name, {STEP_2.name: done}, longest).write(directory)
        words = new_console(quiet=True), directory, STEP_2, Words("h", "press n")
        verdict = judge(*words, only="keep_their_order or longest", first=[longest])
        assert (verdict.required[0].name == longest) == bool(done)


def test_done_is_exit_code_zero_and_nothing_to_judge_is_two(tutorial, project):
    """0 when all you asked for is met, 2 when no requirement has that name; steps keep no note."""
    done = tutorial("check", 2, find_step("2"), "-k", "layer_is")
    assert done.exit_code == 0, done.output
    assert not (find_step("2") / STATE).exists()
    done = tutorial("check", 2, project(2), "-k", "nothing_is_called_this")
    assert done.exit_code == 2
    assert "nothing_is_called_this" in done.stderr


@LONG
def test_a_check_can_be_given_up(project):
    """A save while a check runs ends it, with all it had started."""
    cancel = threading.Event()
    with pytest.raises(Cancelled):
        check(project(2), STEP_2, cancel=cancel, on_change=lambda verdict: cancel.set())


def test_without_the_development_packages_a_line_says_what_to_run(tutorial, monkeypatch, tmp_path):
    """If pytest and its like aren't installed, you read that first, with exit code 2."""
    monkeypatch.setitem(sys.modules, "pytest_django", None)
    done = tutorial("check", "3", tmp_path)
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)
    assert "pytest_django" in done.stderr
    assert "make setup" in done.stderr


PLAIN_CONSUMER = """
import json

from channels.generic.websocket import AsyncWebsocketConsumer


class ChatConsumer(AsyncWebsocketConsumer):
    async def connect(self):
        self.group = "chat_" + self.scope["url_route"]["kwargs"]["room_name"]
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, close_code):
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive(self, text_data):
        message = json.loads(text_data)["message"]
        event = {"type": "chat_message", "message": message, "username": self.scope["user"].username}
        await self.channel_layer.group_send(self.group, event)

    async def chat_message(self, event):
        await self.send(text_data=json.dumps({"message": event["message"], "username": event["username"]}))
"""


def test_the_plain_version_is_judged_first_and_may_be_left(tutorial, project):
    """The sections come in the lesson's order; once the plain one is met, you read that you can go on."""
    directory = project(2)
    (directory / "chat/consumers.py").write_text(PLAIN_CONSUMER)
    done = tutorial("check", 2, directory)
    assert done.exit_code == 1
    for text in (
        r"✓ The plain version +(\d) of \1\n✗ A room called 日本語 +0 of 2\n  ✗ A room may be called",
        r"Step 2 \(consumer\): (\d) of \1 plain, 0 of \d hardened",
        r"The plain version of step 2 works. You can go on to step 3 \(tutorial start 3\s+\S+ --keep\)",
    ):
        assert re.search(text, done.output), done.output


def test_watch_says_at_once_that_the_plain_version_works(project):
    """You read that you can go on before the first hardened requirement has been judged."""
    directory, console = project(2), new_console()
    (directory / "chat/consumers.py").write_text(PLAIN_CONSUMER)
    with console.capture() as shown:
        judge(console, directory, STEP_2, Words("h", "press n"), go_on="hardened", on_problem=lambda: None)
    said = shown.get()
    assert said.index("The plain version of step 2 works") < said.index("A room may be called")


@pytest.fixture
def checks_find(monkeypatch):
    """Let the next checks of step 2 judge its first five requirements, and find some of them not met."""

    def checks_find(*unmet):
        def found(project, assignment, *, on_change, **options):
            verdict = Verdict(required=[each for part in sections(assignment).values() for each in part][:5])
            for each in verdict.required:
                verdict.states[each] = "not yet" if each.name in unmet else "done"
                if each.name in unmet:
                    verdict.problems.append(Problem("It isn't so.", "chat/consumers.py", requirement=each))
                on_change(verdict)
            return verdict

        monkeypatch.setattr("tutorial.learn.progress.check", found)

    return checks_find


def test_a_requirement_that_is_met_says_once_why_it_matters(project, checks_find):
    """The sentence comes when a requirement is first met, and not again after it broke and was mended."""
    directory, console = project(2), new_console()
    hard = ["test_any_room_name_works", "test_a_room_name_that_is_too_long_is_refused"]
    broken = [*hard, "test_a_message_reaches_everyone_in_the_room"]
    in_watch, in_check = lambda: None, None
    for on_problem, rounds, expected in (
        (in_watch, (hard, broken, hard, []), ["A group", "", "", "People name"]),
        (in_check, (hard, hard), ["A group", ""]),
    ):
        reads = []
        for unmet in rounds:
            checks_find(*unmet)
            with console.capture() as shown:
                words = console, directory, STEP_2, Words("h", "press n")
                judge(*words, go_on="hardened", on_problem=on_problem)
            reads += [" ".join(re.findall(r"Why it matters: (\w+ \w+)", shown.get()))]
        assert reads == expected
        (directory / STATE).unlink()


def test_every_requirement_says_why_it_matters():
    """Each requirement has a sentence that fits two lines with its link, and the link leads to a heading."""
    console = Console(width=80)
    for step in all_steps():
        assignment, known = step_assignment(step.name), read_hints("why")[f"step{number(step):02}"]
        assert {title: [*said][1:] for title, said in known.items()} == {
            title: [each.name for each in part] for title, part in sections(assignment).items()
        }
        for required in assignment.requirements:
            sentence, link = why(assignment, required.name)
            assert 0 < len(sentence) <= 140
            assert len(why_text(assignment, required.name).wrap(console, 80)) <= 2, required.name
            path, _, anchor = link.partition("#")
            headings = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in slugs, link


def test_a_check_that_meets_nothing_new_explains_what_is_left(project, checks_find):
    """Of requirements that were met at a time, each later check without a problem explains one more."""
    directory, console = project(2), new_console()
    words = console, directory, STEP_2, Words("h", "press n")
    reads = []
    checks_find()
    for _ in range(4):
        with console.capture() as shown:
            judge(*words)
        reads += re.findall(r"Why it matters: (\w+ \w+)", shown.get())
    assert reads == ["A group", "A message", "An answer", "People name"]


def test_a_hardened_requirement_does_not_keep_the_others_from_being_judged(project):
    """In watch, a failure stops what builds on it: after one of the plain version nothing more is judged."""
    directory = project(2)
    (directory / "chat/consumers.py").write_text(PLAIN_CONSUMER)
    only = "any_room or too_long or reaches or layer_is"
    verdict = check(directory, STEP_2, only=only, go_on="hardened")
    assert len(verdict.names("not yet")) == 2
    assert verdict.names("done") == ["test_a_message_reaches_everyone_in_the_room", "test_the_layer_is_redis"]
    replace(directory, "chat/consumers.py", '"type": "chat_message"', '"type": "chat_msg"')
    verdict = check(directory, STEP_2, only=only, go_on="hardened")
    assert [*verdict.states.values()] == ["not yet"]


def test_what_was_met_stays_counted_until_it_is_tried_and_fails():
    """A check that stops early takes nothing away; what fails is taken away."""
    first, second, third = STEP_2.requirements[:3]
    state = State("step02_consumer", {"step02_consumer": [first.name, second.name]})
    remember(state, STEP_2, Verdict(states={first: "not yet", third: "done"}))
    assert progress(STEP_2, state) == (2, len(STEP_2.requirements))
    console = new_console()
    with console.capture() as shown:
        show_sections(console, STEP_2, Verdict([first], {first: "not yet"}), state, everything=False, only="")
    assert f"✓ {second.text} (not looked at again)" in shown.get()
    # Without daphne, say, nothing is tested: no tick says that what was met still holds.
    with console.capture() as shown:
        verdict = Verdict(problems=[Problem("daphne is missing", "config/settings.py")])
        show_verdict(console, STEP_2, verdict, state, Words("h", "n"), everything=True)
    assert f"· {second.text} (met before)" in (said := shown.get())
    assert "✓" not in said


def test_the_line_of_progress_fits_the_terminal():
    """At 80 columns you see the bar, here empty, the count, and as much of the text as there is room for."""
    console = Console(force_terminal=True, width=80, color_system=None)
    longest = sorted(step_assignment("5").requirements, key=lambda required: -len(required.text))
    with console.capture() as shown, Progress(console) as progress:
        progress.show(Verdict(longest))
    line = next(line for line in re.split(r"\r|\n", shown.get()) if longest[0].text[:30] in line)
    line = re.sub(r"\x1b\[\d*[A-Z]", "", line)
    assert re.search(rf"^ {{20}} +0/{len(longest)} .*…$", line)
    assert len(line) <= 80


def test_the_other_problems_are_counted_and_their_files_named():
    """After the first problem you read how many more there are, and in which files; of many, in how many."""
    console = new_console()
    for count, says in ((4, "And 4 more, in f1, f2, f3, f4\n"), (6, "in f1, f2, f3 and 3 other files\n")):
        verdict = Verdict(problems=[Problem("wrong", f"f{number}") for number in range(count + 1)])
        with console.capture() as shown:
            show_verdict(console, STEP_2, verdict, State(), Words("h", "n"))
        assert says in shown.get()


def test_every_hint_belongs_to_a_section():
    """Each requirement of a step is in one of its lesson's sections."""
    for step in all_steps():
        assignment = step_assignment(step.name)
        assert [*sections(assignment)] == [*assignment.about["minutes"]]
        assert next(iter(sections(assignment))) == PLAIN


def test_every_hint_points_at_something():
    """Each test of each step has files to look at and a hint; each symptom is in the index."""
    for step in all_steps():
        assignment = step_assignment(step.name)
        names = [required.name for required in assignment.requirements]
        assert list(read_hints(f"step{number(step):02}")) == names
        for required in assignment.requirements:
            known = hints(required.module, required.name)
            assert known["files"], required
            assert known["hints"], required
            assert set(known["files"]) <= set(assignment.solution), required
    index = (ROOT / "docs/symptoms.md").read_text()
    for symptom in read_hints("symptoms")["symptom"]:
        assert f"\n({symptom['number']})=\n" in index, symptom
        assert re.compile(symptom["text"])
        assert set(symptom["files"]) <= set(step_assignment("5").solution)


# What Playwright says.
WRONG_PAGE = "Locator expected to have text 'Connected.'\nActual value: Lost\nCall log:\n"


@pytest.mark.parametrize(
    ("error", "details", "expected", "seen"),
    [
        ("AssertionError", {"comparison": {"op": "==", "left": "404", "right": "200"}}, "200", "404"),
        ("AssertionError", {"comparison": {"op": "in", "left": "a", "right": "b"}}, "a in what is seen", "b"),
        ("AssertionError", {"comparison": {"op": "<", "left": "3.1", "right": "2"}}, "< 2", "3.1"),
        (
            "AssertionError",
            {"comparison": {"op": "==", "left": "'e\u0301'", "right": "'\xe9'"}},
            r"'\xe9'",
            r"'e\u0301'",
        ),
        ("AssertionError", {"message": WRONG_PAGE}, "the page to have text 'Connected.'", "Lost"),
        ("TimeoutError", {}, "an answer", "nothing came in time"),
        ("TimeoutError", {"message": "Waited 10 s for it."}, "it", "nothing of it within 10 s"),
        ("KeyError", {"message": "'message'"}, "no error", "KeyError: 'message'"),
    ],
)
def test_a_failure_is_put_into_words(error, details, expected, seen):
    """Messages of pytest, asyncio, Playwright and our own waiting become "expected" and "seen"."""
    event = {"message": "", "comparison": None, "test": ["t.py", 1, "assert x"], "error": error} | details
    assert expected_and_seen(event) == (expected, seen)
