"""`hint`, `compare`, `solve`, `list` and `watch`: what you read between two checks."""

import contextlib
import fcntl
import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys
import termios

import pytest

from tests.cli.conftest import contents, replace
from tutorial.course.assignment import all_exercises, exercise_assignment, step_assignment
from tutorial.course.files import write_files
from tutorial.course.steps import ROOT, all_steps, find_step
from tutorial.learn.explain import graded_hints
from tutorial.learn.playground import STATE, State, start
from tutorial.learn.sections import plain
from tutorial.learn.watch import Events
from tutorial.services.processes import Process, end_tree, wait_until

STUCK = "test_a_message_reaches_everyone_in_the_room"


@pytest.fixture
def mine(tmp_path):
    """A playground for step 3, nothing typed yet."""
    start(step_assignment("3"), tmp_path / "mine")
    return tmp_path / "mine"


def note(directory, **changes):
    """Write into a playground's note of progress."""
    state = State.read(directory)
    vars(state).update(changes)
    state.write(directory)


def test_each_call_of_hint_says_more(tutorial, mine):
    """The hints come in their order, and the last ones lead to the solution and stay."""
    note(mine, stuck=STUCK, place="chat/consumers.py")
    said = [tutorial("hint", 3, mine).output for _ in range(8)]
    assert said[0].startswith("Hint 1 of 6 for chat/consumers.py: Follow one message")
    assert said[1].startswith("Hint 2 of 6")
    assert "tutorial solve 3 chat/consumers.py" in said[5]
    assert len(set(said)) == 6
    assert said[5:] == [said[5]] * 3
    # Another mistake begins anew.
    note(mine, mistake="NameError: name 'hashlib' is not defined")
    assert tutorial("hint", 3, mine).output.startswith("Hint 1 of 6")
    # What `check` has printed with it is no news.
    note(mine, mistake="another", hint=graded_hints(step_assignment("3"), STUCK)[0])
    fresh = tutorial("hint", 3, mine).output
    assert fresh.startswith("Hint 1 of 5")
    assert "Follow one message" not in fresh


def test_a_file_that_is_missing_has_hints_too(tutorial, mine):
    """While the project doesn't load yet, the hints are about the file."""
    assert tutorial("check", "3", mine).exit_code == 1
    assert "The text about chat/routing.py is in " in tutorial("hint", "3", mine).output


def test_an_exercise_unfolds_its_own_hints(tutorial, tmp_path):
    """For an exercise you get the hints of its README, one after the other."""
    assignment, mine = exercise_assignment("rate_limit"), tmp_path / "mine"
    start(assignment, mine)
    note(mine, stuck=assignment.requirements[0].name, place="chat/limits.py")
    assert "The bucket" in tutorial("hint", "rate_limit", mine).output
    assert "receive()" in tutorial("hint", "rate_limit", mine).output


@pytest.mark.parametrize("columns", [80, 160])
def test_compare_shows_what_differs(tutorial, mine, monkeypatch, columns):
    """You see your code beside the solution in a wide terminal, as a diff in a narrow one; exit code 1."""
    replace(mine, "chat/consumers.py", "MAX_MESSAGE = 4096", "MAX_MESSAGE = 99")
    monkeypatch.setenv("COLUMNS", str(columns))
    done = tutorial("compare", 3, mine)
    assert done.exit_code == 1
    assert "chat/routing.py (you do not have it)" in done.output
    [mistaken] = [line for line in done.output.splitlines() if "MAX_MESSAGE = 99" in line]
    assert ("MAX_MESSAGE = 4096" in mistaken) == (columns == 160)
    assert all(len(line) <= columns for line in done.output.splitlines())
    # Of a file that is missing you see how it begins; all of it if you ask.
    last_line = "UnknownPathConsumer.as_asgi()"
    assert "All of it: tutorial compare --only chat/routing.py" in done.output
    assert last_line not in done.output
    done = tutorial("compare", 3, mine, "--only", "chat/routing.py")
    assert last_line in done.output
    assert "consumers.py ───" not in done.output
    (mine / "chat/__init__.py").unlink()
    done = tutorial("compare", 3, mine, "--only", "chat/__init__.py")
    assert "you do not have it" in done.output
    assert "1 file differs." in done.output
    assert tutorial("compare", 3, find_step("3")).exit_code == 0


