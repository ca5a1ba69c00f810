"""`tutorial board`: an instructor sees where everybody is, and nothing else."""

import asyncio
import contextlib
import json
import secrets
import signal
import socket
import time
from dataclasses import replace

import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.cli.classroom import CODE, KEY, Board, full_room, learner, looked_at, requirements, sign, tell
from tests.cli.test_run import refusal
from tutorial.board.report import closing_report
from tutorial.board.room import LATE, LONG, Refused, Room, clock
from tutorial.learn.classroom import Joined
from tutorial.learn.sign import LONGEST_NICKNAME, VERSION, NotASign, Sign, line, nickname

GOOD = sign("step02_consumer", 2).data()
HTML = "<b>bob</b>"


@pytest.fixture(scope="module")
def board():
    """A board that all tests here share, and leave running."""
    with Board() as board:
        yield board


class Clock:
    """A clock that a test moves."""

    now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def room():
    """A room with a clock of its own; it has `clock`, and lets people in by their nicknames."""
    return Room(CODE, KEY, clock=Clock())


def enter(room, name, **more):
    """Let somebody in; return the token."""
    hello = {"version": VERSION, "code": CODE, "nickname": name, "token": secrets.token_hex(16)}
    return room.let_in(hello | more, "192.0.2.1")


@pytest.mark.parametrize(
    "wrong",
    [
        GOOD | {"code": "print('mine')"},
        {name: value for name, value in GOOD.items() if name != "hints"},
        GOOD | {"at": "/home/mika/playground/chat/consumers.py"},
        GOOD | {"at": "class ChatConsumer"},
        GOOD | {"at": "test_" + "a" * 200},
        GOOD | {"assignment": "mika@laptop"},
        GOOD | {"assignment": "../../etc"},
        GOOD | {"met": "2"},
        GOOD | {"met": True},
        GOOD | {"of": -1},
        GOOD | {"at_for": 1e9},
        GOOD | {"hints": 10**20},
        GOOD | {"symptom": "s09; drop"},
        GOOD | {"doctor": "Linux host 6.1"},
        GOOD | {"hand": "wave"},
        GOOD | {"hand_text": "two\nlines"},
        GOOD | {"hand_text": "\x1b[2J"},
        GOOD | {"hand_text": "x" * 10_000},
        GOOD | {"hand_text": ["a"]},
        [GOOD],
        None,
        "sign",
    ],
)
def test_a_sign_with_more_or_else_is_refused(wrong):
    """Code, paths, names of machines and accounts, wrong types: nothing but the named fields passes."""
    assert Sign.read(GOOD).data() == GOOD
    with pytest.raises(NotASign):
        Sign.read(wrong)


def test_every_requirement_of_the_course_may_be_named():
    """The names of all tests of all steps and exercises fit into a sign."""
    from tutorial.board.room import assignments, first_hint, places

    for name in assignments():
        for at in requirements(name):
            assert Sign.read(GOOD | {"assignment": name, "at": at})
            assert places(name)[at][1]
    assert "group" in first_hint("step02_consumer", "test_another_room_hears_nothing")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x" * 10_000, f"10000 characters, where {LONGEST_NICKNAME} are allowed"),
        ("", "empty"),
        (" \u3000 ", "empty"),
        ("mi\x1b[31mka", "control characters"),
        ("mi\nka", "control characters"),
        ("\u202emika", "control characters"),
        ("z\u0301\u0302\u0303\u0304", "accents"),
    ],
)
def test_a_nickname_that_will_not_do_is_one_line(name, said):
    """It is too long, empty, or has what nobody can see."""
    with pytest.raises(NotASign, match=said) as caught:
        nickname(name)
    assert "\n" not in str(caught.value)


def test_a_line_for_terminals_is_safe():
    """No control characters, no second line, and not too long."""
    assert line("\x1b]0;title\x07 Pause\r\nuntil\t11:15 \u2028") == "]0;title Pause until 11:15"
    assert len(line("x" * 10_000)) == 120


