"""A pytest plugin: a step's tests on PostgreSQL. `tutorial test 5 -- -p tutorial.testing.on_postgres`."""

import atexit
import os
from collections.abc import Generator

import pytest

from tutorial.testing.postgres import NoPostgres, Postgres


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests() -> Generator[None]:
    """Start the server, and name the settings that use it, before pytest-django reads them."""
    try:
        postgres = Postgres().start()
    except NoPostgres as reason:
        raise pytest.UsageError(str(reason)) from None
    atexit.register(postgres.close)
    os.environ["DATABASE_URL"] = postgres.create("site")
    os.environ["DJANGO_SETTINGS_MODULE"] = "tutorial.testing.settings_on_postgres"
    return (yield)
