"""A sign of life: all that a learner's course ever sends to an instructor's board, and how it is read.

It is a few names of the course, counts and seconds. Whatever is more or else is refused, by the sender too.
"""

import re
import unicodedata
from dataclasses import asdict, dataclass, fields
from typing import Any

VERSION = 1  # of what board and learner say to each other
LONGEST_NICKNAME = 24  # characters
LONGEST_LINE = 120  # characters
LARGEST = 1_000_000  # of a count, and of seconds: eleven days
# A field that is a text takes only what its pattern matches as a whole.
PATTERNS = {
    "assignment": re.compile(r"|[a-z][a-z0-9_]{0,59}"),
    "at": re.compile(r"|test_[a-z0-9_]{1,140}"),
    "symptom": re.compile(r"|[a-z]{0,8}[0-9]{0,4}"),
    "doctor": re.compile(r"|good|bad"),
    "hand": re.compile(r"|help|done"),
    "hand_text": re.compile(r".*"),
}


class NotASign(ValueError):
    """Raised for what is no sign of life, or no nickname; its text says why."""


@dataclass(frozen=True)
class Sign:
    """Where a learner is. The next one takes its place, so that one that is lost does no harm.

    Attributes:
        assignment: The step or exercise.
        met: How many of its requirements are met.
        of: How many it has.
        at: The name of the requirement in work; empty if all are met.
        at_for: Seconds since that is the one.
        symptom: The entry of docs/symptoms.md that the first problem shows, or empty.
        hints: How many hints were given.
        doctor: `good` or `bad`, as `tutorial doctor` found, or empty.
        hand: `help`, `done`, or empty for a hand that is down.
        hand_text: The line that the learner wrote with it.
    """

    assignment: str = ""
    met: int = 0
    of: int = 0
    at: str = ""
    at_for: int = 0
    symptom: str = ""
    hints: int = 0
    doctor: str = ""
    hand: str = ""
    hand_text: str = ""

    @classmethod
    def read(cls, data: object) -> "Sign":
        """Return the sign that decoded JSON is.

        Raises:
            NotASign: It is none: a field is missing, is one too many, or has what it must not have.
        """
        known = {field.name: field.type for field in fields(cls)}
        if not isinstance(data, dict) or data.keys() != known.keys():
            raise NotASign(f"A sign has the fields {', '.join(known)}, and no others.")
        for name, value in data.items():
            if name in PATTERNS:
                good = isinstance(value, str) and PATTERNS[name].fullmatch(value) is not None
            else:
                good = type(value) is int and 0 <= value <= LARGEST
            if not good:
                raise NotASign(f"A sign has no such {name}: {str(value)[:40]!r}")
        if data["hand_text"] != line(data["hand_text"]):
            raise NotASign(f"hand_text is one line of at most {LONGEST_LINE} characters.")
        return cls(**data)

    def data(self) -> dict[str, Any]:
        """Return it as it is sent."""
        return asdict(self)


def line(text: str) -> str:
    """Return a text as one line that is safe on a terminal: no control characters, and not too long."""
    clean = "".join(" " if unicodedata.category(each)[0] in "CZ" else each for each in text)
    return " ".join(clean.split())[:LONGEST_LINE]


def nickname(text: str) -> str:
    """Return a nickname in its usual form.

    Raises:
        NotASign: It is empty, too long or has characters that nobody sees.
    """
    clean = " ".join(unicodedata.normalize("NFC", text).split(" ")).strip()
    if not clean:
        raise NotASign("A nickname is empty. Choose one, such as mika.")
    if len(clean) > LONGEST_NICKNAME:
        raise NotASign(f"That nickname has {len(clean)} characters, where {LONGEST_NICKNAME} are allowed.")
    if any(unicodedata.category(each)[0] == "C" or each in "\u2028\u2029" for each in clean):
        raise NotASign("That nickname has control characters. Choose letters that people can see.")
    if sum(unicodedata.combining(each) > 0 for each in clean) > len(clean) / 2:
        raise NotASign("That nickname is mostly accents. Choose letters that people can read.")
    return clean
