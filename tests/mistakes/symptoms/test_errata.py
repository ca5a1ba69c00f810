"""The errata are true: the document's own lines, put back into a step, do what the page says."""

import re

import psutil
import pytest
import redis

from tests.mistakes.symptoms.mistakes import (
    Chat,
    Mistake,
    check_links,
    late_commit,
    missing,
    opens,
    read_page,
    shell,
    start,
    two_at_a_time,
)
from tutorial.course.steps import ROOT
from tutorial.services.ports import free_port
from tutorial.services.processes import wait_until
from tutorial.testing.mail_server import MailServer

PAGE = ROOT / "docs/errata.md"
ENTRIES = read_page(PAGE)

# The document's code. Its lists of apps and the arguments of Post.objects.create() are cut short with `...`.
INSTALL = "pip install channels channels-redis\n"
SETTINGS = """\
INSTALLED_APPS = [..., 'channels']
ASGI_APPLICATION = 'config.asgi.application'
CHANNEL_LAYERS = {
    'default': {
        'BACKEND': 'channels_redis.core.RedisChannelLayer',
        'CONFIG': {'hosts': [('127.0.0.1', 6379)]},
    },
}
"""
CONSUMERS = """\
import json
from channels.generic.websocket import AsyncWebsocketConsumer
class ChatConsumer(AsyncWebsocketConsumer):
    async def connect(self):
        self.room_name = self.scope['url_route']['kwargs']['room_name']
        self.room_group = f'chat_{self.room_name}'
        # グループに参加
        await self.channel_layer.group_add(
            self.room_group, self.channel_name
        )
        await self.accept()
    async def disconnect(self, close_code):
        await self.channel_layer.group_discard(
            self.room_group, self.channel_name
        )
    async def receive(self, text_data):
        data = json.loads(text_data)
        message = data['message']
        username = self.scope['user'].username
        # グループ全体に送信
        await self.channel_layer.group_send(
            self.room_group,
            {
                'type': 'chat_message',
                'message': message,
                'username': username,
            }
        )
    async def chat_message(self, event):
        await self.send(text_data=json.dumps({
            'message': event['message'],
            'username': event['username'],
        }))
"""
ROUTING = r"""
from django.urls import re_path
from . import consumers
websocket_urlpatterns = [
    re_path(r'ws/chat/(?P<room_name>\w+)/$', consumers.ChatConsumer.as_asgi()),
]
"""
ASGI = """\
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.auth import AuthMiddlewareStack
import chat.routing
application = ProtocolTypeRouter({
    'http': get_asgi_application(),
    'websocket': AuthMiddlewareStack(
        URLRouter(chat.routing.websocket_urlpatterns)
    ),
})
"""
CLIENT = """\
const ws = new WebSocket(
    'wss://' + window.location.host + '/ws/chat/room1/'
);
ws.onmessage = function(event) {
    const data = JSON.parse(event.data);
    console.log(data.username + ': ' + data.message);
};
ws.onopen = function() {
    ws.send(JSON.stringify({
        'message': 'こんにちは!'
    }));
};
"""
CELERY = """\
from celery import Celery
import os
os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'config.settings')
app = Celery('config')
app.config_from_object('django.conf:settings', namespace='CELERY')
app.autodiscover_tasks()
"""
TASKS = """\
from celery import shared_task
@shared_task
def send_notification_email(user_id, message):
    from django.contrib.auth import get_user_model
    from django.core.mail import send_mail
    User = get_user_model()
    user = User.objects.get(id=user_id)
    send_mail('通知', message, 'noreply@example.com', [user.email])
"""
VIEW = """\
def create_post(request):
    post = Post.objects.create(...)
    send_notification_email.delay(request.user.id, '記事が公開されました')
    return redirect('blog:post_list')
"""
DOCUMENT = [INSTALL, SETTINGS, CONSUMERS, ROUTING, ASGI, CLIENT, CELERY, TASKS, VIEW]

