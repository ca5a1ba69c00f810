"""What happened to everything that was sent while a fault was provoked."""

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass


class Unbalanced(AssertionError):
    """Raised when an account has a loss or a double that isn't allowed, or doesn't add up."""


@dataclass
class Account:
    """The account of one fault: each thing that was sent is delivered, refused or lost.

    Attributes:
        sent: How many things were due: messages, deliveries, mails or connections.
        delivered: How many of them arrived, each counted once.
        refused: How many got a refusal, which their sender has seen.
        lost: How many neither arrived nor were refused.
        doubled: How many arrivals there were beyond the first.
        allowed_lost: The highest number that may be lost; None for any.
        allowed_doubled: The highest number that may be doubled; None for any.
        note: What was measured besides, in a line.
    """

    sent: int = 0
    delivered: int = 0
    refused: int = 0
    lost: int = 0
    doubled: int = 0
    allowed_lost: int | None = 0
    allowed_doubled: int | None = 0
    note: str = ""

    @classmethod
    def of(cls, sent: Iterable[Hashable], arrived: Iterable[Hashable], refused: int = 0, **rest) -> "Account":
        """Count what was sent against what arrived.

        Args:
            sent: What was due, each thing once.
            arrived: What arrived, in any order and as often as it did.
            refused: How many of those sent were refused.
            rest: More fields of the account.

        Raises:
            Unbalanced: Something arrived that was never sent.
        """
        due, came = set(sent), Counter(arrived)
        if strangers := set(came) - due:
            raise Unbalanced(
                f"{len(strangers)} arrived that were never sent, such as {min(strangers, key=repr)!r}"
            )
        return cls(
            sent=len(due),
            delivered=len(came),
            refused=refused,
            lost=len(due) - len(came) - refused,
            doubled=came.total() - len(came),
            **rest,
        )

    def __str__(self) -> str:
        numbers = f"{self.sent} sent: {self.delivered} delivered, {self.refused} refused, {self.lost} lost, "
        return f"{numbers}{self.doubled} doubled" + (f" ({self.note})" if self.note else "")

    def check(self) -> "Account":
        """Return the account if it adds up and nothing is lost or doubled beyond what is allowed.

        Raises:
            Unbalanced: It doesn't; the text is the account.
        """
        if self.sent != self.delivered + self.refused + self.lost or self.lost < 0:
            raise Unbalanced(f"The account does not add up: {self}")
        for word, count, allowed in (
            ("lost", self.lost, self.allowed_lost),
            ("doubled", self.doubled, self.allowed_doubled),
        ):
            if allowed is not None and count > allowed:
                raise Unbalanced(f"{count} {word}, where {allowed or 'none'} may be: {self}")
        return self


def promised(value: float, limit: float, unit: str, enforce: bool) -> str:
    """Return what was measured, with the promise beside it.

    Args:
        value: What was measured.
        limit: What is promised at most.
        unit: Of both.
        enforce: Whether a broken promise is an error; a short form on a busy machine measures nothing.

    Raises:
        Unbalanced: The promise is broken.
    """
    text = f"{value:.3g} {unit}, where {limit:g} are promised"
    if enforce and value > limit:
        raise Unbalanced(text)
    return text
