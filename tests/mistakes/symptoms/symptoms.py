"""What mistakes say, each made in a copy of a step."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys

import psutil
import pytest
import redis
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.mistakes.mistakes import (
    ASGI,
    CONSUMERS,
    HOSTS,
    LAST_ROUTE,
    MISTAKES,
    ROUTING,
    SETTINGS,
    TASKS,
    VIEWS,
    change,
)
from tests.mistakes.symptoms.pages import read_page
from tests.mistakes.symptoms.projects import (
    GREETING,
    Chat,
    Symptom,
    command,
    console_of,
    late_commit,
    opens,
    page_of,
    shell,
    skip_beside_rabbitmq,
    start,
)
from tests.mistakes.symptoms.projects import project as finished_app
from tests.promises.faults.line import Line
from tutorial.course.steps import ROOT
from tutorial.services.ports import free_port
from tutorial.services.processes import PATIENCE, wait_until
from tutorial.testing.mail_server import MailServer
from tutorial.testing.site import PRODUCTION

PAGE = ROOT / "docs/symptoms.md"
QUOTES = {name: entry.quotes for name, entry in read_page(PAGE).items()}

DELAY = """
from blog.tasks import send_notification_email
print(send_notification_email.delay(1, "hello"))
"""
DELAY_A_USER = """
from django.contrib.auth.models import User
from blog.tasks import send_notification_email
send_notification_email.delay(User.objects.get(username="alice"), "hello")
"""
SAY_LATER = """
import hashlib
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
group = "chat_" + hashlib.sha256(b"lobby").hexdigest()
event = {"type": "chat_message", "message": "later", "username": "the shell"}
async_to_sync(get_channel_layer().group_send)(group, event)
"""
ASK = """
import traceback
from blog.tasks import send_notification_email as send
for ask in (lambda: send.delay(1, "hello").get(), lambda: send.delay_on_commit(1, "hello").get()):
    try:
        ask()
    except Exception:
        traceback.print_exc()
"""
PUBLISH = """
from django.contrib.auth.models import User
from django.test import Client
from blog.models import Post
client = Client(raise_request_exception=False)
client.force_login(User.objects.get(username="alice"))
client.post("/blog/new/", {"title": "t", "body": "b"}, HTTP_HOST="localhost")
print("posts:", Post.objects.count())
"""
VISIT = """
from django.contrib.auth.models import User
from django.test import Client
client = Client(raise_request_exception=False, headers={"host": "localhost"})
client.force_login(User.objects.get(username="alice"))
for page in ("/", "/chat/room/?name=lobby"):
    print(client.get(page).status_code)
"""
NEW_TASK = "\n\n@shared_task\ndef remind(user_id):\n    pass\n"
DELAY_NEW_TASK = "from blog.tasks import remind; remind.delay(1)"


def without_environment(project):
    """Type the course's command where its environment is not active."""
    return terminal(project, "tutorial --help")


def with_environment(project):
    return terminal(project, f". {sys.prefix}/bin/activate; tutorial --help")