DAPHNE = '    "daphne",  # First: it replaces runserver with one that speaks ASGI.\n'
# The one line without which nothing of the document runs; its own erratum is tested without it.
NEEDED_IMPORT = "from django.core.asgi import get_asgi_application\n"
CHAT = {
    "chat/consumers.py": CONSUMERS,
    "chat/routing.py": ROUTING,
    "config/asgi.py": NEEDED_IMPORT + ASGI,
}
# The document's channel layer, but for the port.
LAYER = (
    '"hosts": [{"address": REDIS_URL, "retry": Retry(NoBackoff(), 1)}]',
    "'hosts': [('127.0.0.1', int(REDIS_URL.rpartition(':')[2]))]",
    '            "capacity": 1000,\n',
    "",
)
VIEWS = f"""\
from django.shortcuts import redirect, render
from blog.models import Post
from blog.tasks import send_notification_email
def post_list(request):
    return render(request, "blog/post_list.html", {{"posts": Post.objects.all()}})
{VIEW.replace("...", 'author=request.user, title="t", body="b"')}"""
BLOG = {"config/celery.py": CELERY, "blog/tasks.py": TASKS, "blog/views.py": VIEWS}
PUBLISH = """
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from blog.models import Post
client = Client(raise_request_exception=False, headers={"host": "localhost"})
client.force_login(User.objects.get(username="alice"))
before = Post.objects.count()
"""


def chat(*frames, **options):
    """Return the document's chat and a probe that talks to it."""
    return Mistake(
        "step03_routing", Chat(*frames, **options), edits={"config/settings.py": LAYER}, files=CHAT
    )


def bad_frame(project):
    """Send a frame that is no chat message, and count whom the group still has when its sender is gone."""
    said = Chat("hello")(project)
    with redis.Redis.from_url(project.broker.url) as broker:
        members = broker.zcard("asgi:group:chat_lobby")
    return f"{said}\nmembers of the group that nobody is behind: {members}"


def rolled_back(project):
    """Publish inside a transaction that fails afterwards."""
    with MailServer() as mail_server:
        worker = project.worker(mail_server.env)
        said = project.shell(
            PUBLISH
            + """
try:
    with transaction.atomic():
        client.post("/blog/new/")
        raise RuntimeError
except RuntimeError:
    print("posts:", Post.objects.count() - before)
"""
        )
        [mail] = mail_server.wait_for(1)
        worker.stop()
        return f"{said}\nmail: {mail['Subject']} {mail.get_content()}"


def busy_mail_server(project):
    """Let the mail server refuse a mail for now."""
    with MailServer() as mail_server:
        mail_server.refusal = "451 come back later"
        worker = project.worker(mail_server.env)
        project.shell(SEND)
        worker.wait_for_output("raised unexpected")
        worker.stop()
        waiting = tasks_left(project)
        return f"{worker.output}\nattempts: {mail_server.attempts}\ntasks left: {waiting}"


def killed_child(project):
    """Kill the process that sends a mail."""
    with MailServer() as mail_server:
        mail_server.stall.clear()
        worker = project.worker(mail_server.env)
        project.shell(SEND)
        wait_until(lambda: mail_server.attempts, 20, "the first attempt")
        for child in psutil.Process(worker.pid).children():
            if any(connection.raddr[1:] == (mail_server.port,) for connection in child.net_connections()):
                child.kill()
        worker.wait_for_output("WorkerLostError")
        worker.stop()
        return f"{worker.output}\ntasks left: {tasks_left(project)}"


def tasks_left(project):
    """Return how many tasks wait in the queue or for an acknowledgement."""
    with redis.Redis.from_url(project.broker.url) as broker:
        return broker.llen("celery") + broker.hlen("unacked")


def worker_without_broker_url(project):
    """Start a worker whose broker no setting names, and queue a task."""
    worker = project.spawn("-m", "celery", "-A", "config", "worker", "--pool", "solo")
    said = project.shell(SEND)
    worker.wait_for_output("Cannot connect to")
    worker.stop()
    return worker.output + said


SEND = """
from django.contrib.auth.models import User
from blog.tasks import send_notification_email
send_notification_email.delay(User.objects.get(username="alice").id, "hello")
"""

