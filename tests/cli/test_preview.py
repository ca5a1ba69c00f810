"""`tutorial preview` lets three visitors talk through a consumer that has no address yet."""

import signal
import socket
import sys

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.cli.conftest import replace
from tests.cli.test_run import alone, end, refusal
from tutorial.course.assignment import step_assignment
from tutorial.learn import playground
from tutorial.services.ports import free_port
from tutorial.services.processes import Process

CONSUMER = """
import json

from channels.generic.websocket import AsyncWebsocketConsumer


class ChatConsumer(AsyncWebsocketConsumer):
    async def connect(self):
        self.room = self.scope["url_route"]["kwargs"]["room_name"]
        self.group = f"chat_{self.room.encode().hex()}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, close_code):
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive(self, text_data):
        message = f"{json.loads(text_data)['message']} in {self.room}"
        event = {"type": "chat_message", "message": message, "username": self.scope["user"].username}
        await self.channel_layer.group_send(self.group, event)

    async def chat_message(self, event):
        await self.send(json.dumps({"message": event["message"], "username": event["username"]}))
"""


class Preview(Process):
    """The command, run on a playground for step 2."""

    def __init__(self, directory):
        self.directory, self.port = directory, free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        command = [sys.executable, "-m", "tutorial", "preview", "--port", str(self.port)]
        super().__init__(command, directory, alone({}))

    def save(self, text):
        (self.directory / "chat").mkdir(exist_ok=True)
        (self.directory / "chat/consumers.py").write_text(text)


@pytest.fixture
def preview(tmp_path):
    """A preview of a project that has no consumer yet."""
    playground.start(step_assignment("2"), tmp_path / "mine")
    with Preview(tmp_path / "mine") as preview:
        preview.spawn()
        preview.wait_for_output("Not run: chat/consumers.py does not exist. Create it and save.")
        yield preview


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.browser
async def test_three_windows_hear_each_other(preview, browser):
    """The page reconnects after a save, shows messages as text, and says what went wrong."""
    page = await browser.new_page()
    await page.goto(preview.url)
    from playwright.async_api import expect

    alice, bob, visitor = (page.get_by_role("region", name=name) for name in ("alice", "bob", "visitor"))
    panes = (alice, bob, visitor)
    await expect(page.get_by_role("alert")).to_contain_text("chat/consumers.py does not exist")
    preview.save(CONSUMER)
    for pane in panes:
        await expect(pane.get_by_role("status")).to_have_text("Connected.")
    await alice.get_by_role("button", name="Send").click()
    for pane in panes:
        await expect(pane.get_by_role("log")).to_contain_text("alice: こんにちは! in room1")

    # Another room, by the keyboard alone.
    await page.get_by_label("Room").fill("日本語/?&")
    await page.get_by_label("Room").press("Enter")
    for pane in panes:
        await expect(pane.get_by_role("log")).to_contain_text("Connected to 日本語/?&.")
    await visitor.get_by_label("Message").fill("<b>bold</b>")
    await visitor.get_by_label("Message").press("Enter")
    await expect(bob.get_by_role("log")).to_contain_text("<b>bold</b> in 日本語/?&")

    # A frame that is no message: the socket is gone, and the terminal has the traceback.
    await bob.get_by_label("Send as raw text").check()
    await bob.get_by_role("button", name="Send").click()
    await expect(bob.get_by_role("status")).to_contain_text("Closed, code 1011.")
    await expect(alice.get_by_role("status")).to_have_text("Connected.")
    assert "JSONDecodeError" in preview.output
    assert "chat/consumers.py" in preview.output

    # Code that is broken, and code that refuses.
    replace(preview.directory, "chat/consumers.py", "await self.accept()", "await self.accept(")
    said = "chat/consumers.py, line 12: SyntaxError: '(' was never closed"
    await expect(page.get_by_role("alert")).to_have_text(said)
    await expect(alice.get_by_role("status")).to_have_text("Not connected.")
    assert f"Not run: {said}" in preview.output.splitlines()
    replace(preview.directory, "chat/consumers.py", "await self.accept(", "await self.close()")
    await expect(page.get_by_role("alert")).to_have_text("")
    await expect(alice.get_by_role("status")).to_contain_text("Refused")


def test_only_its_own_page_may_talk_to_the_consumer(preview):
    """Another page, and another name for this machine, are refused; on Ctrl-C everything ends."""
    preview.save(CONSUMER)
    preview.wait_for_output(f"ChatConsumer is ready: http://localhost:{preview.port}/")
    address = f"ws://127.0.0.1:{preview.port}/socket?room=%E6%97%A5&user=alice"
    with connect(address, origin=preview.url.rstrip("/")) as websocket:
        websocket.send('{"message": "hello"}')
        assert '"username": "alice"' in websocket.recv()
    for origin in (None, "http://evil.example", "http://127.0.0.1:1"):
        with pytest.raises(InvalidStatus, match="403"), connect(address, origin=origin):
            pass
    assert httpx.get(preview.url).status_code == 200
    assert httpx.get(preview.url, headers={"Host": "evil.example"}).status_code == 404
    assert len(end(preview, signal.SIGINT)) >= 2


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("", "chat/consumers.py has no class ChatConsumer. Write it and save."),
        (
            "import json\n\njsn.loads('1')\n",
            "chat/consumers.py, line 3: NameError: name 'jsn' is not defined",
        ),
        (
            "from nothing import this\n",
            "chat/consumers.py, line 1: ModuleNotFoundError: No module named 'nothing'",
        ),
    ],
)
def test_code_that_cannot_be_loaded_is_one_line(preview, code, said):
    """One line says what is wrong and where, and the next save tries again."""
    preview.save(code)
    preview.wait_for_output(said)
    assert "Traceback" not in preview.output
    preview.save(CONSUMER)
    preview.wait_for_output("ChatConsumer is ready:")


def test_what_cannot_be_previewed_is_one_line(project, tmp_path):
    """A directory without a project, and a port that is taken."""
    (tmp_path / "empty").mkdir()
    assert "tutorial start" in refusal("preview", str(tmp_path / "empty"), code=2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        said = refusal("preview", str(project(2)), "--port", str(port))
        assert said == (
            f"Cannot listen on 127.0.0.1 port {port}: another program listens there.\n"
            f"Try another: tutorial preview --port {port + 1}"
        )


def test_a_save_ends_what_runs_in_a_shells_background(tmp_path):
    """There, programs ignore the signal by which each save ends the one before; the next would wait 5 s."""
    (tmp_path / "own.py").write_text(
        "import signal; print(signal.getsignal(signal.SIGINT).__name__, flush=True)"
    )
    ignoring = 'trap \'\' INT; exec "$0" -m tutorial.services.on_save "$0" own.py'
    command = ["bash", "-c", ignoring, sys.executable]
    with Process(command, tmp_path, alone({})) as on_save:
        on_save.spawn()
        on_save.wait_for_output("default_int_handler")
