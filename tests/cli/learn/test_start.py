"""`tutorial start` and `tutorial exercise`: a playground is whole or not there, and nothing old is lost."""

import errno
import itertools
import os
import re
import resource
import signal
import subprocess
import sys

import httpx
import psutil
import pytest

from tests.cli.conftest import contents, needs_git
from tutorial.course.assignment import all_exercises, project_files, step_assignment
from tutorial.course.git import git
from tutorial.course.steps import all_steps, find_step, number
from tutorial.learn import playground
from tutorial.learn.playground import State, go_on, start
from tutorial.services.ports import free_port
from tutorial.services.processes import Process, wait_until

LATER = [step for step in all_steps() if number(step) > 1]


@pytest.fixture
def mine(tmp_path):
    """A directory that isn't empty."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    return tmp_path / "mine"


@pytest.mark.parametrize("step", LATER, ids=lambda step: step.name)
def test_a_playground_is_the_step_before_and_what_the_lesson_gives(tutorial, tmp_path, step):
    """The finished step before, with the lesson's given files over it, and with the tests of the new step."""
    done = tutorial("start", number(step), tmp_path / "mine")
    assert done.exit_code == 0
    assert f"step {number(step)}" in done.output
    before = project_files(find_step(str(number(step) - 1)))
    given = step_assignment(step.name).given
    expected = {name: path.read_bytes() for name, path in before.items() if name != "README.md"}
    expected |= given
    mine = contents(tmp_path / "mine")
    assert mine.pop(playground.STATE)
    assert mine == expected
    assert f"tests/test_{step.name}.py" in mine


def test_the_first_playground_is_a_project_without_the_lesson(tutorial, tmp_path):
    """Step 1 begins with what Django itself makes, less its comments, and the pages and tests of the step."""
    assert tutorial("start", 1, tmp_path / "mine").exit_code == 0
    mine = contents(tmp_path / "mine")
    assert b"INSTALLED_APPS" in mine["config/settings.py"]
    assert b"daphne" not in mine["config/settings.py"]
    assert {"manage.py", "config/asgi.py", "templates/index.html", "pytest.ini"} <= set(mine)
    assert b"round_trip" not in mine["config/views.py"]


@needs_git
def test_a_playground_is_a_repository_of_its_own(tutorial, tmp_path):
    """git shows the code you write and nothing else: neither state, database nor caches."""
    mine = tmp_path / "mine"
    tutorial("start", 3, mine)
    assert git("rev-parse", "--show-toplevel", cwd=mine, own=True).strip() == str(mine)
    (mine / "db.sqlite3").touch()
    assert git("status", "--short", cwd=mine, own=True) == ""
    (mine / "chat/routing.py").write_text("urls = []\n")
    assert git("status", "--short", cwd=mine, own=True) == "?? chat/routing.py\n"


def test_an_old_directory_is_moved_aside(tutorial, mine):
    """Whatever is in DIR is kept whole in a dated copy beside it, even twice a second."""
    done = tutorial("start", 2, mine)
    tutorial("start", 2, mine)
    asides = [path for path in mine.parent.iterdir() if re.fullmatch(r"mine-[-\d]{17}(-\d)?", path.name)]
    assert len(asides) == 2
    assert [path.read_text() for path in mine.parent.glob("*/thesis.txt")] == ["years of work"]
    assert "A copy of what was in" in done.output


def test_progress_outlives_a_new_start(tmp_path):
    """If you start another step in the same directory, your earlier work is kept."""
    start(step_assignment("2"), tmp_path / "mine")
    State("step02_consumer", {"step04_client": ["test_a"]}).write(tmp_path / "mine")
    start(step_assignment("3"), tmp_path / "mine")
    state = State.read(tmp_path / "mine")
    assert (state.assignment, state.done.pop("step04_client")) == ("step03_routing", ["test_a"])
    assert state.done == {}, "the steps before it are given, not done"


def test_a_running_server_survives_a_new_start(tmp_path):
    """A server in the playground goes on there and serves the new files; your database is kept, too."""
    mine = tmp_path / "mine"
    start(step_assignment("3"), mine)
    (mine / "db.sqlite3").write_text("mine")
    (mine / "notes.txt").write_text("mine")
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port := free_port())]
    with Process(command, mine, {**os.environ}) as server:
        server.spawn()
        url = f"http://127.0.0.1:{port}/chat"
        wait_until(lambda: answers(f"{url}/consumers.py") == 200, 60, "the server")
        assert answers(f"{url}/routing.py") == 404
        aside = start(step_assignment("4"), mine)
        assert answers(f"{url}/routing.py") == 200
        assert psutil.Process(server.pid).cwd() == str(mine)
    assert (mine / "db.sqlite3").read_text() == (aside / "notes.txt").read_text() == "mine"
    assert not (mine / "notes.txt").exists()


def answers(url):
    """Return the status with which a server answers, or None."""
    try:
        return httpx.get(url, trust_env=False).status_code
    except httpx.TransportError:
        return None