def test_who_needs_help_is_first(room):
    """A raised hand, then those at one requirement for long, then the others in the order they came."""
    tokens = {name: enter(room, name) for name in ("mika", "omar", "lena", "yuki", "tom")}
    for name, token in tokens.items():
        room.connected(token, 1)
        room.take(token, sign("step02_consumer", 1, at_for=700 if name == "lena" else 5))
    room.clock.now += 60
    room.take(tokens["yuki"], sign("step02_consumer", 1, hand="help", hand_text="Why?"))
    room.take(tokens["tom"], sign("step02_consumer", 1, hand="done", at_for=5000))
    people = room.view(nameless=False)["people"]
    assert [each["nickname"] for each in people] == ["yuki", "lena", "mika", "omar", "tom"]
    assert [each["stuck"] for each in people] == [False, True, False, False, False]
    [crowd] = room.view(nameless=False)["places"]
    assert (crowd["count"], crowd["stuck"]) == (5, 1)
    assert crowd["text"] == "Each room has a group of its own."
    assert crowd["hint"]


def test_the_clock_of_the_board_tells_who_is_stuck_and_who_came_late(room):
    """A learner's clock counts for nothing; somebody who was not heard of for a while is away, not stuck."""
    first = enter(room, "mika")
    room.connected(first, 1)
    room.take(first, sign("step01_setup", 1))
    room.clock.now += max(LATE, LONG) + 1
    late = enter(room, "omar")
    room.take(late, sign("step01_setup", 1))
    one, two = room.view(nameless=False)["people"]
    assert (one["nickname"], one["stuck"], one["late"]) == ("mika", True, 0)
    assert (two["nickname"], two["stuck"], two["late"]) == ("omar", False, 10)
    room.clock.now += 3600
    away = room.view(nameless=False)["people"][1]
    assert (away["nickname"], away["away"], away["stuck"]) == ("omar", True, False)


def test_real_minutes_are_beside_the_planned_ones(room):
    """For each section that people have left behind: the median, without the time that nobody was there."""
    for name, minutes in (("mika", 10), ("omar", 20), ("lena", 60)):
        token = enter(room, name)
        room.connected(token, 1)
        room.take(token, sign("step02_consumer", 0))
        room.clock.now += minutes * 30
        room.connected(token, -1)
        room.clock.now += 4 * 3600  # lunch, with the laptop closed
        room.connected(token, 1)
        room.clock.now += minutes * 30
        room.take(token, sign("step02_consumer", 3))  # the plain version is met
    [part] = room.times()
    assert (part["section"], part["median"], part["people"]) == ("The plain version", 20, 3)
    assert part["planned"] > 0


def test_names_can_be_hidden(room):
    """A projector has no nicknames, nothing people wrote and no timeline; `--names hidden` hides them all."""
    token = enter(room, "mika")
    room.take(token, sign("step01_setup", 1, hand="help", hand_text="Call me Mika"))
    assert "mika" in str(room.view(nameless=False)).lower()
    assert "mika" not in str(room.view(nameless=True)).lower()
    hidden = Room(CODE, KEY, hide_names=True)
    token = enter(hidden, "mika")
    hidden.take(token, sign("step01_setup", 1, hand="help", hand_text="Call me Mika"))
    for nameless in (False, True):
        assert "mika" not in str(hidden.view(nameless)).lower()
    assert "mika" not in closing_report(hidden).replace("Call me Mika", "").lower()


def test_the_report_shows_what_people_wrote_as_text(room):
    """Nicknames and hands are no Markdown: no link, no column, no heading."""
    token = enter(room, "[x](http://e) | # `")
    room.take(token, sign("step01_setup", 5, hand="done", hand_text="<script>"))
    text = closing_report(room)
    assert r"\[x\](http://e) \| \# \`" in text
    assert r"\<script\>" in text
    assert "5 of 5" in text


