"""Step 1: an ASGI server and a channel layer that works."""

import socket
import threading

import httpx
import pytest
from channels.layers import get_channel_layer
from channels_redis.core import RedisChannelLayer

from tutorial.services.processes import patience


def test_the_layer_is_redis():
    """CHANNEL_LAYERS uses channels_redis, so that messages cross processes."""
    assert isinstance(get_channel_layer(), RedisChannelLayer)


async def test_the_layer_returns_what_was_sent():
    """A message sent to a channel comes back out of it, Japanese included."""
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.send(channel, {"type": "ping", "text": "こんにちは!"})
    assert await layer.receive(channel) == {"type": "ping", "text": "こんにちは!"}


def test_the_page_shows_the_round_trip(client):
    """The page / sends a message through the layer and shows the time until it was back."""
    response = client.get("/")
    assert response.status_code == 200
    assert "The channel layer works" in response.text
    assert "channels_redis.core.RedisChannelLayer" in response.text
    assert " ms</dd>" in response.text


@pytest.fixture
def silent_port():
    """A port where connections are taken and nothing is answered; it ends them after too long."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        end = threading.Timer(patience(10), listener.close)
        end.start()
        yield listener.getsockname()[1]
        in_time = end.is_alive()
        end.cancel()
        assert in_time, "the page waited for as long as the broker was silent"


@pytest.mark.parametrize("port", ["unused_port", "silent_port"])
def test_the_page_says_what_to_run_when_the_broker_is_down(client, settings, request, port):
    """Without a broker the page / answers 503, without a long wait, and says how to start one."""
    host = {"address": f"redis://127.0.0.1:{request.getfixturevalue(port)}"}
    layer = {**settings.CHANNEL_LAYERS["default"], "CONFIG": {"hosts": [host]}}
    settings.CHANNEL_LAYERS = {"default": layer}
    response = client.get("/")
    assert response.status_code == 503
    assert "The broker does not answer" in response.text
    assert "tutorial broker" in response.text


def test_a_real_server_speaks_asgi(server):
    """runserver, with daphne first in INSTALLED_APPS, and daphne itself serve the page over ASGI."""
    response = httpx.get(server.url)
    assert response.status_code == 200
    assert response.headers["server"] == "daphne"
    assert "ASGI 3.0" in response.text
