"""Exercise: rooms for the members of a team, and for nobody else."""

import asyncio
import json
from urllib.parse import quote

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tutorial.services.processes import patience

PATIENCE = 20  # seconds, more on a busy machine

# alice and bob are the demo users; the groups are those of django.contrib.auth.
MAKE_TEAMS = """
from django.contrib.auth.models import Group, User
for team, names in {"kitchen": ["alice", "bob"], "office": ["alice"], "開発": ["bob"]}.items():
    group, _ = Group.objects.get_or_create(name=team)
    group.user_set.set(User.objects.filter(username__in=names))
"""


@pytest.fixture(scope="module")
def server(site):
    """The step under daphne, with three teams."""
    site.run("manage.py", "shell", "-v", "0", "-c", MAKE_TEAMS)
    return site.shared_server("daphne")


@pytest.fixture
def socket(server, site):
    """Open a socket as a person: to a team's room, or to a path."""

    def socket(user, team=None, path=None):
        url = server.websocket_url(path or f"/ws/team/{quote(team, safe='')}/")
        return connect(url, additional_headers=site.headers(server.url, user), proxy=None)

    return socket


async def refused_with(socket):
    """Return the HTTP status of a refused handshake."""
    with pytest.raises(InvalidStatus) as refusal:
        async with socket:
            pass
    return refusal.value.response.status_code


async def say(socket, message):
    """Send a chat message, as the browser does."""
    await socket.send(json.dumps({"message": message}))


async def hear(socket):
    """Return the next event, or fail."""
    try:
        async with asyncio.timeout(patience(PATIENCE)):
            return json.loads(await socket.recv())
    except (TimeoutError, ConnectionClosed) as error:
        pytest.fail(f"Nothing came: {error!r}")


async def test_members_hear_each_other(socket):
    """Alice and Bob are in the kitchen team, and talk at /ws/team/kitchen/."""
    try:
        async with socket("alice", "kitchen") as alice, socket("bob", "kitchen") as bob:
            await say(alice, "ご飯だよ")
            assert await hear(bob) == {"message": "ご飯だよ", "username": "alice"}
    except InvalidStatus as refusal:
        pytest.fail(f"A member gets {refusal.response.status_code}: is there a route for /ws/team/kitchen/?")


async def test_a_team_has_a_japanese_name(socket):
    """Bob can enter the room of his team 開発."""
    async with socket("bob", "開発") as bob:
        await say(bob, "はい")
        assert (await hear(bob))["message"] == "はい"


@pytest.mark.parametrize(
    ("user", "team"),
    [("bob", "office"), ("alice", "開発"), (None, "kitchen"), ("alice", "nobody"), (None, "nobody")],
)
async def test_others_stay_out(socket, user, team):
    """Anybody outside the team gets 403, logged in or not, whether the team exists or not."""
    assert await refused_with(socket(user, team)) == 403


async def test_the_log_stays_clean(server, socket):
    """A refusal isn't an error: it leaves no traceback."""
    before = len(server.output)
    await refused_with(socket("bob", "office"))
    await refused_with(socket(None, "office"))
    assert "Traceback" not in server.output[before:]


@pytest.mark.parametrize("room", ["office", "team/office", "team:office", "team_office", "team-office"])
async def test_no_public_room_listens_in(socket, room):
    """No public room, whatever its name, is the team's room."""
    public = f"/ws/chat/{quote(room, safe='')}/"
    async with socket("alice", "office") as alice, socket("bob", path=public) as bob:
        await say(alice, "the salaries")
        assert (await hear(alice))["message"] == "the salaries"
        await say(bob, "hello?")
        assert (await hear(bob))["message"] == "hello?", "Bob hears the office without being in it."


async def test_bad_frames_are_answered_here_too(socket):
    """The team's room is a chat like the others: a bad frame gets an error, and the socket lives."""
    async with socket("alice", "office") as alice:
        await alice.send("not JSON")
        assert list(await hear(alice)) == ["error"]
        await say(alice, "still here")
        assert (await hear(alice))["message"] == "still here"
