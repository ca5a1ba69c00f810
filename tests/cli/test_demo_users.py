"""The demo users can log in, whether `tutorial run` or the fixture makes them."""

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
def test_demo_users_log_in_with_what_run_prints(step):
    """You log in with the names and passwords that `tutorial run` prints; after `loaddata demo_users`, too."""
    with Site(find_step(step), f"redis://127.0.0.1:{free_port()}") as site:
        addresses = [f"{name}@example.com" for name in DEMO_USERS]
        assert site.run("-c", LOG_IN).split() == addresses
        site.run("manage.py", "flush", "--no-input")
        site.run("manage.py", "loaddata", "demo_users")
        assert site.run("-c", LOG_IN).split() == addresses
