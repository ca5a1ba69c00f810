"""Tell an instructor's board where a learner is, if the learner has joined one.

A thread of its own does it, with the newest sign of life only. Nothing here may delay or break a check.
"""

import contextlib
import json
import os
import random
import re
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tutorial.course.assignment import Assignment
from tutorial.course.steps import ROOT
from tutorial.learn.playground import State
from tutorial.learn.sections import sections
from tutorial.learn.sign import VERSION, NotASign, Sign, line, nickname

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

    from tutorial.learn.check import Verdict

FIRST_DELAY = 1.0  # seconds until the next try to reach a board; doubled up to
LONGEST_DELAY = 15.0
AT_THE_END = 0.25  # seconds that a command which ends waits for a connection; for an answer, four times that
PATIENCE = 5.0  # seconds to wait for a board's answer
LARGEST = 4096  # bytes of a frame
REACHED_AGAIN = "The board is back, and shows where you are."
NOT_REACHED = "The board doesn't answer. Your work goes on, and it is tried again by itself."
COLOURS = ("amber", "blue", "coral", "green", "indigo", "jade", "lilac", "olive", "ruby", "silver", "teal")
ANIMALS = ("badger", "crane", "dolphin", "fox", "heron", "lynx", "marten", "otter", "panda", "robin", "wren")


class NoBoard(RuntimeError):
    """Raised when a board can't be joined; its text says why and what to do."""


class Refused(NoBoard):
    """Raised when a board answers, and says no."""


@dataclass(frozen=True)
class Joined:
    """That a learner has joined a board, kept in the course's directory for all of their playgrounds.

    Attributes:
        url: The board's address, such as `http://192.0.2.7:8800`.
        code: The room's six letters.
        nickname: What the board calls the learner.
        token: What proves to the board that it is the same learner again.
        sign: The last sign of life.
        since: When its requirement became the one in work, in seconds since the epoch.
    """

    url: str
    code: str
    nickname: str
    token: str
    sign: Sign = field(default_factory=Sign)
    since: float = 0

    @classmethod
    def read(cls) -> "Joined | None":
        """Return what is kept; None if no board was joined, or what is kept can't be read."""
        try:
            noted = json.loads(place().read_text(encoding="utf-8"))
            return cls(**noted | {"sign": Sign.read(noted["sign"])})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write(self) -> None:
        """Keep it, for nobody else to read.

        Raises:
            OSError: It cannot be written.
        """
        handle, new = tempfile.mkstemp(prefix=f"{place().name}.", dir=place().parent)
        try:
            with open(handle, "w", encoding="utf-8") as file:
                json.dump(asdict(self), file, ensure_ascii=False)
            os.replace(new, place())
        except OSError:
            os.unlink(new)
            raise

    def hello(self) -> str:
        """Return what opens a conversation with the board."""
        mine = {"code": self.code, "nickname": self.nickname, "token": self.token}
        return json.dumps({"type": "join", "version": VERSION, **mine})

    def news(self) -> str:
        """Return what tells the board where the learner is now."""
        return json.dumps({"type": "sign", **self.sign_now().data()})

    def sign_now(self) -> Sign:
        """Return the last sign with its seconds as they are now."""
        if not self.sign.at:
            return self.sign
        # Only a difference is sent: this machine's clock may be wrong.
        return replace(self.sign, at_for=int(min(max(0, time.time() - self.since), 86_400)))


def place() -> Path:
    """Return where it is kept: `TUTORIAL_CLASSROOM`, if several people share one course, else beside it."""
    return Path(os.environ.get("TUTORIAL_CLASSROOM") or ROOT / ".classroom.json")


def base(url: str) -> str:
    """Return a board's address as a person may write it in full.

    Raises:
        NoBoard: It is none.
    """
    text = url.strip() if "://" in url else f"http://{url.strip()}"
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 80) > 0
    except ValueError:
        good = False
    if not good or not re.fullmatch(r"[\w.:\[\]%-]+", parts.netloc):
        raise NoBoard(f"{line(url)!r} is no address of a board. Type it as the board shows it: http://…:8800")
    return f"{parts.scheme}://{parts.netloc}"


