"""What Ctrl-C, a closed terminal and SIGTERM do to a command."""

import contextlib
import signal
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let a closed terminal and SIGTERM end the block as Ctrl-C does, with its clean-up."""
    numbers = (signal.SIGHUP, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, _: sys.exit(128 + number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C and its like back until the block has ended."""
    numbers = {signal.SIGINT, signal.SIGHUP, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
