"""Exercise: two projects share a broker and don't hear each other."""

import asyncio
import os
import subprocess
import sys
from uuid import uuid4

import pytest
from channels_redis.core import RedisChannelLayer

from tutorial.services.processes import patience

PATIENCE = 15  # seconds, more on a busy machine
ASK = "from config.settings import CHANNEL_LAYERS as c; print(c['default']['CONFIG'].get('prefix', 'asgi'))"


@pytest.fixture
def layer(pytestconfig):
    """Make the channel layer of the settings, with LAYER_PREFIX set to this value."""

    def layer(prefix):
        env = {name: value for name, value in os.environ.items() if name != "LAYER_PREFIX"}
        done = subprocess.run(
            [sys.executable, "-c", ASK],
            cwd=pytestconfig.rootpath,
            env=env if prefix is None else {**env, "LAYER_PREFIX": prefix},
            capture_output=True,
            text=True,
            timeout=patience(PATIENCE),
        )
        assert done.returncode == 0, done.stderr
        return RedisChannelLayer(hosts=[os.environ["REDIS_URL"]], prefix=done.stdout.strip())

    return layer


@pytest.fixture
def room():
    """A group that no other test uses."""
    return f"lobby.{uuid4()}"


async def hear(layer, channel):
    """Return the text of the next event in a channel, or fail."""
    try:
        async with asyncio.timeout(patience(PATIENCE)):
            return (await layer.receive(channel))["text"]
    except TimeoutError:
        pytest.fail("Nothing came.")


async def test_two_projects_do_not_hear_each_other(layer, room):
    """With LAYER_PREFIX=shop and LAYER_PREFIX=school, one group name means two groups."""
    shop, school = layer("shop"), layer("school")
    channel = await school.new_channel()
    await school.group_add(room, channel)
    await shop.group_send(room, {"type": "note", "text": "for the shop"})
    await school.group_send(room, {"type": "note", "text": "for the school"})
    assert await hear(school, channel) == "for the school", "The school has heard the shop's message."


async def test_two_processes_of_one_project_hear_each_other(layer, room):
    """Processes with the same LAYER_PREFIX share their groups."""
    one, other = layer("school"), layer("school")
    channel = await one.new_channel()
    await one.group_add(room, channel)
    await other.group_send(room, {"type": "note", "text": "こんにちは!"})
    assert await hear(one, channel) == "こんにちは!"


@pytest.mark.parametrize("prefix", [None, ""], ids=["not set", "empty"])
def test_without_the_variable_nothing_changes(layer, prefix):
    """Without LAYER_PREFIX, or with an empty one, the names in the broker stay as they were."""
    assert layer(prefix).prefix == "asgi"


def test_the_page_still_works(client):
    """The page / still shows the round trip."""
    assert "The channel layer works" in client.get("/").text
