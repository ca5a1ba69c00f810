"""What the board knows: people, their last signs of life, and what has happened. In memory only."""

import hmac
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from statistics import median
from typing import Any

from tutorial.course.assignment import Assignment, UnknownAssignment, all_exercises, step_assignment
from tutorial.course.steps import all_steps
from tutorial.learn.explain import graded_hints
from tutorial.learn.sections import sections
from tutorial.learn.sign import VERSION, NotASign, Sign, line, nickname

LETTERS = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels, so that a code is never a word
LONG = 10 * 60  # seconds at one requirement after which a learner may be stuck
LATE = 10 * 60  # seconds after the first learner
SILENT = 15 * 60  # seconds without a sign or a connection, which no longer count as work
WRONG_CODES = 10  # per address in a minute
MOST_PEOPLE = 500
EVENTS_KEPT = 5000


class Refused(ValueError):
    """Raised when the board lets somebody not in; its text says why and what to do."""


@dataclass
class Person:
    """A learner, for as long as the board runs.

    Attributes:
        number: In the order in which they came.
        nickname: What they want to be called.
        joined: When they came, like all times here in seconds on this machine's clock.
        sign: The last sign of life.
        at_since: When the requirement in work became that.
        hand_since: When the hand went up.
        seen: When the last sign came.
        sockets: How many connections they have now.
        minutes: For each assignment and section, how many minutes they worked on it.
        finished: The sections they have left behind.
    """

    number: int
    nickname: str
    joined: float
    sign: Sign = field(default_factory=Sign)
    at_since: float = 0
    hand_since: float = 0
    seen: float = 0
    sockets: int = 0
    minutes: dict[tuple[str, str], float] = field(default_factory=dict)
    finished: set[tuple[str, str]] = field(default_factory=set)


@cache
def assignments() -> dict[str, Assignment]:
    """Return all steps and exercises that this board knows."""
    steps = [step_assignment(step.name) for step in all_steps()]
    return {assignment.name: assignment for assignment in [*steps, *all_exercises()]}


@cache
def places(assignment: str) -> dict[str, tuple[str, str]]:
    """Return section and text of each requirement of an assignment; nothing if that is unknown here."""
    if assignment not in assignments():
        return {}
    parts = sections(assignments()[assignment])
    return {required.name: (title, required.text) for title, part in parts.items() for required in part}


@cache
def first_hint(assignment: str, name: str) -> str:
    """Return the gentlest hint for a requirement, or an empty text."""
    if name not in places(assignment):
        return ""
    return next(iter(graded_hints(assignments()[assignment], name)), "")


