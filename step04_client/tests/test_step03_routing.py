"""Step 3: the consumer has an address, and strangers stay out."""

import asyncio
import json
import subprocess
import sys
from urllib.parse import quote

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tutorial.services.processes import patience

FOREIGN_ORIGINS = {
    "another site": {"Origin": "https://evil.example"},
    "null": {"Origin": "null"},
    "missing": {},
    "a name that only begins alike": {"Origin": "http://localhost.evil.example"},
}


@pytest.fixture
def socket(server, site):
    """Open a socket to a room as a logged-in user, with the headers a browser would send."""

    def socket(room="room1", user="alice"):
        url = server.websocket_url(f"/ws/chat/{quote(room, safe='')}/")
        return connect(url, additional_headers=site.headers(server.url, user), proxy=None)

    return socket


async def refused_with(server, path, headers):
    """Return the HTTP status with which the server refuses a handshake."""
    with pytest.raises(InvalidStatus) as refusal:
        async with connect(server.websocket_url(path), additional_headers=headers, proxy=None):
            pass
    return refusal.value.response.status_code


async def say(socket, message):
    """Send a chat message as the browser does."""
    await socket.send(json.dumps({"message": message}))


async def hear(socket):
    """Return the next event from the server."""
    async with asyncio.timeout(patience(5)):
        return json.loads(await socket.recv())


async def test_the_session_cookie_says_who_speaks(socket):
    """AuthMiddlewareStack turns the session cookie into scope["user"]."""
    async with socket(user="alice") as alice, socket(user="bob") as bob:
        await say(alice, "こんにちは!")
        assert await hear(bob) == {"message": "こんにちは!", "username": "alice"}
        await say(bob, "はい")
        assert await hear(alice) == {"message": "こんにちは!", "username": "alice"}
        assert await hear(alice) == {"message": "はい", "username": "bob"}


@pytest.mark.parametrize("room", ["my-room", "日本語の部屋", "🎉", "a/b", "with space", "100%", "?#&"])
async def test_any_room_name_has_an_address(socket, room):
    """Percent-encoded into the path, every room name finds its way to the consumer."""
    async with socket(room) as alice, socket(room, "bob") as bob, socket("elsewhere") as eve:
        await say(alice, "hello")
        assert (await hear(bob))["message"] == "hello"
        await say(eve, "only for elsewhere")
        assert (await hear(eve))["message"] == "only for elsewhere"


@pytest.mark.parametrize("headers", FOREIGN_ORIGINS.values(), ids=FOREIGN_ORIGINS)
async def test_a_foreign_origin_is_refused(server, site, headers):
    """A page of another site cannot speak in its visitor's name: 403, cookie or not."""
    cookie = site.headers(server.url, "alice")["Cookie"]
    assert await refused_with(server, "/ws/chat/room1/", {**headers, "Cookie": cookie}) == 403


@pytest.mark.parametrize("path", ["/", "/ws/", "/ws/chat/", "/ws/chat/room1", "/elsewhere/ws/chat/room1/"])
async def test_an_unknown_path_is_refused(server, site, path):
    """A WebSocket path without a consumer is refused with 403, one line in the log and no traceback."""
    before = len(server.output)
    assert await refused_with(server, path, site.headers(server.url, "alice")) == 403
    server.wait_for_output(f"There is no WebSocket at '{path}'")
    log = server.output[before:]
    assert log.count("There is no WebSocket") == 1
    assert "Traceback" not in log


async def test_a_bad_frame_over_the_wire(socket):
    """Behind a real server, too, a bad or empty frame gets an error and the socket lives."""
    async with socket() as alice:
        for frame in ["", "not JSON", b"\x00\xff", "[" * 60_000, json.dumps({"message": "x" * 5000})]:
            await alice.send(frame)
            assert "error" in await hear(alice)
        await say(alice, "still here")
        assert (await hear(alice))["message"] == "still here"


async def test_a_huge_frame_closes_only_its_own_socket(site):
    """A frame of more than 1 MiB closes its own socket; the others go on."""
    server = site.shared_server("runserver")
    headers = site.headers(server.url, "alice")
    address = server.websocket_url("/ws/chat/room1/")
    async with connect(address, additional_headers=headers, proxy=None) as bob:
        async with connect(address, additional_headers=headers, proxy=None) as alice:
            await alice.send("x" * (1024 * 1024 + 1))
            with pytest.raises(ConnectionClosed):
                await hear(alice)
        await say(bob, "still here")
        assert (await hear(bob))["message"] == "still here"


EARLY = """
import sys
from django.apps import apps

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "chat.consumers" and not apps.ready:
            sys.exit("config/asgi.py imports chat.routing before get_asgi_application() has loaded the apps")

sys.meta_path.insert(0, Finder())
import config.asgi
"""


def test_the_routes_are_imported_after_the_apps_are_loaded(pytestconfig):
    """asgi.py imports chat.routing after get_asgi_application(), so that consumers may import models."""
    command = [sys.executable, "-c", EARLY]
    done = subprocess.run(command, cwd=pytestconfig.rootpath, capture_output=True, text=True, timeout=600)
    assert done.stderr == ""
    assert done.returncode == 0
