"""The symptom index is true: each mistake is made in a copy of a step, and says what the page says."""

import pytest
import redis
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.mistakes.symptoms.mistakes import (
    GREETING,
    Chat,
    Mistake,
    check_links,
    console_of,
    late_commit,
    missing,
    opens,
    page_of,
    project,
    read_page,
    shell,
    start,
    two_at_a_time,
)
from tutorial.course.steps import ROOT
from tutorial.services.ports import free_port
from tutorial.services.processes import wait_until
from tutorial.testing.mail_server import MailServer

PAGE = ROOT / "docs/symptoms.md"
ENTRIES = read_page(PAGE)

HOSTS = '"hosts": [{"address": REDIS_URL, "retry": Retry(NoBackoff(), 1)}]'
ROUTE = r'r"^ws/chat/(?P<room_name>.+)/$"'
LAST_ROUTE = '    re_path(r"", consumers.UnknownPathConsumer.as_asgi()),\n'
GROUP = '"chat_" + hashlib.sha256(self.room_name.encode()).hexdigest()'
IMPORT_ROUTING = "from chat.routing import websocket_urlpatterns\n"
SEND = "await self.channel_layer.group_send("
ON_COMMIT = 'send_notification_email.delay_on_commit(request.user.id, "記事が公開されました")'
NOBODY_LISTENS = f"redis://127.0.0.1:{free_port()}"


def manage(*arguments):
    """Return a probe that runs manage.py."""
    return lambda project: project.manage(*arguments)


DELAY = """
from blog.tasks import send_notification_email
print(send_notification_email.delay(1, "hello"))
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
GET_USER = (
    """    user = get_user_model().objects.filter(id=user_id).first()
    if user is None or not user.email:
        logger.warning("No notice for user %s: deleted, or without an address.", user_id)
        return
""",
    "    user = get_user_model().objects.get(id=user_id)\n",
)


def inspect(project):
    """Queue a task and ask who is there to take it."""
    return project.shell(DELAY) + project.run("-m", "celery", "-A", "config", "inspect", "ping")


def with_worker(project):
    """The same while a worker runs."""
    project.worker()
    return inspect(project)


def one_page_quote(name):
    """Return a probe that runs the code on the page in Django's shell."""
    return lambda project: project.shell(ENTRIES[name].quotes[0])


def nothing_arrives(project):
    """Send a greeting, and then something to the group by another way: is the greeting heard before it?"""
    told = {}
    for kind in ("runserver", "uvicorn"):
        server = project.server(kind)
        with joined(project, server) as socket:
            socket.send(GREETING)
            # Its answer says that the server has done with the greeting.
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
        heard.append(socket.recv(timeout=20))
    return heard


def idle(project):
    """Leave a socket alone until the server closes it."""
    server = project.server()
    with joined(project, server) as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv(timeout=30)
    server.stop()
    return f"{closed.value}\n{server.output}"


def joined(project, server):
    """Join a room on a server."""
    address = server.websocket_url("/ws/chat/lobby/")
    return connect(address, additional_headers=project.headers(server), proxy=None)


def unregistered(project):
    """Write a new task while the worker runs, and queue it."""
    worker = project.worker()
    with (project.directory / "blog/tasks.py").open("a") as tasks:
        tasks.write("\n\n@shared_task\ndef remind(user_id):\n    pass\n")
    said = project.shell("from blog.tasks import remind; remind.delay(1)")
    wait_until(lambda: "strategy" in worker.output, 20, "the error")
    worker.stop()
    return said + worker.output


def phantom_mail(project):
    """Publish a post whose transaction fails after the task was queued."""
    with MailServer() as mail_server:
        worker = project.worker(mail_server.env)
        said = project.shell("""
from django.contrib.auth.models import User
from django.test import Client
from blog.models import Post
client = Client(raise_request_exception=False)
client.force_login(User.objects.get(username="alice"))
client.post("/blog/new/", {"title": "t", "body": "b"}, HTTP_HOST="localhost")
print("posts:", Post.objects.count())
""")
        [mail] = mail_server.wait_for(1)
        wait_until(lambda: "succeeded" in worker.output, 20, "the task")
        assert "posts: 0" in said
        assert mail.get_content().strip() == "記事が公開されました"
        return worker.output