@pytest.mark.long
@pytest.mark.parametrize("exercise", all_exercises(), ids=lambda assignment: assignment.name)
def test_an_exercise_is_set_up(tutorial, tmp_path, exercise):
    """The exercise's step is laid out whole, with the exercise's test beside the step's."""
    done = tutorial("exercise", exercise.name.replace("_", "-"), tmp_path / "mine")
    assert done.exit_code == 0
    assert str(exercise.readme) in done.output.replace("\n", "")
    mine = contents(tmp_path / "mine")
    assert mine[f"tests/test_{exercise.name}.py"] == exercise.test_file.read_bytes()
    assert all(
        mine[name] == (exercise.step / name).read_bytes()
        for name in step_assignment(exercise.step.name).solution
    )
    assert not (set(exercise.solution) - set(step_assignment(exercise.step.name).solution)) & set(mine)


@pytest.mark.parametrize(
    "interruption", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left on device")]
)
@pytest.mark.parametrize(
    ("place", "name", "at"),
    [
        (playground.Path, "write_bytes", 0),
        (playground.Path, "write_bytes", 1),
        (playground.Path, "write_bytes", 7),
        (playground, "make_repository", 0),
        (playground.shutil, "copytree", 0),
        (playground.Path, "rename", 0),
        # The copy is complete, and the new files are taking their places.
        (playground.Path, "unlink", 0),
        (playground.os, "replace", 1),
        (playground.os, "replace", 9),
    ],
)
def test_an_interrupted_start_changes_nothing(mine, monkeypatch, interruption, place, name, at):
    """Ctrl-C or a full disk at any point leaves the old directory as it was and no half-made one."""
    calls, real = itertools.count(), getattr(place, name)

    def interrupted(*arguments, **options):
        if next(calls) == at:
            raise interruption
        return real(*arguments, **options)

    monkeypatch.setattr(place, name, interrupted)
    with pytest.raises((KeyboardInterrupt, OSError)):
        start(step_assignment("3"), mine)
    assert next(calls) > at
    assert {path.name for path in mine.parent.rglob("*")} == {"mine", "thesis.txt"}
    assert (mine / "thesis.txt").read_text() == "years of work"


@pytest.mark.long
@pytest.mark.parametrize("moment", ["", "chat", ".git", ".git/objects"])
@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name
)
def test_a_signal_in_the_middle_leaves_no_half(mine, number, moment):
    """Ctrl-C, a closed terminal or a kill of the real command, at several moments: all or nothing."""

    def reached():
        return list(mine.parent.glob(f".mine-*/{moment}")) or running.poll() is not None

    command = [sys.executable, "-m", "tutorial", "start", "5", str(mine)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as running:
        wait_until(reached, 60, "that moment")
        running.send_signal(number)
        running.wait(600)
    assert not list(mine.parent.glob(".*"))
    [thesis] = mine.parent.glob("*/thesis.txt")
    assert thesis.parent == mine or (mine / "blog/forms.py").exists()


def test_a_real_limit_on_file_sizes_is_a_full_disk(tmp_path):
    """If the system refuses to write more, a line says so and nothing is left behind."""
    done = subprocess.run(
        [sys.executable, "-m", "tutorial", "start", "3", str(tmp_path / "mine")],
        capture_output=True,
        text=True,
        timeout=600,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert "File too large" in done.stderr
    assert "Nothing of yours is lost" in done.stderr


def test_without_git_there_is_a_playground_all_the_same(tutorial, tmp_path, monkeypatch):
    """Without git, a line says so, and the command goes on."""
    monkeypatch.setenv("PATH", str(tmp_path))
    done = tutorial("start", "3", tmp_path / "mine")
    assert done.exit_code == 0
    assert "no git repository was created" in done.output
    assert (tmp_path / "mine/chat/consumers.py").exists()


@needs_git
def test_going_on_keeps_what_the_learner_wrote(tmp_path):
    """The next step's given files come in; a file you changed is merged, or left and named."""
    mine = tmp_path / "mine"
    start(step_assignment("4"), mine)
    (mine / "chat/consumers.py").write_text("# mine\n")
    style = (mine / "static/style.css").read_text()
    (mine / "static/style.css").write_text(f"/* mine */\n{style}")
    (mine / "config/urls.py").write_text("urlpatterns = ['all', 'mine']\n")
    assert go_on(step_assignment("5"), mine) == ["config/urls.py"]
    assert (mine / "chat/consumers.py").read_text() == "# mine\n"
    assert (mine / "config/urls.py").read_text() == "urlpatterns = ['all', 'mine']\n"
    style = (mine / "static/style.css").read_text()
    assert style.startswith("/* mine */\n")
    assert ".byline" in style
    assert (mine / "blog/views.py").exists()
    assert not (mine / "blog/tasks.py").exists()
    state = State.read(mine)
    assert state.assignment == "step05_celery"
    # Not met when you went on, so no later step asks for it.
    assert "test_step04_client.py::test_two_people_chat" in state.left_open
    assert not any("step03" in test for test in state.left_open)
    assert git("log", "--format=%s", cwd=mine, own=True).splitlines() == [
        "Start of step 5 (celery)",
        "Before step 5 (celery)",
        "Start of step 4 (client)",
    ]
