"""What became of the messages of a fault: the account at its end."""

from dataclasses import dataclass


@dataclass
class Account:
    """Messages by what became of them.

    Attributes:
        sent: Handed over by a sender.
        delivered: Arrived at least once.
        refused: Not taken, and the sender or the log says so.
        doubled: Copies that arrived beyond the first.
        lost: Neither delivered nor refused.
    """

    sent: int = 0
    delivered: int = 0
    refused: int = 0
    doubled: int = 0
    lost: int = 0

    def __str__(self) -> str:
        return (
            f"sent {self.sent}, delivered {self.delivered}, refused {self.refused}, "
            f"doubled {self.doubled}, lost {self.lost}"
        )

    def check(self) -> None:
        """Raise AssertionError when a message is lost."""
        assert self.lost == 0, str(self)