def test_the_report_has_a_timeline(room):
    """A row for each person in the order in which they came, and a dot when a requirement was first met."""
    began = room.clock.now = 999_000.0  # a whole number of five minutes
    for name in ("mika", "omar"):
        enter(room, name)
    mika, omar = room.people
    room.take(omar, sign("step02_consumer", 2))  # met before the board was open
    room.take(mika, sign("step02_consumer", 0))
    for minutes, met in ((0, 1), (10, 0), (12, 2), (40, 3), (59, 11)):
        room.clock.now = began + minutes * 60
        room.take(mika, sign("step02_consumer", met))
    room.take(omar, sign("step02_consumer", 3))
    times = [clock(began + minutes * 60) for minutes in range(0, 60, 5)]
    dots = {"mika": {0: "●", 10: "●", 40: "●", 55: "●" * 8}, "omar": {55: "●"}}
    rows = [[name, *(its.get(minutes, "") for minutes in range(0, 60, 5))] for name, its in dots.items()]
    lines = [f"| {' | '.join(row)} |" for row in (["who", *times], ["---"] * 13, *rows)]
    assert "\n".join(["when it was first met.", "", *lines, ""]) in closing_report(room)


def test_two_people_with_one_nickname(room):
    """The second one reads what to do; the same person may come back, and change the name."""
    token = enter(room, "Mika")
    with pytest.raises(Refused, match="Somebody is called mika already"):
        enter(room, "mika")
    assert enter(room, "Mika", token=token) == token
    assert enter(room, "Mika 2", token=token) == token
    assert len(room.people) == 1


def test_wrong_codes_are_limited_and_who_is_in_stays_in(room):
    """After ten of them in a minute an address waits; a learner who is in comes back even then."""
    token = enter(room, "mika")
    for _ in range(10):
        with pytest.raises(Refused, match="not this room's code"):
            enter(room, "omar", code="XXXXXX")
    with pytest.raises(Refused, match="Too many wrong codes"):
        enter(room, "omar")
    with pytest.raises(Refused, match="Too many wrong codes"):
        room.must_know(KEY, KEY, "192.0.2.1", "")
    assert enter(room, "mika", token=token, code="") == token
    assert room.let_in({"version": 1, "code": CODE, "nickname": "tom", "token": "b" * 32}, "192.0.2.2")
    room.clock.now += 61
    assert enter(room, "omar", code=CODE.lower())


def test_a_board_of_another_version_says_so(room):
    """One line names both versions and says what to do."""
    with pytest.raises(Refused, match=r"speaks version 1, your course version 7\..*git pull"):
        enter(room, "mika", version=7)
    with pytest.raises(Refused, match="no token"):
        enter(room, "mika", token="<script>")


async def test_a_change_is_seen_and_a_hand_comes_first(board):
    """What learners tell is what a page gets; the instructor's line and an open step reach every terminal."""
    signs = {"mika": sign("step02_consumer", 2, at_for=30), HTML: sign("step03_routing", 0, hints=3)}
    async with full_room(board, signs) as sockets:
        room = await board.room(lambda room: len(room["people"]) == 2)
        assert {each["nickname"]: (each["met"], each["live"]) for each in room["people"]} == {
            "mika": (2, True),
            HTML: (0, True),
        }
        await tell(sockets[HTML], sign("step03_routing", 1, hand="help"))
        room = await board.room(lambda room: room["people"][0]["hand"] == "help")
        assert room["people"][0]["nickname"] == HTML
        async with connect(f"ws{board.url[4:]}/page", origin=board.url, proxy=None) as page:
            await page.send(json.dumps({"type": "look", "key": KEY}))
            await page.send(json.dumps({"type": "say", "text": "Pause\x1b[2J until 11:15"}))
            await page.send(json.dumps({"type": "open", "text": "step03_routing"}))
            for nickname_ in signs:
                said = [json.loads(await sockets[nickname_].recv())["text"] for _ in range(2)]
                assert said[0] == "Pause [2J until 11:15"
                assert said[1].startswith("Step 3 (routing) is open: press n")
        await sockets["mika"].send(json.dumps({"type": "leave"}))
        await board.room(lambda room: len(room["people"]) == 1)


