"""What the commands share: their errors, in one line for a person."""

from contextlib import contextmanager

from django.core.management import CommandError
from redis.exceptions import RedisError


@contextmanager
def errors_in_one_line():
    """Turn what the channel layer raises into a CommandError."""
    try:
        yield
    except TypeError as error:  # a name that the layer does not take
        raise CommandError(error) from error
    except (RedisError, OSError) as error:
        raise CommandError(f"The broker does not answer: {error}") from error
