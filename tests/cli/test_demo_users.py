"""The users of the fixture are those of `tutorial run`."""

import pytest

from tutorial.course.steps import find_step
from tutorial.services.demo_data import DEMO_USERS
from tutorial.services.ports import free_port
from tutorial.testing.site import Site

LOG_IN = f"""
import django
django.setup()
from django.contrib.auth import authenticate
for name, password in {DEMO_USERS!r}.items():
    print(authenticate(username=name, password=password).email)
"""


@pytest.mark.parametrize("step", ["4", "5"])
def test_loaddata_makes_the_users_that_run_prints(step):
    """After `loaddata demo_users` you can log in with the names and passwords that `tutorial run` prints."""
    with Site(find_step(step), f"redis://127.0.0.1:{free_port()}") as site:
        site.run("manage.py", "flush", "--no-input")
        site.run("manage.py", "loaddata", "demo_users")
        assert site.run("-c", LOG_IN).split() == [f"{name}@example.com" for name in DEMO_USERS]
