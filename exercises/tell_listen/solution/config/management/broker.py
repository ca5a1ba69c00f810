"""What the commands share: errors in one readable line."""

from contextlib import contextmanager

from django.core.management import CommandError
from redis.exceptions import RedisError


@contextmanager
def errors_in_one_line():
    """Turn what the channel layer raises into a CommandError."""
    try:
        yield
    except TypeError as error:  # a name that the layer refuses
        raise CommandError(error) from error
    except (RedisError, OSError) as error:
        raise CommandError(f"The broker does not answer: {error}") from error
