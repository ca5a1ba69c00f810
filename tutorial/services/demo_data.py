"""Bring the database of the step in the current directory up to date: tables and, on request, demo users.

Run as `python -m tutorial.services.demo_data [--users] [--sessions]` inside a step.
"""

import argparse
import json
import os
import sys

from tutorial.course.steps import find_step

# Demo users are for your own machine: `tutorial run` prints the passwords.
DEMO_USERS = {"alice": "alice-demo-pass", "bob": "bob-demo-pass"}
# What they are in a database. To make a hash of a password takes as long as all the rest.
FIXTURE = find_step("4") / "chat/fixtures/demo_users.json"


def create_users() -> None:
    """Make the demo users that don't exist yet. Existing ones stay as they are."""
    from django.contrib.auth import get_user_model

    for user in json.loads(FIXTURE.read_text()):
        name = user["fields"].pop("username")
        get_user_model().objects.get_or_create(username=name, defaults=user["fields"])


def create_sessions() -> dict[str, dict[str, int | str]]:
    """Log every demo user in; return the user's id and the value of the session cookie by name."""
    from django.contrib.auth import get_user_model, login
    from django.contrib.auth.hashers import identify_hasher
    from django.contrib.sessions.backends.db import SessionStore
    from django.http import HttpRequest

    users = {}
    for name, password in DEMO_USERS.items():
        request = HttpRequest()
        request.session = SessionStore()
        user = get_user_model().objects.get(username=name)
        # A Django with more rounds hashes anew at the first login, which ends the other sessions.
        if identify_hasher(user.password).must_update(user.password):
            user.set_password(password)
            user.save()
        login(request, user)
        request.session.save()
        users[name] = {"id": user.pk, "sessionid": request.session.session_key}
    return users


def main() -> None:
    """Do what the command line asks; print the sessions as JSON if they were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", action="store_true", help="make the demo users")
    parser.add_argument(
        "--sessions", action="store_true", help="log the demo users in and print their cookies"
    )
    options = parser.parse_args()

    sys.path.insert(0, os.getcwd())
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0, interactive=False)
    if options.users or options.sessions:
        create_users()
    if options.sessions:
        print(json.dumps(create_sessions()))


if __name__ == "__main__":
    main()