class Room:
    """The people of one room.

    Args:
        code: The six letters that let a learner in; new ones if empty.
        key: What lets a page see the room and speak to it; a new one if empty.
        hide_names: Whether no page ever shows a nickname.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        code: str = "",
        key: str = "",
        hide_names: bool = False,
        clock: Callable[[], float] = time.time,
    ):
        self.code = code.upper() or "".join(secrets.choice(LETTERS) for _ in range(6))
        self.key = key or secrets.token_hex(10)
        self.hide_names, self.clock = hide_names, clock
        self.people: dict[str, Person] = {}
        self.events: deque[tuple[float, str]] = deque(maxlen=EVENTS_KEPT)
        self.said = ""
        self.opened = ""
        self._count = 0
        self._wrong: dict[str, list[float]] = {}

    def let_in(self, hello: dict[str, Any], address: str) -> str:
        """Let a learner in, for the first time or again; return the token that names the person.

        Args:
            hello: What the learner's course has said first.
            address: Where it came from, for the limit on wrong codes.

        Raises:
            Refused: Version, code or nickname will not do.
        """
        version, token = hello.get("version"), hello.get("token")
        if version != VERSION:
            raise Refused(
                f"This board speaks version {VERSION}, your course version {str(version)[:10]}. "
                "Use the same version of the course: git pull"
            )
        if not (isinstance(token, str) and 16 <= len(token) <= 64 and token.isalnum() and token.isascii()):
            raise Refused("Your course sent no token. Join again: tutorial join URL CODE")
        if token not in self.people:
            self._check_code(hello.get("code"), address)
        try:
            name = nickname(str(hello.get("nickname", "")))
        except NotASign as error:
            raise Refused(str(error)) from None
        same = [other for its, other in self.people.items() if its != token]
        if name.casefold() in {other.nickname.casefold() for other in same}:
            raise Refused(
                f"Somebody is called {name} already. Choose another: tutorial join URL CODE NICKNAME"
            )
        if token not in self.people:
            if len(self.people) >= MOST_PEOPLE:
                raise Refused(f"The board is full: {MOST_PEOPLE} people.")
            self._count += 1
            now = self.clock()
            self.people[token] = Person(self._count, name, now, at_since=now, seen=now)
            self.note(name, "joined")
        self.people[token].nickname = name
        return token

    def _check_code(self, code: object, address: str) -> None:
        now = self.clock()
        wrong = [when for when in self._wrong.get(address, []) if now - when < 60]
        if len(wrong) >= WRONG_CODES:
            raise Refused("Too many wrong codes came from your address. Wait a minute.")
        if not self.matches(self.code, str(code).upper()):
            self._wrong = {each: its for each, its in self._wrong.items() if now - its[-1] < 60}
            self._wrong[address] = [*wrong, now]
            raise Refused("That is not this room's code. Look at the board, or ask.")

    def may_look(self, key: object, address: str) -> bool:
        """Tell whether a page has the key; a wrong one counts like a wrong code."""
        now = self.clock()
        wrong = [when for when in self._wrong.get(address, []) if now - when < 60]
        if len(wrong) < WRONG_CODES and self.matches(self.key, str(key)):
            return True
        self._wrong[address] = [*wrong, now][-WRONG_CODES:]
        return False

    @staticmethod
    def matches(secret: str, text: str) -> bool:
        """Compare in a time that tells nothing about the secret."""
        return hmac.compare_digest(secret.encode(), text.encode())

    def note(self, name: str, what: str) -> None:
        """Keep something that has happened."""
        self.events.append((self.clock(), f"{name} {what}" if not self.hide_names or not name else what))

    def take(self, token: str, sign: Sign) -> None:
        """Take a sign of life."""
        person, now = self.people[token], self.clock()
        self._count_time(person, now)
        old, person.sign, person.seen = person.sign, sign, now
        person.at_since = now - sign.at_for
        before = (old.assignment, section(old))
        if old.assignment and before != (sign.assignment, section(sign)):
            # Back in an earlier section, that one is open again.
            person.finished.discard((sign.assignment, section(sign)))
            if sign.met >= old.met or sign.assignment != old.assignment:
                person.finished.add(before)
        if sign.assignment != old.assignment and sign.assignment:
            self.note(person.nickname, f"is at {title(sign.assignment)}")
        elif sign.of and sign.met == sign.of > old.met:
            self.note(person.nickname, f"has met all of {title(sign.assignment)}")
        if (sign.hand, sign.hand_text) != (old.hand, old.hand_text):
            person.hand_since = now
            said = f": {sign.hand_text}" if sign.hand_text else ""
            hands = {"help": f"asks for help{said}", "done": f"says done{said}", "": "lowers the hand"}
            self.note(person.nickname, hands[sign.hand])

    def _count_time(self, person: Person, now: float) -> None:
        gap = now - person.seen
        if person.sign.at and (person.sockets or gap < SILENT):
            part = person.sign.assignment, section(person.sign)
            person.minutes[part] = person.minutes.get(part, 0) + gap / 60

    def leave(self, token: str) -> None:
        """Forget a learner."""
        if person := self.people.pop(token, None):
            self.note(person.nickname, "left")

    def say(self, text: str) -> str:
        """Keep a line for everybody; return it as it is sent."""
        self.said = line(text)
        self.note("", f"You said: {self.said}" if self.said else "You took your line back")
        return self.said

    def call_open(self, name: str) -> str:
        """Call a step open; return the line for everybody, or an empty text for an unknown step."""
        if name not in assignments() or assignments()[name].exercise:
            return ""
        self.opened = name
        number = int(name[4:6])
        self.note("", f"You opened {title(name)}")
        return f"{title(name).capitalize()} is open: press n in watch, or tutorial start {number} --keep"

    def view(self, nameless: bool) -> dict[str, Any]:
        """Return what a page shows.

        Args:
            nameless: For a projector: without nicknames, and without what people wrote.
        """
        nameless = nameless or self.hide_names
        now = self.clock()
        people = sorted(self.people.values(), key=lambda person: (self.need(person, now), person.number))
        start = min((person.joined for person in people), default=now)
        return {
            "type": "room",
            "code": self.code,
            "nameless": nameless,
            "said": self.said,
            "opened": self.opened,
            "steps": [{"name": step.name, "title": title(step.name)} for step in all_steps()],
            "people": [self.tile(person, now, start, nameless) for person in people],
            "places": self.crowds(now),
            "sections": self.times(),
            "events": []
            if nameless
            else [{"clock": clock(when), "what": what} for when, what in list(self.events)[-200:]][::-1],
        }

    def need(self, person: Person, now: float) -> tuple[int, float]:
        """Return how much a person needs the instructor: the smaller, the more. It ranks nobody."""
        sign = person.sign
        if sign.hand == "help":
            return 0, person.hand_since
        if self.stuck(person, now):
            return 1, person.at_since
        return (2 if sign.doctor == "bad" else 3), 0

    def stuck(self, person: Person, now: float) -> bool:
        """Tell whether a person has been at one requirement for long, and not left."""
        long = now - person.at_since > LONG
        return bool(person.sign.at) and person.sign.hand != "done" and long and not self.away(person, now)

    def away(self, person: Person, now: float) -> bool:
        """Tell whether nothing has been heard of a person for a while."""
        return not person.sockets and now - person.seen > SILENT

    def tile(self, person: Person, now: float, start: float, nameless: bool) -> dict[str, Any]:
        """Return what a page shows of a person."""
        sign = person.sign
        part, text = places(sign.assignment).get(sign.at, ("", ""))
        late = person.joined - start
        return {
            "number": person.number,
            "nickname": "" if nameless else person.nickname,
            "assignment": title(sign.assignment),
            "section": part,
            "met": sign.met,
            "of": sign.of,
            "at": text or ("A requirement that this board doesn't know" if sign.at else ""),
            "at_for": int(now - person.at_since) if sign.at else 0,
            "hints": sign.hints,
            "seen": int(now - person.seen),
            "live": person.sockets > 0,
            "away": self.away(person, now),
            "doctor": sign.doctor,
            "hand": sign.hand,
            "hand_text": "" if nameless else sign.hand_text,
            "hand_for": int(now - person.hand_since) if sign.hand else 0,
            "stuck": self.stuck(person, now),
            "late": int(late / 60) if late > LATE else 0,
        }

    def crowds(self, now: float) -> list[dict[str, Any]]:
        """Return the requirements in work, the one with most people first."""
        found: dict[tuple[str, str], list[Person]] = {}
        for person in self.people.values():
            if person.sign.at and not self.away(person, now):
                found.setdefault((person.sign.assignment, person.sign.at), []).append(person)
        crowds = []
        for (name, at), people in sorted(found.items(), key=lambda each: (-len(each[1]), each[0])):
            part, text = places(name).get(at, ("", "A requirement that this board doesn't know"))
            symptoms = Counter(person.sign.symptom for person in people if person.sign.symptom)
            crowds.append(
                {
                    "assignment": title(name),
                    "section": part,
                    "text": text,
                    "count": len(people),
                    "stuck": sum(self.stuck(person, now) for person in people),
                    "hint": first_hint(name, at),
                    "symptoms": [symptom for symptom, _ in symptoms.most_common(3)],
                }
            )
        return crowds

    def times(self) -> list[dict[str, Any]]:
        """Return for each section that somebody has left behind the planned minutes and the real ones."""
        rows = []
        for name, assignment in assignments().items():
            planned = assignment.about["minutes"]
            planned = planned if isinstance(planned, dict) else {"": planned}
            for part, minutes in planned.items():
                took = [
                    person.minutes[name, part]
                    for person in self.people.values()
                    if (name, part) in person.finished and (name, part) in person.minutes
                ]
                if took:
                    rows.append(
                        {
                            "assignment": title(name),
                            "section": part,
                            "planned": minutes,
                            "median": round(median(took), 1),
                            "people": len(took),
                        }
                    )
        return rows


def section(sign: Sign) -> str:
    """Return the section of the requirement that a sign is about, or an empty text."""
    return places(sign.assignment).get(sign.at, ("", ""))[0]


def title(name: str) -> str:
    """Return what a person calls an assignment; `another exercise`, if it is unknown here."""
    if not name:
        return ""
    try:
        return assignments()[name].title
    except (KeyError, UnknownAssignment):
        return "another exercise"


def clock(when: float) -> str:
    """Return the time of day."""
    return time.strftime("%H:%M", time.localtime(when))