def killed_worker(project):
    """Kill a worker in mid-task, ask the broker about it, and let an hour pass by turning its clock."""
    with MailServer() as mail_server:
        mail_server.stall.clear()
        worker = project.worker(mail_server.env)
        said = project.shell(DELAY)
        wait_until(lambda: mail_server.attempts, 20, "the first attempt")
        worker.kill()
        said += project.shell(ENTRIES["s37"].quotes[0])
        mail_server.stall.set()
        worker.start()
        with redis.Redis.from_url(project.broker.url) as broker:
            [(tag, score)] = broker.zscan_iter("unacked_index")
            assert mail_server.attempts == 1
            broker.zadd("unacked_index", {tag: score - 3600})
        wait_until(lambda: mail_server.attempts == 2, 30, "the second run")
    return said


def step_test(name):
    """Return a probe that runs one of the step's own tests."""
    return lambda project: project.run("-m", "pytest", "-q", "-p", "no:cacheprovider", name)


def secure_page(project):
    """Open a room over HTTPS; the page and its files come from the project's server."""
    server = project.server()
    with page_of() as page:
        headers = project.headers(server, "alice")

        def over_http(route):
            address = route.request.url.replace("https://chat.example", server.url)
            route.fulfill(response=route.fetch(url=address, headers=headers))

        page.route("https://chat.example/**", over_http)
        page.goto("https://chat.example/chat/room/?name=room1")
        return console_of(page)


USE_A_MODEL = (
    "from channels.generic.websocket import AsyncWebsocketConsumer\n",
    "from channels.generic.websocket import AsyncWebsocketConsumer\n"
    "from django.contrib.auth.models import User\n",
)
NO_DAPHNE = {
    "config/settings.py": ('    "daphne",  # First: it replaces runserver with one that speaks ASGI.\n', "")
}

