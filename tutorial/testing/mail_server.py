"""A real SMTP server for tests, notebooks and the load lab."""

import asyncio
import threading
import time
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import TYPE_CHECKING, Self

from tutorial.services.ports import free_port
from tutorial.services.processes import wait_until

if TYPE_CHECKING:
    from aiosmtpd.smtp import SMTP, Envelope, Session


class MailServer:
    """A real SMTP server that keeps every mail it takes.

    Args:
        port: The port on 127.0.0.1; a free one if not given.

    Attributes:
        messages: The mails it has taken, oldest first.
        times: When it took each of them, as `time.perf_counter()` tells it.
        attempts: How often a client has tried to hand over a mail, taken or not.
        refusal: What it answers to a mail instead of taking it, such as `451 later`; None to take it.
        recipient_refusal: The same for the recipient, which a client names before the mail.
        stall: An event; while it is clear, every mail waits before it is taken or refused.
    """

    def __init__(self, port: int | None = None):
        from aiosmtpd.controller import Controller

        self.messages: list[EmailMessage] = []
        self.times: list[float] = []
        self.attempts = 0
        self.refusal: str | None = None
        self.recipient_refusal: str | None = None
        self.stall = threading.Event()
        self.stall.set()
        self._controller = Controller(self, hostname="127.0.0.1", port=port or free_port())
        self.port = self._controller.port

    @property
    def env(self) -> dict[str, str]:
        """The variables that make a step send its mail here."""
        return {"EMAIL_HOST": "127.0.0.1", "EMAIL_PORT": str(self.port)}

    async def handle_RCPT(
        self, server: "SMTP", session: "Session", envelope: "Envelope", address: str, rcpt_options: list[str]
    ) -> str:
        """Take or refuse a recipient. Called by aiosmtpd, whose name for it this is."""
        if self.recipient_refusal:
            self.attempts += 1
            return self.recipient_refusal
        envelope.rcpt_tos.append(address)
        return "250 taken"

    async def handle_DATA(self, server: "SMTP", session: "Session", envelope: "Envelope") -> str:
        """Take or refuse a mail. Called by aiosmtpd, whose name for it this is."""
        self.attempts += 1
        await asyncio.to_thread(self.stall.wait, 60)
        if self.refusal:
            return self.refusal
        self.times.append(time.perf_counter())
        self.messages.append(message_from_bytes(envelope.original_content or b"", policy=policy.default))
        return "250 taken"

    def reset(self) -> None:
        """Take every mail again at once, and forget those that were taken or tried."""
        self.refusal = self.recipient_refusal = None
        self.stall.set()
        self.messages.clear()
        self.times.clear()
        self.attempts = 0

    def wait_for(self, count: int, timeout: float = 20) -> list[EmailMessage]:
        """Return the mails once there are `count`.

        Args:
            count: How many to wait for.
            timeout: Seconds to wait.

        Raises:
            TimeoutError: There were fewer.
        """
        wait_until(lambda: len(self.messages) >= count, timeout, f"{count} mail(s)")
        return self.messages

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stall.set()
        self._controller.stop()