def test_solve_asks_and_keeps_what_was_there(tutorial, mine):
    """After a yes, you get one file of the solution, and your own is kept beside it."""
    (mine / "chat/consumers.py").write_text("# mine\n")
    assert tutorial("solve", 3, "chat/consumers.py", "--dir", mine, answer="n\n").exit_code == 1
    assert (mine / "chat/consumers.py").read_text() == "# mine\n"
    done = tutorial("solve", 3, "chat/consumers.py", "--dir", mine, answer="y\n")
    assert done.exit_code == 0
    assert (mine / "chat/consumers.py").read_text() == (find_step("3") / "chat/consumers.py").read_text()
    [kept] = (mine / "chat").glob("consumers.py-*")
    assert kept.read_text() == "# mine\n"
    assert kept.name in done.output
    if shutil.which("git"):
        status = subprocess.check_output(["git", "status", "--short"], cwd=mine, text=True)
        assert "?? " not in status


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("run 6", "There is no step '6'"),
        ("run ''", "There is no step ''. The steps: step01_setup, "),
        ("run routin", "Did you mean routing?"),
        ("dev diff 1", "no step before it"),
        ("start rooting {new}", "Did you mean routing?"),
        ("start 3 /proc/mine", "/proc/"),
        ("exercise rate_limits {new}", "Did you mean rate_limit"),
        ("check celry {mine}", "Did you mean celery"),
        ("check recovry {mine}", "Did you mean recovery"),
        *((f"{command} {{empty}}", "manage.py nor config/settings.py") for command in ("check 3", "watch")),
        *((f"{command} 3 {{empty}}", "manage.py nor config/settings.py") for command in ("hint", "compare")),
        ("watch {broken}", ".tutorial.json cannot be read"),
        ("hint 3 {mine}", "No problem is known"),
        ("compare 3 {mine} --only chat/rooting.py", "Did you mean chat/routing.py"),
        ("solve 3 chat/consumer.py --dir {mine} --yes", "has no file"),
        ("solve 3 ../Makefile --dir {mine} --yes", "has no file"),
        ("solve 3 /etc/hosts --dir {mine} --yes", "has no file"),
        ("solve 3 tests/conftest.py --dir {mine} --yes", "has no file"),
        ("solve 3 chat/routing.py --dir {root}/step03_routing --yes", "belongs to the course"),
        *(
            (f"start 3 {{root}}/{place}", "belongs to the course")
            for place in (".", "..", "step03_routing", "step03_routing/chat", "docs/mine", ".venv")
        ),
        ("start 2 {mine} --keep", "--keep only goes forward"),
        ("start 3 {root}/.git", "/.git "),
        ("start 3 {root}/Makefile", "is a file"),
    ],
)
def test_what_will_not_do_is_refused_in_a_line(tutorial, mine, words, says):
    """For a wrong name you get the nearest ones; no playground replaces the course; nothing is changed."""
    places = {"mine": mine, "root": ROOT} | {name: mine.parent / name for name in ("new", "empty", "broken")}
    places["empty"].mkdir()
    (places["broken"] / "config").mkdir(parents=True)
    (places["broken"] / "config/settings.py").touch()
    (places["broken"] / STATE).write_text("{")
    before = contents(mine.parent), sorted(ROOT.iterdir())
    done = tutorial(*shlex.split(words.format_map(places)))
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)
    assert says in done.stderr
    assert (contents(mine.parent), sorted(ROOT.iterdir())) == before


def test_list_says_where_one_is(tutorial, mine):
    """Every step and exercise, its minutes, and how much of it is done."""
    note(mine, done={"step02_consumer": [required.name for required in step_assignment("2").requirements]})
    lines = tutorial("list", mine).output.splitlines()
    for assignment in (*(step_assignment(step.name) for step in all_steps()), *all_exercises()):
        [line] = [line for line in lines if f" {assignment.name} " in line]
        assert str(assignment.minutes) in line
        assert ("you are here" in line) == (assignment.name == "step03_routing")
        assert ("✓" in line) == (assignment.name == "step02_consumer")
    assert f"Your code: {mine}" in lines


@pytest.mark.parametrize("command", ["compare", "hint"])
def test_a_reader_who_has_seen_enough_ends_a_command_in_silence(mine, command):
    """As with `tutorial compare | head`: the pipe is closed, and nothing more is said."""
    note(mine, stuck=STUCK, place="chat/consumers.py")
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "tutorial", command, "3", str(mine)]
    done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=600)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_commands_work_from_inside_the_playground(tutorial, mine, monkeypatch):
    """In the playground, or a directory of it, you name neither step nor directory."""
    monkeypatch.chdir(mine / "chat")
    done = tutorial("check")
    assert done.exit_code == 1
    assert "step 3 (routing)" in done.output


def test_a_project_that_start_did_not_make_is_known_by_its_files(tutorial, mine, monkeypatch):
    """In a Django project without a note of progress, you read which step it looks like, and go on."""
    (mine / STATE).unlink()
    monkeypatch.chdir(mine / "chat")
    for file, title in (("consumers.py", "step 2 (consumer)"), ("routing.py", "step 3 (routing)")):
        (mine / "chat" / file).touch()
        done = tutorial("compare")
        assert f"{mine} looks like {title}: it has chat/{file}" in done.output


def test_a_look_back_leaves_your_place(tutorial, mine):
    """A check of an earlier step judges that step, and you're still at yours."""
    (mine / "config/urls.py").write_text("urlpatterns = [\n")
    assert "step 2 (consumer)" in tutorial("check", 2, mine).output
    assert State.read(mine).assignment == "step03_routing"


