"""The demo users can log in, whether `tutorial run` or the fixture of a step makes them."""

from tutorial.course.steps import all_steps, find_step
from tutorial.services.demo_data import DEMO_USERS, FIXTURE
from tutorial.services.ports import free_port
from tutorial.testing.site import Site

LOG_IN = f"""
import django
django.setup()
from django.contrib.auth import authenticate
for name, password in {DEMO_USERS!r}.items():
    print(authenticate(username=name, password=password).email)
"""


def test_demo_users_log_in_with_what_run_prints():
    """You log in with the names and passwords that `tutorial run` prints. Each step has the same fixture."""
    with Site(find_step("5"), f"redis://127.0.0.1:{free_port()}") as site:
        assert site.run("-c", LOG_IN).split() == [f"{name}@example.com" for name in DEMO_USERS]
    fixtures = [path.read_text() for step in all_steps() for path in step.glob(f"*/fixtures/{FIXTURE.name}")]
    assert fixtures == [FIXTURE.read_text()] * 2
