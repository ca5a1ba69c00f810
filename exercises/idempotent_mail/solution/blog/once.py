"""Do a thing once, even if several processes try."""

import logging
import threading
from contextlib import contextmanager

from django.core.cache import cache

logger = logging.getLogger(__name__)

LEASE = 6  # seconds until the claim of a process that has died is free again
REMEMBERED = 24 * 3600  # seconds
CLAIMED, DONE = "claimed", "done"


class Busy(Exception):
    """Another process is working on it. Come back later: it may die before it finishes."""


@contextmanager
def once(key):
    """Claim a key while the block runs; yield whether there is anything left to do.

    The claim is a lease, renewed while this process lives: long work keeps it, a dead process loses it.
    When the block ends, the key is done; when it raises, the key is free.
    """
    # add() writes only if the key is free, and the broker runs one command at a time.
    if not cache.add(key, CLAIMED, LEASE):
        if cache.get(key) != DONE:
            raise Busy(key)
        yield False
        return
    finished = threading.Event()
    renewal = threading.Thread(target=renew, args=(key, finished), daemon=True)
    renewal.start()
    try:
        yield True
    except BaseException:
        finished.set()
        renewal.join()
        cache.delete(key)
        raise
    finished.set()
    renewal.join()
    cache.set(key, DONE, REMEMBERED)


def renew(key, finished):
    """Renew a claim until the work is finished."""
    while not finished.wait(LEASE / 3):
        try:
            cache.touch(key, LEASE)
        except Exception:
            logger.exception("Could not renew the claim on %s", key)
