"""One thing that is not right in a learner's project."""

from dataclasses import dataclass

from tutorial.course.assignment import Requirement

LONGEST = 300  # characters of a value in a sentence


@dataclass
class Problem:
    """One thing that is not right yet.

    Attributes:
        what: What is wrong, in a line.
        file: The file to look at, by its path in the project.
        line: The line in it, or 0 where that is not known.
        requirement: The requirement that is not met, or None where the project does not even load.
        expected: What was expected, or an empty text.
        seen: What was seen instead, or an empty text.
        server: What a server or worker printed about it, or an empty text.
        hint: What to try.
        traceback: All that Python says about it.
    """

    what: str
    file: str
    line: int = 0
    requirement: Requirement | None = None
    expected: str = ""
    seen: str = ""
    server: str = ""
    hint: str = ""
    traceback: str = ""

    @property
    def place(self) -> str:
        """File and line, as editors understand them."""
        return f"{self.file}:{self.line}" if self.line else self.file


def short(text: str) -> str:
    """Return a text as one line of bounded length."""
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"