async def test_a_board_survives_what_it_should_not_get(board):
    """Flood, huge frame, foreign Origin, wrong key, unknown path, rubbish: refused, and the board lives."""
    learners, pages = f"ws{board.url[4:]}/learner", f"ws{board.url[4:]}/page"
    for address, origin in (
        (learners, board.url),  # a page has no business at the learners' door
        (learners, "http://evil.example"),
        (pages, None),
        (pages, "http://evil.example"),
        (pages, "http://127.0.0.1:1"),
        (f"{pages}/more", board.url),
    ):
        with pytest.raises(InvalidStatus, match="403"):
            async with connect(address, origin=origin, proxy=None):
                pass
    lone = json.dumps({"type": "join", "version": VERSION, "code": "\ud800", "token": "a" * 32})
    rubbish = "{", "[]", '{"type": "sign"}', "[" * 4000, b"\x00", json.dumps({"type": "join"})
    for frame in (*rubbish, lone, json.dumps({"type": "join", "version": "\ud800"})):
        async with connect(learners, proxy=None) as socket_:
            await socket_.send(frame)
            answer = json.loads(await socket_.recv())
            assert answer["type"] == "error"
            assert "\n" not in answer["text"]
            with pytest.raises(ConnectionClosed):
                await socket_.recv()
    async with learner(board, "mika") as socket_:
        await socket_.send("x" * 2**20)
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket_.recv()
        assert socket_.close_code == 1009
    async with learner(board, "mika") as socket_:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(100):
                await tell(socket_, sign("step01_setup", 1))
        assert socket_.close_code == 4008
    async with connect(pages, origin=board.url, proxy=None) as page:
        await page.send(json.dumps({"type": "look", "key": "wrong"}))
        assert "key" in json.loads(await page.recv())["text"]
    assert board.get().status_code == 200
    assert "default-src 'none'" in board.get().headers["content-security-policy"]
    assert board.get(headers={"Host": "evil.example"}).status_code == 400
    assert board.get("/.env").status_code == 404
    assert CODE not in board.get().text + board.get("/board.js").text
    assert board.running


@pytest.mark.long
async def test_a_thousand_wrong_codes():
    """Each gets one line, a learner who is in goes on, and the board lives."""
    with Board() as board:
        async with learner(board, "mika", "a" * 32) as mika:
            assert await tell(mika, sign("step01_setup", 1)) == {"type": "seen"}
            said = set()
            for _ in range(20):

                async def guess():
                    async with learner(board, "x", code="XXXXXX") as socket_:
                        return json.loads(await socket_.recv())["text"].partition(".")[0]

                said |= set(await asyncio.gather(*(guess() for _ in range(50))))
            assert said == {"That is not this room's code", "Too many wrong codes came from your address"}
            assert await tell(mika, sign("step01_setup", 2)) == {"type": "seen"}
        async with learner(board, "mika", "a" * 32) as mika:
            assert await tell(mika, sign("step01_setup", 3)) == {"type": "seen"}
        assert board.running


