"""A learner joins a board and leaves it; whatever happens to the board, the learner's work goes on."""

import contextlib
import json
import os
import platform
import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading

import pytest

from tests.cli.classroom import CODE, Board
from tests.cli.conftest import replace
from tests.cli.test_run import alone
from tutorial.course.assignment import step_assignment
from tutorial.learn import classroom, playground
from tutorial.learn.sign import Sign
from tutorial.services.processes import Process, wait_until


@pytest.fixture(scope="module")
def board():
    """A board that all tests here share, and leave running."""
    with Board() as board:
        yield board


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A playground at step 2, whose owner has not joined yet."""
    monkeypatch.setenv("TUTORIAL_CLASSROOM", str(tmp_path / "joined.json"))
    playground.start(step_assignment("2"), tmp_path / "mine")
    return tmp_path / "mine"


def run(*words):
    """Run the command in a process of its own, as a learner does."""
    command = [sys.executable, "-m", "tutorial", *map(str, words)]
    return subprocess.run(command, env=alone({}), capture_output=True, text=True, timeout=300)


def without_times(text):
    """Return what a command has printed, without what differs from run to run."""
    return re.sub(r"\d+ s\b|\d\d:\d\d:\d\d", "(time)", text)


async def test_from_joining_to_leaving(board, mine, tutorial):
    """The board shows what check, hint, doctor and hand tell, and `join --show` shows the same."""
    assert "nothing is sent" in tutorial("join", "--show").output
    assert "You're on the board as mika." in tutorial("join", board.url, CODE.lower(), "mika").output
    assert run("check", 2, mine).returncode == 1
    assert run("hint", 2, mine).returncode == 0
    done = tutorial("hand", "help", "Which", "file?")
    assert done.output == "Your hand is up with: Which file?. Lower it: tutorial hand down\n"
    [seen] = (await board.room(lambda room: room["people"] and room["people"][0]["hints"]))["people"]
    assert (seen["nickname"], seen["assignment"]) == ("mika", "step 2 (consumer)")
    assert (seen["met"], seen["of"], seen["hints"]) == (0, 11, 1)
    assert (seen["hand"], seen["hand_text"]) == ("help", "Which file?")
    sent = tutorial("join", "--show").output.partition("Nothing else is sent:\n")[2]
    assert Sign.read(json.loads(sent)).at == "test_a_message_reaches_everyone_in_the_room"
    for secret in (str(mine), mine.parent.name, platform.node(), os.environ.get("USER", "/root"), "import"):
        assert secret not in sent
    assert tutorial("hand", "down").output == "Your hand is down.\n"
    assert "You left the board" in tutorial("leave").output
    assert not (await board.room())["people"]
    assert tutorial("leave").output == "You haven't joined a board.\n"
    assert "tutorial join URL CODE" in tutorial("hand").stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("{url}", "XXXXXX", "mika"), "That is not this room's code. Look at the board, or ask."),
        (("{url}", "{code}", "x" * 10_000), "That nickname has 10000 characters, where 24 are allowed."),
        (("{url}", "{code}", "\x1b[2J"), "That nickname has control characters."),
        (("ftp://board", "{code}"), "'ftp://board' is no address of a board."),
        (("http://[::1", "{code}"), "'http://[::1' is no address of a board."),
        (("http://127.0.0.1:1", "{code}"), "No board answers at http://127.0.0.1:1"),
        (("{url}",), "Type the board's address and its code"),
    ],
)
def test_what_cannot_be_joined_is_one_line(board, mine, tutorial, words, said):
    """Each says what is wrong and what to do, and nothing is kept."""
    done = tutorial("join", *(word.format(url=board.url, code=CODE) for word in words))
    assert done.exit_code == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "\x1b" not in done.stderr
    assert not list(mine.parent.glob("joined.json*"))


def test_two_people_with_one_nickname(board, mine, tutorial, monkeypatch):
    """The second one reads what to do, and neither is lost."""
    assert tutorial("join", board.url, CODE, "Omar").exit_code == 0
    monkeypatch.setenv("TUTORIAL_CLASSROOM", str(mine.parent / "theirs.json"))
    done = tutorial("join", board.url, CODE, "omar")
    assert (done.exit_code, done.stderr.partition(".")[0]) == (2, "Somebody is called omar already")
    assert tutorial("join", board.url, CODE).exit_code == 0, "a made-up name"
    assert tutorial("leave").exit_code == 0


class Portal(socketserver.BaseRequestHandler):
    """A captive portal: whatever you ask for, its login page is the answer."""

    def handle(self):
        """Answer one request."""
        self.request.recv(4096)
        page = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/login\r\nContent-Length: 0\r\n\r\n"
        self.request.sendall(page)


@contextlib.contextmanager
def nothing():
    """A port at which nobody listens."""
    yield 1


@contextlib.contextmanager
def silence():
    """A network that takes a connection and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
        yield listener.getsockname()[1]