MISTAKES = {
    "s35": Mistake(
        "step05_celery",
        shell(DELAY),
        edits={
            "config/settings.py": (
                "CELERY_TASK_IGNORE_RESULT = True\n",
                "CELERY_RESULT_BACKEND = REDIS_URL\n",
                'CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 1, "interval_start": 0}\n',
                "",
            )
        },
        env={"REDIS_URL": NOBODY_LISTENS},
        # s21 is the step as it stands, with the broker down.
        cure=False,
    ),
    "s37": Mistake(
        "step05_celery",
        killed_worker,
        edits={
            "config/settings.py": (
                '    "visibility_timeout": int(os.environ.get("VISIBILITY_TIMEOUT", "120")),\n',
                "",
            )
        },
        cure=False,
    ),
    "c403": Mistake("step03_routing", opens("ws://{host}/chat/lobby/"), cure=False),
    "c404": Mistake("step03_routing", opens("ws://{host}/ws/chat/lobby/"), edits=NO_DAPHNE, cure=False),
    "c500": Mistake(
        "step03_routing",
        opens("ws://{host}/ws/chat/lobby/"),
        edits={"config/asgi.py": ('"websocket": ', '"ws": ')},
        cure=False,
    ),
    "s30": Mistake(
        "step04_client",
        secure_page,
        edits={
            "chat/static/chat/room.js": ('location.protocol === "https:" ? "wss:" : "ws:"', '"ws:"'),
            # The step's Content-Security-Policy would refuse the socket first.
            "config/settings.py": ('    "csp.middleware.CSPMiddleware",\n', ""),
        },
    ),
    "s01": Mistake(
        "step03_routing",
        Chat(),
        edits=NO_DAPHNE,
    ),
    "s02": Mistake(
        "step03_routing",
        manage("check"),
        edits={
            "config/settings.py": (
                '    "daphne",  # First: it replaces runserver with one that speaks ASGI.\n',
                "",
                '    "channels",\n',
                '    "channels",\n    "daphne",\n',
            )
        },
    ),
    "s03": Mistake(
        "step03_routing",
        Chat(),
        edits={"chat/routing.py": ("consumers.ChatConsumer.as_asgi()", "consumers.ChatConsumer")},
    ),
    "s04": Mistake(
        "step03_routing",
        Chat(path="/ws/chat/my-room/"),
        edits={"chat/routing.py": (ROUTE, r'r"ws/chat/(?P<room_name>\w+)/$"', LAST_ROUTE, "")},
    ),
    "s05": Mistake("step03_routing", Chat(), edits={"config/asgi.py": ('"websocket": ', '"ws": ')}),
    "s06": Mistake(
        "step03_routing",
        Chat(),
        files={
            "config/asgi.py": "from django.core.asgi import get_asgi_application\n\n"
            "application = get_asgi_application()\n"
        },
    ),
    "s07": Mistake(
        "step03_routing",
        start("runserver"),
        edits={"config/settings.py": ('ASGI_APPLICATION = "config.asgi.application"\n', "")},
    ),
    "s08": Mistake(
        "step03_routing",
        start("daphne"),
        edits={
            "config/asgi.py": (
                IMPORT_ROUTING,
                "",
                "# Loads the apps.",
                IMPORT_ROUTING + "# Loads the apps.",
            ),
            "chat/consumers.py": USE_A_MODEL,
        },
    ),
    "s08b": Mistake(
        "step03_routing",
        start("daphne"),
        edits={
            "config/asgi.py": (IMPORT_ROUTING, "", "import os\n", f"import os\n\n{IMPORT_ROUTING}"),
            "chat/consumers.py": USE_A_MODEL,
        },
        env={"DJANGO_SETTINGS_MODULE": None},
    ),
    "s09": Mistake(
        "step03_routing",
        Chat(path="/ws/chat/%E6%97%A5%E6%9C%AC/"),
        edits={"chat/consumers.py": (GROUP, 'f"chat_{self.room_name}"')},
    ),
    "s10": Mistake(
        "step03_routing",
        Chat(),
        edits={"config/settings.py": ("CHANNEL_LAYERS = {", "LAYERS = {")},
    ),
    "s11": Mistake("step03_routing", Chat(), env={"REDIS_URL": NOBODY_LISTENS}),
    "s13": Mistake("step03_routing", Chat(), edits={"config/settings.py": (HOSTS, '"hosts": REDIS_URL')}),
    "s14": Mistake("step03_routing", Chat(origin=None), cure=Chat()),
    "s15": Mistake(
        "step03_routing",
        Chat(),
        edits={"chat/consumers.py": ('"type": "chat_message"', '"type": "chat.msg"')},
    ),
    "s17": Mistake(
        "step03_routing",
        Chat("hello", "{}"),
        edits={
            "chat/consumers.py": (
                "message = read_message(text_data)\n        except ValueError as error",
                'message = json.loads(text_data)["message"]\n        except ZeroDivisionError as error',
            )
        },
    ),
    "s18": Mistake(
        "step03_routing",
        Chat(),
        edits={
            "chat/consumers.py": (
                "        await self.accept()\n",
                "        from django.contrib.auth.models import User\n\n"
                "        self.users = User.objects.count()\n"
                "        await self.accept()\n",
            )
        },
    ),
    "s19": Mistake(
        "step03_routing",
        Chat(),
        edits={
            "chat/consumers.py": (
                SEND,
                "async_to_sync(self.channel_layer.group_send)(",
                "import hashlib\n",
                "import hashlib\n\nfrom asgiref.sync import async_to_sync\n",
            )
        },
    ),
    "s16": Mistake(
        "step03_routing",
        nothing_arrives,
        edits={"chat/consumers.py": (SEND, SEND.removeprefix("await "))},
    ),
    "s20": Mistake(
        "step05_celery",
        one_page_quote("s20"),
        edits={
            "config/settings.py": (
                "channels_redis.core.RedisChannelLayer",
                "channels.layers.InMemoryChannelLayer",
                f"            {HOSTS},\n",
                "",
            )
        },
    ),
    "s23": Mistake("step05_celery", late_commit, edits={"blog/tasks.py": GET_USER}, cure=False),
    "s24": Mistake("step05_celery", unregistered, cure=False),
    "s27": Mistake(
        "step05_celery",
        shell(ASK),
        edits={"config/settings.py": ("CELERY_TASK_IGNORE_RESULT = True\n", "")},
        cure=False,
    ),
    "s29": Mistake("step05_celery", inspect, cure=with_worker),
    "s32": Mistake(
        "step03_routing",
        idle,
        edits={"config/settings.py": ('"address": REDIS_URL,', '"address": REDIS_URL, "socket_timeout": 1,')},
        cure=False,
    ),
    "s33": Mistake(
        "step03_routing",
        Chat(),
        edits={
            "config/settings.py": ('"address": REDIS_URL,', '"address": REDIS_URL, "max_connections": 1,')
        },
    ),
    "s34": Mistake(
        "step03_routing",
        one_page_quote("s34"),
        edits={"config/settings.py": ('            "capacity": 1000,\n', "")},
    ),
    "s36": Mistake(
        "step05_celery",
        phantom_mail,
        edits={
            "blog/views.py": (
                ON_COMMIT,
                ON_COMMIT.replace("delay_on_commit", "delay")
                + '\n            raise RuntimeError("after the task was queued")',
            )
        },
        cure=False,
    ),
    "t1": Mistake(
        "step05_celery",
        step_test("tests/test_posts.py"),
        files={
            "tests/test_posts.py": "from blog.models import Post\n\n\n"
            "def test_there_are_no_posts():\n    assert not Post.objects.exists()\n"
        },
        cure=False,
    ),
    "t2": Mistake(
        "step05_celery",
        step_test("tests/test_step05_celery.py::test_the_notice_is_queued_when_the_post_is_committed"),
        edits={"tests/test_step05_celery.py": ("    callbacks[0]()\n", "")},
    ),
    "s28": Mistake(
        "step05_celery",
        lambda project: project.run("-m", "celery", "-A", "config", "worker", cwd=project.directory.parent),
        cure=lambda project: project.run("-m", "celery", "-A", "config", "inspect", "ping"),
    ),
    "s21": Mistake("step05_celery", shell(DELAY), env={"REDIS_URL": NOBODY_LISTENS}),
    "s22": Mistake("step05_celery", shell(DELAY), files={"config/__init__.py": ""}),
    "s26": Mistake(
        "step05_celery",
        shell("""
from django.contrib.auth.models import User
from blog.tasks import send_notification_email
send_notification_email.delay(User.objects.get(username="alice"), "hello")
"""),
        cure=shell(DELAY),
    ),
}