def test_what_cannot_be_opened_is_one_line(tmp_path):
    """A port that is taken, a report that can't be written, a code that is none."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        said = refusal("board", "--host", "127.0.0.1", "--port", str(port), code=2)
        assert said.endswith(f"another program listens there. Try another: tutorial board --port {port + 1}")
    assert "six letters" in refusal("board", "--code", "123456", code=2)
    said = refusal("board", "--host", "127.0.0.1", "--report", str(tmp_path / "no/where.md"), code=2)
    assert "The report cannot be written to" in said


async def test_its_end_forgets_everything_but_the_report(tmp_path, monkeypatch):
    """Ctrl-C writes the report, with the room's time of day; nothing else is left, and no process."""
    report, began = tmp_path / "report.md", int(time.time())
    monkeypatch.setenv("TZ", "Nepal-5:45")
    with Board("--report", str(report)) as board:
        async with full_room(board, {"mika": sign("step01_setup", 2)}):
            await board.room(lambda room: room["people"][0]["met"] == 2)
            children = psutil.Process(board.pid).children(recursive=True)
            assert children, "its broker"
            psutil.Process(board.pid).send_signal(signal.SIGINT)
            await asyncio.to_thread(board.wait_for_output, "The report is in", 60)
        psutil.wait_procs(children, timeout=60)
        assert not any(child.is_running() for child in children)
    assert "| mika | step 1 \\(setup\\) |" in report.read_text().replace("(setup)", "\\(setup\\)")
    times = (time.gmtime(when + 5.75 * 3600) for when in range(began, int(time.time()) + 1))
    lines = {f"- {time.strftime('%H:%M', when)} mika joined" for when in times}
    assert lines & set(report.read_text().splitlines())


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.browser
async def test_the_page_is_live_and_comes_back(browser):
    """What the instructor sees: the hand first, HTML as text, the line that was sent."""
    from playwright.async_api import expect

    with Board() as board:
        page = await browser.new_page()
        await page.goto(board.page)
        await expect(page.get_by_role("status")).to_have_text("Live.")
        await expect(page.locator("#counts")).to_have_text("Nobody has joined yet.")
        signs = {"mika": sign("step02_consumer", 2), HTML: sign("step02_consumer", 2, at_for=1200)}
        async with full_room(board, signs) as sockets:
            tiles = page.locator(".tile")
            await expect(tiles).to_have_count(2)
            await expect(tiles.nth(0)).to_contain_text(f"{HTML}Stuck?")
            await expect(page.locator("#most")).to_contain_text("2 of 2 are at: ")
            await tell(sockets["mika"], sign("step02_consumer", 3, hand="help", hand_text="<i>Why?</i>"))
            await expect(tiles.nth(0)).to_contain_text("Needs help")
            await expect(tiles.nth(0)).to_contain_text("<i>Why?</i>")
            # By the keyboard alone.
            await page.get_by_label("One line").focus()
            await page.keyboard.type("Pause until 11:15")
            await page.keyboard.press("Enter")
            await expect(page.locator("#said")).to_have_text("Pause until 11:15")
            for name, context in {
                "wide": {"viewport": {"width": 1440, "height": 900}},
                "narrow, dark": {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"},
                "projector": {"viewport": {"width": 1024, "height": 768}},
            }.items():
                other = await browser.new_page(**context)
                await other.goto(board.projector if name == "projector" else board.page)
                await expect(other.get_by_role("status")).to_have_text("Live.")
                await expect(other.locator("#places li")).to_have_count(2)
                assert await looked_at(other) == [], name
                width = await other.evaluate("document.documentElement.scrollWidth")
                assert width <= context["viewport"]["width"], name
                text = await other.content()
                assert ("mika" in text) == (name != "projector")
                await other.close()
        board.kill()
        await expect(page.get_by_role("status")).to_contain_text("Trying again")
        await asyncio.to_thread(board.start)
        await expect(page.get_by_role("status")).to_have_text("Live.")
        await expect(page.locator("#counts")).to_have_text("Nobody has joined yet.")
        stranger = await browser.new_page()
        await stranger.goto(board.url)
        await expect(stranger.get_by_role("status")).to_contain_text("This page is the instructor's")
        await stranger.goto(f"{board.url}/?#wrong")
        await expect(stranger.get_by_role("status")).to_contain_text("not this board's key")
        await page.close()


def test_what_is_kept_is_the_last_sign(tmp_path, monkeypatch):
    """It is for nobody else to read, and what can't be read counts as not joined."""
    monkeypatch.setenv("TUTORIAL_CLASSROOM", str(tmp_path / "joined.json"))
    joined = Joined("http://127.0.0.1:1", CODE, "mika", "t" * 32, sign("step01_setup", 1), 5.0)
    joined.write()
    assert Joined.read() == joined
    assert (tmp_path / "joined.json").stat().st_mode & 0o077 == 0
    assert replace(joined, since=0).sign_now().at_for == 86_400
    assert replace(joined, since=10**12).sign_now().at_for == 0, "a clock that was set back"
    (tmp_path / "joined.json").write_text('{"url": 1}')
    assert Joined.read() is None