def test_progress_that_cannot_be_written_is_no_failure(tutorial, mine, monkeypatch):
    """In a read-only directory a check still judges, and says that it can't remember."""

    def read_only(*arguments):
        raise PermissionError(13, "Permission denied", str(mine / STATE))

    monkeypatch.setattr(State, "write", read_only)
    done = tutorial("check", 3, mine)
    assert done.exit_code == 1
    assert "chat/routing.py is missing" in done.output
    assert "could not be written" in done.output


def test_watch_checks_each_save_and_leaves_the_project_alone(tutorial, tmp_path):
    """A save is checked at once; when all is done, you read how to go on, and nothing else happens."""
    mine = tmp_path / "mine"
    start(step_assignment("1"), mine)
    write_files(step_assignment("1").solution, mine)
    (mine / "config/urls.py").write_text("urlpatterns = [\n")
    env = os.environ | {"COLUMNS": "100", "PYTHONUNBUFFERED": "1"}
    with Process([sys.executable, "-m", "tutorial", "watch", str(mine)], tmp_path, env) as watching:
        watching.spawn()
        watching.wait_for_output("config/urls.py:1: SyntaxError", 60)
        watching.wait_for_output("Watching. Save a file to check again; Ctrl-C ends.", 60)
        (mine / "config/urls.py").write_bytes((find_step("1") / "config/urls.py").read_bytes())
        finished = contents(mine)
        for text in ("Step 1 (setup) is done", "Finish reading, then go on to step 2: tutorial start 2"):
            watching.wait_for_output(text, 180)
        wait_until(lambda: State.read(mine).done, 60, "the note of progress")
        assert {**contents(mine), STATE: b""} == {**finished, STATE: b""}
        assert tutorial("start", 2, mine, "--keep").exit_code == 0
        for text in (
            "against step 2 (consumer)",
            "And 2 more, in ",
            f"0 of {len(plain(step_assignment('2')))} plain",
        ):
            watching.wait_for_output(text, 180)
        os.kill(watching.pid, signal.SIGINT)
        wait_until(lambda: not watching.running, 60, "the end of watch")
        assert "Traceback" not in watching.output
    state = State.read(mine)
    assert state.assignment == "step02_consumer"
    assert len(state.done["step01_setup"]) == len(step_assignment("1").requirements)


def test_what_watch_writes_itself_is_no_save(tmp_path):
    """After settle() the files written so far ask for no check, even when they are reported later."""
    with Events(tmp_path, keys=False) as events:
        wait_until(
            lambda: (tmp_path / "theirs.py").write_text("1") and events.stale.is_set(), 60, "the watcher"
        )
        (tmp_path / "theirs.py").write_text("2")
        events.settle()
        (tmp_path / "mine.py").write_text("1")
        assert events.take() == ({"mine.py"}, "")


def test_watch_takes_single_keys(tmp_path):
    """On a terminal h gives a hint, a checks all, n goes on to the next step, q ends; all without Enter.

    The text about a new step stays on the screen above its first check.
    """
    mine = tmp_path / "mine"
    start(step_assignment("1"), mine)
    write_files(step_assignment("1").solution, mine)
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    command = [sys.executable, "-m", "tutorial", "watch", str(mine)]
    watching = subprocess.Popen(
        command,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100", "NO_COLOR": "1"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.set_blocking(ours, False)
    shown = ""

    def comes(text):
        nonlocal shown
        with contextlib.suppress(BlockingIOError):
            shown += os.read(ours, 100_000).decode(errors="replace")
        return text in shown

    try:
        for key, text in (
            ("", "Finish reading, then press n for step 2."),
            ("", "h hint, a check all, n next step, q quit"),
            ("n", "On to step 2 (consumer)"),
            ("", "And 2 more, in "),
            ("", "More help: press h"),
            ("", "q quit"),
            ("h", "Hint 1 of "),
            ("n", "Step 2 (consumer) isn't done"),
            ("", "q quit"),
            ("a", "chat/consumers.py is missing"),
            ("n", "press n again"),
            ("n", "On to step 3 (routing)"),
            ("", "q quit"),
            # With the plain version met, n asks nothing.
            ("n", "On to step 4 (client)"),
            ("", "q quit"),
        ):
            if text.startswith("On to step 4"):
                names = [required.name for required in plain(step_assignment("3"))]
                note(mine, done=State.read(mine).done | {"step03_routing": names})
            os.write(ours, key.encode())
            wait_until(lambda text=text: comes(text), 60, text)
            before_it, _, shown = shown.partition(text)
            if text.startswith(("And 2 more", "Hint")):
                assert "\x1b[2J" not in before_it
        os.write(ours, b"q")
        assert watching.wait(600) == 0
        assert termios.tcgetattr(theirs) == before
    finally:
        end_tree(watching)
        os.close(ours)
        os.close(theirs)