# Not to be provoked here: they need Windows, an old Redis server or older libraries.
REPORTED = {"s12", "s25", "s31"}
# What the page says of clients, and what a client reports.
TOLD = {"told 403": "HTTP 403", "told 404": "HTTP 404", "told 500": "HTTP 500", "code 1011": "1011"}
ROWS = {f"s{number:02}" for number in range(1, 38)}
PLACES = ["Browser console", "Server log", "Worker log", "Tests", "Nowhere: nothing happens"]


@pytest.fixture(scope="module")
def said(request):
    """What the selected mistakes and cures say; two run at a time, those that wait longest first."""
    selected = {
        (item.originalname, item.callspec.params["name"])
        for item in request.session.items
        if hasattr(item, "callspec")
    }
    tasks = {
        ("made", name): MISTAKES[name].make
        for name in MISTAKES
        if (test_the_page_has_what_is_said.__name__, name) in selected
    }
    tasks |= {
        ("mended", name): MISTAKES[name].mend
        for name in MISTAKES
        if (test_the_cure_makes_it_vanish.__name__, name) in selected
    }
    yield from two_at_a_time(tasks)


@pytest.mark.parametrize("name", MISTAKES)
def test_the_page_has_what_is_said(said, name):
    """Make the mistake in a copy of the step, and you read what the page says you read."""
    texts = ENTRIES[name].texts
    assert texts
    answer = said(("made", name))
    absent = [line for text in texts for line in missing(text, answer)]
    assert not absent, answer
    for claim, sign in TOLD.items():
        assert sign in answer or claim not in ENTRIES[name].body