@contextlib.contextmanager
def conversation(joined: Joined) -> Iterator["ClientConnection"]:
    """Open a conversation with the board.

    Raises:
        Refused: The board says no.
        NoBoard: There is no such board.
    """
    from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidURI, WebSocketException
    from websockets.sync.client import connect

    parts = urlsplit(joined.url)
    try:
        with connect(
            f"ws{joined.url.removeprefix('http')}/learner",
            # Named, so that no redirect leads elsewhere: a hotel's login page gets no code.
            address=(parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)),
            proxy=None,  # a board is in the room
            compression=None,
            max_size=LARGEST,
            open_timeout=PATIENCE,
            close_timeout=0.2,
        ) as websocket:
            websocket.send(joined.hello())
            answer = heard(websocket.recv(PATIENCE))
            if answer["type"] != "joined":
                raise Refused(answer["text"] or "The board refuses.")
            yield websocket
    except (InvalidHandshake, InvalidMessage, InvalidURI, ValueError) as error:
        raise NoBoard(
            f"What answers at {joined.url} is no board of this course ({line(str(error))})."
        ) from None
    except (OSError, TimeoutError, WebSocketException) as error:
        reason = line(str(error)) or "no answer"
        raise NoBoard(
            f"No board answers at {joined.url} ({reason}). Is your laptop in the room's network?"
        ) from None


def deliver(joined: Joined, message: str) -> None:
    """Send the board one message, and wait until it has seen that. It raises what `conversation` does."""
    with conversation(joined) as websocket:
        websocket.send(message)
        websocket.recv(PATIENCE)


def heard(message: str | bytes) -> dict[str, str]:
    """Return a message of the board: its `type`, and its `text` as a line that is safe to print."""
    try:
        data: dict[str, Any] = json.loads(message)
        return {"type": str(data["type"]), "text": line(str(data.get("text", "")))}
    except (ValueError, TypeError, KeyError, RecursionError):
        return {"type": "", "text": ""}


def join(url: str, code: str, name: str | None) -> Joined:
    """Join a board and keep that.

    Args:
        url: The board's address.
        code: The room's code.
        name: A nickname; one is made up if there is none.

    Raises:
        NotASign: The nickname is none.
        NoBoard: The board can't be joined.
        OSError: It cannot be kept.
    """
    made_up = f"{secrets.choice(COLOURS)} {secrets.choice(ANIMALS)}"
    before = Joined.read()
    joined = Joined(
        base(url),
        line(code).upper()[:20],
        nickname(name if name is not None else made_up),
        before.token if before and before.url == base(url) else secrets.token_hex(16),
    )
    deliver(joined, joined.news())
    joined.write()
    return joined


def leave() -> Joined | None:
    """Forget the board, and ask it to forget the learner; return what was left, or None."""
    joined = Joined.read()
    if joined:
        place().unlink(missing_ok=True)
        with contextlib.suppress(NoBoard):
            deliver(joined, json.dumps({"type": "leave"}))
    return joined


def raise_hand(hand: str, text: str) -> Joined:
    """Raise a hand, or lower it, and wait until the board has seen it.

    Args:
        hand: `help`, `done` or `down`.
        text: A line to show with it.

    Raises:
        NoBoard: No board was joined, or it doesn't answer; then it sees the hand later.
        OSError: It cannot be kept.
    """
    joined = Joined.read()
    if joined is None:
        raise NoBoard("You haven't joined a board. Your instructor has its address: tutorial join URL CODE")
    up = "" if hand == "down" else hand
    joined = replace(joined, sign=replace(joined.sign, hand=up, hand_text=line(text) if up else ""))
    joined.write()
    if _sender:
        _sender.wake()
        return joined
    try:
        deliver(joined, joined.news())
    except Refused:
        raise
    except NoBoard as error:
        raise NoBoard(f"{error} It sees your hand as soon as it answers.") from None
    return joined


def turn_hand() -> str:
    """Raise the hand for help, or lower it if it is up; return what to say about that."""
    joined = Joined.read()
    if joined is None:
        return "You haven't joined a board: tutorial join URL CODE"
    try:
        raise_hand("down" if joined.sign.hand else "help", "")
    except (NoBoard, OSError) as error:
        return str(error)
    return "Your hand is down." if joined.sign.hand else "Your hand is up. To lower it, press r again."


def tell(
    state: State | None = None,
    assignment: Assignment | None = None,
    verdict: "Verdict | None" = None,
    doctor: bool | None = None,
) -> None:
    """Tell the board where the learner is, if one was joined. It returns at once, and raises nothing.

    Args:
        state: What the playground remembers.
        assignment: What it is at.
        verdict: What the last check has found, if there was one.
        doctor: Whether the machine is ready, if that was examined.
    """
    joined = Joined.read()
    if joined is None:
        return
    sign = joined.sign
    if state and assignment:
        names = [required.name for part in sections(assignment).values() for required in part]
        met = set(names) & set(state.done.get(assignment.name, []))
        first = next((name for name in names if name not in met), "")
        sign = replace(
            sign,
            assignment=assignment.name,
            met=len(met),
            of=len(names),
            at=state.stuck if state.stuck in names and state.stuck not in met else first,
            hints=sum(state.hints.values()),
        )
    if verdict:
        hint = verdict.problems[0].hint if verdict.problems else ""
        found = re.search(r"docs/symptoms\.md#([a-z]*\d+)", hint)
        sign = replace(sign, symptom=found[1] if found else "")
    if doctor is not None:
        sign = replace(sign, doctor="good" if doctor else "bad")
    moved = (sign.assignment, sign.at) != (joined.sign.assignment, joined.sign.at)
    since = time.time() if moved else joined.since
    with contextlib.suppress(OSError, NotASign):
        # Read again: what does not pass here is not sent, and not kept.
        replace(joined, sign=Sign.read(sign.data()), since=since).write()
    sender().wake()