def terminal(project, words):
    """Type something into a new terminal, which knows no other programs than the system's."""
    env = project.env | {"PATH": os.defpath}
    command, merged = ["bash", "-c", words], {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run(
        command, executable=shutil.which("bash"), env=env, **merged, text=True, timeout=600
    ).stdout


def taken_port(project):
    """Start a server, with daphne and then without, where another program listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        runserver = ("manage.py", "runserver", "--noreload", str(other.getsockname()[1]))
        said = project.run(*runserver)
        change(project.step, of("daphne is missing"))
        return said + project.run(*runserver)


def inline_script(project):
    """Open a page with a script of its own under the settings for production."""
    server = project.server("uvicorn")
    with page_of() as page:
        page.goto(server.url)
        return console_of(page, "inline script")


def no_app(project):
    """Queue a task by an app without settings, which looks for RabbitMQ."""
    skip_beside_rabbitmq()
    return project.shell(DELAY)


def inspect(project):
    """Queue a task and ask which workers are there to take it."""
    return project.shell(DELAY) + project.run("-m", "celery", "-A", "config", "inspect", "ping")


def with_worker(project):
    """The same while a worker runs."""
    project.worker()
    return inspect(project)


def nothing_arrives(project):
    """Send a greeting, and then something to the group by another way: does the greeting arrive first?"""
    told = {}
    for kind in ("runserver", "uvicorn"):
        server = project.server(kind)
        with project.join(server) as socket:
            socket.send(GREETING)
            # Its answer says that the server has finished with the greeting.
            socket.send("not JSON")
            heard = hear_until(socket, "not a chat message")
            project.shell(SAY_LATER)
            heard += hear_until(socket, "later")
        server.stop()
        told[kind] = server.output
    assert any("anonymous" in frame for frame in heard) == ("RuntimeWarning" not in told["uvicorn"])
    assert "RuntimeWarning" not in told["runserver"]
    return told["uvicorn"]


def hear_until(socket, text):
    """Return the frames up to the one that has a text."""
    heard = [""]
    while text not in heard[-1]:
        heard.append(socket.recv(timeout=PATIENCE))
    return heard


def idle(project):
    """Leave a socket alone until the server closes it."""
    server = project.server()
    with project.join(server) as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv(timeout=PATIENCE)
    server.stop()
    return f"{closed.value}\n{server.output}"


def still_open(project):
    """Leave two people alone for longer than two timeouts of redis-py 8, and let them greet each other."""
    server = project.server()
    with project.join(server) as silent, project.join(server) as talker:
        with pytest.raises(TimeoutError):
            silent.recv(timeout=2 * TIMEOUT_OF_REDIS_8 + 2)
        talker.send(GREETING)
        assert json.loads(silent.recv(timeout=PATIENCE))["message"] == "こんにちは!"
    server.stop()
    return server.output


def crowd(project, kind="runserver"):
    """Let 300 people open a socket while the broker takes a moment to answer."""
    server, people = project.server(kind), 300
    address, headers = server.websocket_url("/ws/chat/lobby/"), project.headers(server.url, "alice")
    broker, process = psutil.Process(project.broker.pid), psutil.Process(server.pid)

    async def visit():
        try:
            async with connect(address, additional_headers=headers, proxy=None, open_timeout=PATIENCE):
                return "the socket is open"
        except InvalidHandshake as refusal:
            return str(refusal)

    def all_wait():
        waiting = [one for one in process.net_connections() if one.raddr[1:] == (project.broker.port,)]
        return len(waiting) >= people or "Too many connections" in server.output

    async def visit_together():
        broker.suspend()
        try:
            visits = asyncio.gather(*(visit() for _ in range(people)))
            await asyncio.to_thread(wait_until, all_wait, PATIENCE, "300 connections to the broker")
        finally:
            broker.resume()
        return await visits

    told = asyncio.run(visit_together())
    server.stop()
    return "\n".join([*told, server.output])


def crowd_in_production(_):
    """The same with the server and the settings of production, where nobody is refused."""
    # With the key that alice's session was made with.
    env = PRODUCTION | {"SECRET_KEY": "for-development-only"}
    with finished_app(5, env=env) as project:
        said = crowd(project, "uvicorn")
    assert said.count("the socket is open") == 300, said
    return said


def unregistered(project):
    """Write a new task while the worker runs, and queue it."""
    worker = project.worker()
    with (project.step / TASKS).open("a") as tasks:
        tasks.write(NEW_TASK)
    said = project.shell(DELAY_NEW_TASK)
    worker.wait_for_output("strategy")
    worker.stop()
    return said + worker.output


def phantom_mail(project):
    """Publish a post whose transaction fails after the task was queued."""
    with MailServer() as mail_server:
        worker = project.worker(mail_server.env)
        said = project.shell(PUBLISH)
        [mail] = mail_server.wait_for(1)
        worker.wait_for_output("succeeded")
        assert "posts: 0" in said
        assert mail.get_content().strip() == "記事が公開されました"
        return worker.output


def killed_worker(project):
    """Kill a worker in mid-task, ask the broker about it, and let an hour pass by its clock."""
    with MailServer() as mail_server:
        mail_server.stall.clear()
        worker = project.worker(mail_server.env)
        said = project.shell(DELAY)
        wait_until(lambda: mail_server.attempts, 20, "the first attempt")
        worker.kill()
        said += project.shell(QUOTES["s37"][0])
        mail_server.stall.set()
        worker.start()
        with redis.Redis.from_url(project.broker.url) as broker:
            [(tag, score)] = broker.zscan_iter("unacked_index")
            assert mail_server.attempts == 1
            broker.zadd("unacked_index", {tag: score - 3600})
        wait_until(lambda: mail_server.attempts == 2, 30, "the second run")
    return said


def dead_line(project):
    """Let a worker's connection to the broker go dead without a word, and wait until the worker notices."""
    with Line(project.broker.port) as line:
        worker = project.worker({"REDIS_URL": line.url})
        line.suffer("dead")
        worker.wait_for_output("stale connection", PATIENCE)
        worker.kill()
    return worker.output


def secure_page(project):
    """Open a room over HTTPS; the page and its files come from the project's server."""
    server = project.server()
    with page_of() as page:
        headers = project.headers(server.url, "alice")

        def over_http(route):
            address = route.request.url.replace("https://chat.example", server.url)
            route.fulfill(response=route.fetch(url=address, headers=headers))

        page.route("https://chat.example/**", over_http)
        page.goto("https://chat.example/chat/room/?name=room1")
        return console_of(page)


def step_test(name):
    """Return a probe that runs one of the step's own tests."""
    return command("-m", "pytest", "-q", "-p", "no:cacheprovider", name)


def in_production(code):
    """Return a probe that runs code in Django's shell with the settings of production."""

    def probe(project):
        project.env |= PRODUCTION
        return project.shell(code)

    return probe


def of(*names):
    """Return the changes of typical mistakes, made together."""
    changes = {}
    for name in names:
        for file, pairs in MISTAKES[name].changes.items():
            changes[file] = changes.get(file, ()) + pairs
    return changes


# A list of addresses alone, and what makes redis-py 7 do as redis-py 8 does by itself.
TIMEOUT_OF_REDIS_8 = 5  # seconds
OF_REDIS_8 = f'{{"address": REDIS_URL, "socket_timeout": {TIMEOUT_OF_REDIS_8}, "max_connections": 100}}'
ONLY_THE_ADDRESS = f'"hosts": [{OF_REDIS_8 if redis.__version__ < "8" else "REDIS_URL"}]'
CELERY = ("-m", "celery", "-A", "config")
CHAT_LOBBY = "ws://{host}/ws/chat/lobby/"
NO_BROKER = {"REDIS_URL": f"redis://127.0.0.1:{free_port()}"}
NO_SETTINGS = {"DJANGO_SETTINGS_MODULE": None}
ONLY_HTTP = "from django.core.asgi import get_asgi_application\n\napplication = get_asgi_application()\n"
# Like of("rooms are only letters"), without what else takes a path.
ROUTE = (r"^ws/chat/(?P<room_name>.+)/$", r"ws/chat/(?P<room_name>\w+)/$", LAST_ROUTE, "")
TRUST = (
    *("message = read_message(text_data)\n", 'message = json.loads(text_data)["message"]\n'),
    *("except ValueError as error", "except ZeroDivisionError as error"),
)
COUNT_USERS = (
    *("        await self.accept()\n", "        User.objects.count()\n        await self.accept()\n"),
    *MISTAKES["routing before the apps are loaded"].changes[CONSUMERS],
)
PHANTOM = (
    *("delay_on_commit", "delay"),
    *("        messages.success(", "            raise RuntimeError\n        messages.success("),
)
RESULTS = (
    'CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0}\n',
    "CELERY_RESULT_BACKEND = REDIS_URL\n",
)
COMMITTED = "tests/test_step05_celery.py"
NO_POSTS = (
    "from blog.models import Post\n\n\ndef test_there_are_no_posts():\n    assert not Post.objects.exists()\n"
)
CHAT = ('    "channels",\n', '    "channels",\n    "chat",\n')

# The longest come first.
SYMPTOMS = {
    # s21 is the unchanged step, with the broker down.
    "s35": Symptom(5, shell(DELAY), {SETTINGS: RESULTS}, NO_BROKER, cure=False),
    "s37": Symptom(5, killed_worker, of("an hour until a task returns"), cure=False),
    "s43": Symptom(5, dead_line, {SETTINGS: ('    "health_check_interval": 10,\n', "")}, cure=False),
    "c403": Symptom(3, opens("ws://{host}/chat/lobby/"), cure=False),
    "c404": Symptom(3, opens(CHAT_LOBBY), of("daphne is missing"), cure=False),
    "c500": Symptom(3, opens(CHAT_LOBBY), of("no websocket key"), cure=False),
    "csp": Symptom(5, inline_script, {"templates/index.html": "<script>1</script>"}, PRODUCTION, cure=False),
    "venv": Symptom(3, without_environment, cure=with_environment),
    "port": Symptom(3, taken_port, cure=start("runserver")),
    "migrations": Symptom(3, start("runserver"), env={"DATABASE_PATH": ":memory:"}),
    "s38": Symptom(4, shell(VISIT), of("chat is not included")),
    "s39": Symptom(4, shell(VISIT), of("a template that is not there")),
    "s40": Symptom(5, shell(PUBLISH), of("the Celery app is not imported")),
    "s41": Symptom(4, shell(VISIT), env={"DATABASE_PATH": ":memory:"}),
    "s42": Symptom(1, command("manage.py", "check"), {SETTINGS: CHAT}),
    "s30": Symptom(4, secure_page, of("ws written out")),
    "s01": Symptom(3, Chat(), of("daphne is missing")),
    "s02": Symptom(3, command("manage.py", "check"), of("daphne is last")),
    "s03": Symptom(3, Chat(), of("no .as_asgi()")),
    "s04": Symptom(3, Chat(path="/ws/chat/my-room/"), {ROUTING: ROUTE}),
    "s05": Symptom(3, Chat(), of("no websocket key")),
    "s06": Symptom(3, Chat(), {ASGI: ONLY_HTTP}),
    "s07": Symptom(3, start("runserver"), of("no ASGI_APPLICATION")),
    "s08": Symptom(3, start("daphne"), of("routing before the apps are loaded")),
    "s08b": Symptom(3, start("daphne"), of("routing before the apps are loaded"), NO_SETTINGS),
    "s09": Symptom(3, Chat(path="/ws/chat/%E6%97%A5%E6%9C%AC/"), of("the room's name is the group's")),
    "s10": Symptom(3, Chat(), of("no CHANNEL_LAYERS")),
    "s11": Symptom(3, Chat(), env=NO_BROKER),
    "s13": Symptom(3, Chat(), of("hosts is no list")),
    "s14": Symptom(3, Chat(headers={"Origin": None}), cure=Chat()),
    "s15": Symptom(3, Chat(), of("type names no method")),
    "s17": Symptom(3, Chat("hello", "{}"), {CONSUMERS: TRUST}),
    "s18": Symptom(3, Chat(), {CONSUMERS: COUNT_USERS}),
    "s19": Symptom(3, Chat(), of("async_to_sync in async code")),
    "s16": Symptom(3, nothing_arrives, of("group_send without await")),
    "s20": Symptom(5, shell(QUOTES["s20"][0]), of("the layer is in memory")),
    "s23": Symptom(5, late_commit, of("get() for a user who is gone"), cure=False),
    "s24": Symptom(5, unregistered, cure=False),
    "s27": Symptom(5, shell(ASK), cure=False),
    "s29": Symptom(5, inspect, cure=with_worker),
    "s32": Symptom(3, idle, {SETTINGS: (HOSTS, ONLY_THE_ADDRESS)}, cure=still_open),
    "s33": Symptom(3, crowd, {SETTINGS: (HOSTS, ONLY_THE_ADDRESS)}, cure=crowd_in_production),
    "s34": Symptom(5, shell(QUOTES["s34"][0]), cure=in_production(QUOTES["s34"][0])),
    "s36": Symptom(5, phantom_mail, {VIEWS: PHANTOM}, cure=False),
    "t1": Symptom(5, step_test("tests/test_posts.py"), {"tests/test_posts.py": NO_POSTS}, cure=False),
    "t2": Symptom(
        5,
        step_test(f"{COMMITTED}::test_the_notice_is_queued_when_the_post_is_committed"),
        {COMMITTED: ("    callbacks[0]()\n", "")},
    ),
    "s28": Symptom(
        5,
        lambda project: project.run(*CELERY, "worker", cwd=project.step.parent),
        cure=command(*CELERY, "inspect", "ping"),
    ),
    "s21": Symptom(5, shell(DELAY), env=NO_BROKER),
    "s22": Symptom(5, no_app, of("the Celery app is not imported"), cure=shell(DELAY)),
    "s26": Symptom(5, shell(DELAY_A_USER), cure=shell(DELAY)),
}