ERRATA = {
    "e01": Mistake(
        "step03_routing",
        Chat(path="/ws/chat/room1/"),
        edits={"config/settings.py": (*LAYER, DAPHNE, "")},
        files=CHAT,
    ),
    "e02": Mistake(
        "step03_routing",
        start("runserver"),
        edits={"config/settings.py": LAYER},
        files=CHAT | {"config/asgi.py": ASGI},
    ),
    "e03": Mistake(
        "step03_routing",
        start("daphne"),
        edits={"config/settings.py": LAYER},
        files=CHAT,
        env={"DJANGO_SETTINGS_MODULE": None},
    ),
    "e04": Mistake(
        "step03_routing",
        start("daphne"),
        edits={"config/settings.py": LAYER},
        files=CHAT | {"chat/consumers.py": f"from django.contrib.auth.models import User\n{CONSUMERS}"},
    ),
    "e05": chat(path="/ws/chat/my-room/"),
    "e06": chat(path="/ws/chat/%E6%97%A5%E6%9C%AC/"),
    "e07": Mistake("step03_routing", bad_frame, edits={"config/settings.py": LAYER}, files=CHAT),
    "e08": chat(b"\x00\xff"),
    "e09": chat(origin="https://evil.example", user="alice"),
    "e10": chat(),
    "e11": Mistake(
        "step03_routing",
        opens("", f"() => {{ {CLIENT} }}", "uvicorn"),
        edits={"config/settings.py": LAYER},
        files=CHAT,
    ),
    "e13": Mistake(
        "step05_celery",
        worker_without_broker_url,
        edits={"config/settings.py": ("CELERY_BROKER_URL = REDIS_URL\n", "")},
        files=BLOG | {"config/__init__.py": ""},
    ),
    "e14": Mistake("step05_celery", rolled_back, files=BLOG),
    "e15": Mistake("step05_celery", late_commit, files=BLOG),
    "e16": Mistake(
        "step05_celery",
        shell(
            PUBLISH
            + 'print("status:", client.post("/blog/new/").status_code)\n'
            + 'print("posts:", Post.objects.count() - before)\n'
        ),
        files=BLOG,
        env={"REDIS_URL": f"redis://127.0.0.1:{free_port()}"},
    ),
    "e17": Mistake("step05_celery", busy_mail_server, files=BLOG),
    "e18": Mistake("step05_celery", killed_child, files=BLOG),
}
# What cannot be run here: it takes libraries newer than the locked ones.
REPORTED = {"e12"}


@pytest.fixture(scope="module")
def said(request):
    """What the selected errata say; two run at a time."""
    selected = {item.callspec.params["name"] for item in request.session.items if "said" in item.fixturenames}
    yield from two_at_a_time({name: ERRATA[name].make for name in ERRATA if name in selected})


def flat(code):
    """Return code without its layout, which the document does not have."""
    return "".join(code.split())


@pytest.mark.parametrize("name", ERRATA)
def test_the_documents_line_does_what_the_page_says(said, name):
    """Put the document's lines into the step, and you read what the page says you read."""
    assert ENTRIES[name].texts
    answer = said(name)
    absent = [line for text in ENTRIES[name].texts for line in missing(text, answer)]
    assert not absent, answer


@pytest.mark.parametrize("name", ENTRIES)
def test_the_page_quotes_the_document(name):
    """What the page shows as the document's is the document's."""
    assert ENTRIES[name].quotes
    for quote in ENTRIES[name].quotes:
        assert any(flat(quote) in flat(code) for code in DOCUMENT), quote


def test_every_erratum_is_provoked_or_reported():
    """An erratum has a test, or it says that it is reported and links to the thread."""
    assert set(ENTRIES) == set(ERRATA) | REPORTED
    assert {name for name, entry in ENTRIES.items() if entry.reported} == REPORTED


@pytest.mark.parametrize("name", ENTRIES)
def test_our_way_is_proved(name):
    """An erratum links to the file that does it right and names a test of that step, which exists."""
    body = ENTRIES[name].body
    assert "- **Here:** " in body
    proofs = re.findall(r"`(test_\w+)` in \[[^]]+\]\(([^)]+)\)", body)
    assert proofs
    for test, file in proofs:
        assert f"def {test}(" in (PAGE.parent / file).read_text()


def test_the_links_lead_somewhere():
    """A link to a thread leads to that project and number, and a link to a file to a file that exists."""
    check_links(PAGE)