class Sender(threading.Thread):
    """Keeps the board informed until the process ends.

    Args:
        say: Prints a line for the learner; None for a command that ends soon.
    """

    def __init__(self, say: Callable[[str], None] | None):
        super().__init__(daemon=True, name="classroom")
        self.say = say
        self.reached: bool | None = None  # None until it is known
        self.last_line = ("", 0.0)  # the instructor's last line, and when it came
        self._news, self._seen, self._tries = threading.Event(), threading.Event(), threading.Event()
        self._trouble = ""

    def wake(self) -> None:
        """Take note that there is something new to send."""
        self._seen.clear()
        self._news.set()

    def finish(self) -> None:
        """Wait a moment for what is not sent yet; in a command that ends, say it if that was too short."""
        self._tries.wait(4 * AT_THE_END)
        for _ in range(4):
            if self._seen.wait(AT_THE_END) or not self.reached:
                break
        if not self._seen.is_set() and self.say is None and Joined.read():
            print(self._trouble or "The board wasn't reached. Your work isn't affected.", file=sys.stderr)

    def run(self) -> None:
        """Called in the thread: reach the board, again and again."""
        import websockets.sync.client  # noqa: F401 - takes a while, in which a command doesn't wait

        self._tries.set()
        delay = FIRST_DELAY
        while joined := Joined.read():
            try:
                with conversation(joined) as websocket:
                    delay = FIRST_DELAY
                    self._reached(True)
                    self._talk(websocket, joined)
            except Refused as error:
                self._reached(False, f"{error} Your work goes on. To join again: tutorial join URL CODE")
                delay = LONGEST_DELAY
            except NoBoard:
                self._reached(False, NOT_REACHED)
            # Random, so that a room full of learners does not return in one moment.
            time.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 - not a secret
            delay = min(2 * delay, LONGEST_DELAY)

    def _talk(self, websocket: "ClientConnection", met: Joined) -> None:
        from websockets.exceptions import ConnectionClosed

        ended = threading.Event()
        threading.Thread(target=self._listen, args=(websocket, ended), daemon=True).start()
        self._news.set()
        while self._news.wait():
            self._news.clear()
            joined = Joined.read()
            if ended.is_set() or joined is None or (joined.url, joined.hello()) != (met.url, met.hello()):
                return  # gone, or another board has been joined meanwhile
            with contextlib.suppress(ConnectionClosed):
                websocket.send(joined.news())

    def _listen(self, websocket: "ClientConnection", ended: threading.Event) -> None:
        with contextlib.suppress(Exception):  # whatever ends a connection
            for message in websocket:
                said = heard(message)
                if said["type"] == "seen" and not self._news.is_set():
                    self._seen.set()
                elif said["type"] == "line" and said["text"] not in ("", self.last_line[0]):
                    self.last_line = said["text"], time.monotonic()
                    self._say(f"Your instructor: {said['text']}")
        ended.set()
        self._news.set()

    def _reached(self, now: bool, otherwise: str = "") -> None:
        """Say it once if the board is gone, and once if it is back."""
        if now != self.reached and (not now or self.reached is not None):
            self._say(REACHED_AGAIN if now else otherwise)
        self.reached, self._trouble = now, otherwise

    def _say(self, text: str) -> None:
        if self.say:
            with contextlib.suppress(Exception):  # a terminal that is gone
                self.say(text)


_sender: Sender | None = None


def sender(say: Callable[[str], None] | None = None) -> Sender:
    """Return what sends, started."""
    global _sender
    if _sender is None or not _sender.is_alive():
        _sender = Sender(say)
        _sender.start()
    return _sender


def finish() -> None:
    """Let the newest sign of life reach the board, before a command ends."""
    if _sender:
        _sender.finish()


def listen(say: Callable[[str], None]) -> None:
    """Let what concerns the board be printed as it comes, in a command that stays: `tutorial watch`."""
    if Joined.read():
        sender(say).wake()


def reminder() -> str:
    """Return the instructor's last line while it is worth repeating on a cleared terminal, else nothing."""
    text, came = _sender.last_line if _sender else ("", 0.0)
    return f"Your instructor: {text}" if text and time.monotonic() - came < 900 else ""