@pytest.fixture(scope="module")
def mended():
    """The unchanged step 3 with a server that all its cures share."""
    with project("step03_routing") as mended:
        yield mended, mended.server()


@pytest.mark.parametrize("name", [name for name, mistake in MISTAKES.items() if mistake.chats])
def test_the_cure_lets_people_talk(mended, name):
    """In the step as it stands the same visit is answered, and nothing is raised."""
    project, server = mended
    cure = MISTAKES[name].cure
    told = (MISTAKES[name].probe if cure is True else cure).talk(project, server)
    assert "the socket is open\nanswer: " in told
    assert "close code" not in told
    assert "Traceback" not in server.output


@pytest.mark.parametrize(
    "name", [name for name, mistake in MISTAKES.items() if mistake.cure and not mistake.chats]
)
def test_the_cure_makes_it_vanish(said, name):
    """In the step as it stands, the same commands say nothing of the kind."""
    answer = said(("mended", name))
    assert "Traceback" not in answer
    assert all(missing(line, answer) for text in ENTRIES[name].texts for line in text.splitlines())


def test_the_page_has_every_row():
    """Every symptom is on the page, in the part for the place where it shows."""
    assert set(ENTRIES) >= ROWS
    places = [entry.section for entry in ENTRIES.values()]
    assert list(dict.fromkeys(places)) == PLACES


def test_every_row_is_provoked_or_reported():
    """An entry has a test that provokes it, or it says that it is reported and links to the thread."""
    assert set(ENTRIES) - set(MISTAKES) == REPORTED
    assert {name for name, entry in ENTRIES.items() if entry.reported} == REPORTED
    for name in REPORTED:
        assert "**Thread:**" in ENTRIES[name].body


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_tells_cause_and_cure(name):
    """An entry has an exact text, a cause and a cure."""
    entry = ENTRIES[name]
    assert entry.texts
    assert "- **Cause:** " in entry.body
    assert "- **Cure:** " in entry.body


def test_threads_and_files_are_what_they_are_called():
    """A link to a thread leads to that project and number, and a link to a file to a file that exists."""
    check_links(PAGE)


def test_a_restarted_worker_knows_a_new_task():
    """Once a worker has been started again, its banner lists the new task, and it runs (the cure of s24)."""
    with project("step05_celery") as mended:
        with mended.worker() as worker:
            assert "blog.tasks.remind" not in worker.output
        with (mended.directory / "blog/tasks.py").open("a") as tasks:
            tasks.write("\n\n@shared_task\ndef remind(user_id):\n    pass\n")
        worker = mended.worker()
        assert "  . blog.tasks.remind" in worker.output
        mended.shell("from blog.tasks import remind; remind.delay(1)")
        worker.wait_for_output("succeeded")


def test_an_ignored_result_is_none_at_once():
    """With the step's settings, asking a task for its result gives None without waiting (the cure of s27)."""
    with project("step05_celery") as mended:
        code = "from blog.tasks import send_notification_email as send; print(send.delay(1, 'hello').get())"
        assert mended.shell(code).splitlines()[-1] == "None"


def test_a_test_with_the_mark_may_use_the_database():
    """The test that was refused passes once it has the mark (the cure of t1)."""
    [(name, text)] = MISTAKES["t1"].files.items()
    marked = "import pytest\n" + text.replace("def test", "@pytest.mark.django_db\ndef test")
    with project("step05_celery", files={name: marked}) as mended:
        assert "1 passed" in step_test(name)(mended)