@contextlib.contextmanager
def portal():
    """A Wi-Fi that wants you to log in first."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Portal) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize("network", [nothing, silence, portal])
def test_without_a_board_check_and_hint_are_the_same(mine, network):
    """Killed, silent or behind a login page: same verdict, same exit status, one line more."""
    alone_said = [run("check", 2, mine), run("hint", 2, mine)]
    with network() as port:
        classroom.Joined(f"http://127.0.0.1:{port}", CODE, "mika", "a" * 32).write()
        said = [run("check", 2, mine), run("hint", 2, mine)]
    assert said[0].returncode == alone_said[0].returncode == 1
    assert without_times(said[0].stdout) == without_times(alone_said[0].stdout)
    assert said[1].stdout.startswith("Hint 2 of ")
    for each in said:
        [line] = each.stderr.splitlines()
        assert "Your work" in line
    joined = classroom.Joined.read()
    assert joined.sign.of == 11, "the board hears of it when it is back"


async def test_watch_goes_on_when_the_board_is_killed(mine, tutorial):
    """One line says so, saves are judged as before, and it rejoins by itself."""
    with Board() as board:
        assert tutorial("join", board.url, CODE, "mika").exit_code == 0
        env = alone({})
        with Process([sys.executable, "-m", "tutorial", "watch", str(mine)], mine.parent, env) as watching:
            watching.spawn()
            watching.wait_for_output("Watching. Save a file", 120)
            await board.room(lambda room: room["people"] and room["people"][0]["of"] == 11)
            board.kill()
            watching.wait_for_output("The board doesn't answer. Your work goes on", 60)
            replace(mine, "config/settings.py", "INSTALLED_APPS = [", "INSTALLED_APPS = [[")
            watching.wait_for_output("config/settings.py", 120)
            board.start()
            watching.wait_for_output("The board is back", 120)
            [seen] = (await board.room(lambda room: room["people"] and room["people"][0]["of"]))["people"]
            assert (seen["nickname"], seen["live"]) == ("mika", True)
            assert watching.output.count("doesn't answer") == 1
            os.kill(watching.pid, signal.SIGINT)
            wait_until(lambda: not watching.running, 60, "the end of watch")
            assert "Traceback" not in watching.output
        [seen] = (await board.room(lambda room: room["people"] and not room["people"][0]["live"]))["people"]


async def test_watch_follows_you_to_another_board(board, mine, tutorial):
    """What a running watch has to tell goes to the board that you joined last, and to no other."""
    assert tutorial("join", board.url, CODE, "lena").exit_code == 0
    command = [sys.executable, "-m", "tutorial", "watch", str(mine)]
    with Board() as other, Process(command, mine.parent, alone({})) as watching:
        watching.spawn()
        watching.wait_for_output("Watching. Save a file", 120)
        await board.room(lambda room: [each for each in room["people"] if each["of"] == 11])
        assert tutorial("join", other.url, CODE, "lena").exit_code == 0
        replace(mine, "config/settings.py", "INSTALLED_APPS = [", "INSTALLED_APPS = [[")
        await other.room(lambda room: room["people"] and room["people"][0]["live"])
        await board.room(lambda room: not any(each["live"] for each in room["people"]))
        assert tutorial("leave").exit_code == 0


def test_nothing_is_kept_where_nothing_can_be_written(mine, tutorial, board, monkeypatch):
    """One line says which file, and that another place can be named."""
    monkeypatch.setenv("TUTORIAL_CLASSROOM", str(mine / "no/such/joined.json"))
    done = tutorial("join", board.url, CODE, "kept")
    assert done.exit_code == 2
    assert "joined.json" in done.stderr
