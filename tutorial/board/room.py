"""What the board knows: people, their last signs of life, and what has happened. In memory only."""

import hmac
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, lru_cache
from statistics import median
from typing import Any

from tutorial.course.assignment import Assignment, all_exercises, step_assignment
from tutorial.course.steps import all_steps, number
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
UNKNOWN = "A requirement that this board doesn't know"


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
        seen: When the last sign came, or a connection began or ended.
        sockets: How many connections they have now.
        minutes: For each assignment and section, how many minutes they worked on it.
        finished: The sections they have left behind.
        reached: For each assignment and count of requirements, when they had met so many.
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
    reached: dict[tuple[str, int], float] = field(default_factory=dict)


@cache
def assignments() -> dict[str, Assignment]:
    """Return all steps and exercises that this board knows."""
    steps = [step_assignment(step.name) for step in all_steps()]
    return {assignment.name: assignment for assignment in [*steps, *all_exercises()]}


@lru_cache(128)  # bounded: a sign may name anything
def places(assignment: str) -> dict[str, tuple[str, str]]:
    """Return section and text of each requirement of an assignment; nothing if that is unknown here."""
    if assignment not in assignments():
        return {}
    parts = sections(assignments()[assignment])
    return {required.name: (title, required.text) for title, part in parts.items() for required in part}


@lru_cache(1024)
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
                f"This board speaks version {VERSION}, your course version {line(str(version))[:10]}. "
                "Use the same version of the course: git pull"
            )
        if not (isinstance(token, str) and 16 <= len(token) <= 64 and token.isalnum() and token.isascii()):
            raise Refused("Your course sent no token. Join again: tutorial join URL CODE")
        if token not in self.people:
            wrong = "That is not this room's code. Look at the board, or ask."
            self.must_know(self.code, str(hello.get("code")).upper(), address, wrong)
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

    def must_know(self, secret: str, text: str, address: str, otherwise: str) -> None:
        """Let pass the code or the key; wrong ones are counted by the address that they came from.

        Raises:
            Refused: It is wrong, with the text `otherwise`; or too many wrong ones came from there.
        """
        now = self.clock()
        wrong = {each: [when for when in its if now - when < 60] for each, its in self._wrong.items()}
        self._wrong = {each: its for each, its in wrong.items() if its}
        if len(self._wrong.get(address, [])) >= WRONG_CODES:
            raise Refused("Too many wrong codes came from your address. Wait a minute.")
        # In a time that tells nothing about the secret.
        if not hmac.compare_digest(secret.encode(), text.encode(errors="replace")):
            self._wrong.setdefault(address, []).append(now)
            raise Refused(otherwise)

    def note(self, name: str, what: str) -> None:
        """Keep something that has happened."""
        self.events.append((self.clock(), what if self.hide_names or not name else f"{name} {what}"))

    def take(self, token: str, sign: Sign) -> None:
        """Take a sign of life."""
        person, now = self.people[token], self.clock()
        self._seen(person, now)
        old, person.sign = person.sign, sign
        person.at_since = now - sign.at_for
        before = (old.assignment, section(old))
        if old.assignment and before != (sign.assignment, section(sign)):
            # Back in an earlier section, that one is open again.
            person.finished.discard((sign.assignment, section(sign)))
            if sign.met >= old.met or sign.assignment != old.assignment:
                person.finished.add(before)
        if sign.assignment == old.assignment:
            for count in range(old.met + 1, min(sign.met, len(places(sign.assignment))) + 1):
                person.reached.setdefault((sign.assignment, count), now)
            if sign.met == sign.of > old.met:
                self.note(person.nickname, f"has met all of {title(sign.assignment)}")
        elif sign.assignment:  # what is met there was met unseen
            self.note(person.nickname, f"is at {title(sign.assignment)}")
        if (sign.hand, sign.hand_text) != (old.hand, old.hand_text):
            person.hand_since = now
            said = f": {sign.hand_text}" if sign.hand_text else ""
            hands = {"help": f"asks for help{said}", "done": f"says done{said}", "": "lowers the hand"}
            self.note(person.nickname, hands[sign.hand])

    def connected(self, token: str, change: int) -> None:
        """Take note that a learner has a connection more (1) or less (-1)."""
        if person := self.people.get(token):
            self._seen(person, self.clock())
            person.sockets += change

    def _seen(self, person: Person, now: float) -> None:
        gap, person.seen = now - person.seen, now
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
        step = next((step for step in all_steps() if step.name == name), None)
        if step is None:
            return ""
        self.opened = name
        self.note("", f"You opened {title(name)}")
        return (
            f"{title(name).capitalize()} is open: press n in watch, or tutorial start {number(step)} --keep"
        )

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
        _, text = places(sign.assignment).get(sign.at, ("", UNKNOWN if sign.at else ""))
        late = person.joined - start
        return {
            "number": person.number,
            "nickname": "" if nameless else person.nickname,
            **{name: getattr(sign, name) for name in ("met", "of", "hints", "doctor", "hand")},
            "assignment": title(sign.assignment),
            "at": text,
            "at_for": int(now - person.at_since) if sign.at else 0,
            "seen": int(now - person.seen),
            "live": person.sockets > 0,
            "away": self.away(person, now),
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
            _, text = places(name).get(at, ("", UNKNOWN))
            symptoms = Counter(person.sign.symptom for person in people if person.sign.symptom)
            crowds.append(
                {
                    "assignment": title(name),
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
    if name in assignments():
        return assignments()[name].title
    return "another exercise" if name else ""


def clock(when: float) -> str:
    """Return the time of day."""
    return time.strftime("%H:%M", time.localtime(when))
