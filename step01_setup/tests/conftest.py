import pytest
from channels.layers import channel_layers


@pytest.fixture(autouse=True)
def fresh_channel_layer():
    """Give each test a channel layer of its own: its locks belong to an event loop, and so does a test."""
    channel_layers.backends.clear()
