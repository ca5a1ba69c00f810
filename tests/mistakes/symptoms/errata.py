"""The document's own lines, put back into a step."""

from pathlib import Path

import psutil
import redis

from tests.mistakes.mistakes import (
    ASGI,
    CONFIG,
    CONSUMERS,
    DAPHNE,
    HOSTS,
    ROUTING,
    SETTINGS,
    TASKS,
    VIEWS,
)
from tests.mistakes.symptoms.pages import BLOCK
from tests.mistakes.symptoms.projects import (
    Chat,
    Symptom,
    late_commit,
    opens,
    shell,
    skip_beside_rabbitmq,
    start,
)
from tests.mistakes.symptoms.symptoms import DELAY, SYMPTOMS
from tutorial.services.ports import free_port
from tutorial.services.processes import wait_until
from tutorial.testing.mail_server import MailServer

# The document's code by the names of its files.
DOCUMENT = {
    info.split()[1]: code
    for info, code in BLOCK.findall(Path(__file__).with_name("document.md").read_text(encoding="utf-8"))
}
# The document's channel layer, but for the port.
LAYER = (HOSTS, "'hosts': [('127.0.0.1', int(REDIS_URL.rpartition(':')[2]))]")
CHAT = {
    SETTINGS: LAYER,
    CONSUMERS: DOCUMENT[CONSUMERS],
    ROUTING: DOCUMENT[ROUTING],
    # The one line without which nothing of the document runs; its own erratum is tested without it.
    ASGI: f"from django.core.asgi import get_asgi_application\n{DOCUMENT[ASGI]}",
}
POST = 'author=request.user, title="t", body="b"'
# The document has no settings for this.
LATE = ("CELERY_TASK_ACKS_LATE = True\nCELERY_TASK_REJECT_ON_WORKER_LOST = True\n", "")
BLOG = {
    "config/celery.py": DOCUMENT["config/celery.py"],
    TASKS: DOCUMENT[TASKS],
    VIEWS: f"""\
from django.shortcuts import redirect, render
from blog.models import Post
from blog.tasks import send_notification_email
def post_list(request):
    return render(request, "blog/post_list.html", {{"posts": Post.objects.all()}})
{DOCUMENT[VIEWS].replace("...", POST)}""",
}
PUBLISH = """
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from blog.models import Post
client = Client(raise_request_exception=False, headers={"host": "localhost"})
client.force_login(User.objects.get(username="alice"))
before = Post.objects.count()
"""
ROLL_BACK = """
try:
    with transaction.atomic():
        client.post("/blog/new/")
        raise RuntimeError
except RuntimeError:
    print("posts:", Post.objects.count() - before)
"""
ASK = """
print("status:", client.post("/blog/new/").status_code)
print("posts:", Post.objects.count() - before)
"""


def bad_frame(project):
    """Send a frame that isn't a chat message, and count the group's members when its sender is gone."""
    said = Chat("hello")(project)
    with redis.Redis.from_url(project.broker.url) as broker:
        members = broker.zcard("asgi:group:chat_lobby")
    return f"{said}\nmembers of the group that nobody is behind: {members}"


def rolled_back(project):
    """Publish inside a transaction that fails afterwards."""
    with MailServer() as mail_server:
        worker = project.worker(mail_server.env)
        said = project.shell(PUBLISH + ROLL_BACK)
        [mail] = mail_server.wait_for(1)
        worker.stop()
        return f"{said}\nmail: {mail['Subject']} {mail.get_content()}"


def busy_mail_server(project):
    with MailServer() as mail_server:
        mail_server.refusal = "451 come back later"
        worker = project.worker(mail_server.env)
        project.shell(DELAY)
        worker.wait_for_output("raised unexpected")
        worker.stop()
        return f"{worker.output}\nattempts: {mail_server.attempts}\ntasks left: {tasks_left(project)}"


def killed_child(project):
    with MailServer() as mail_server:
        mail_server.stall.clear()
        worker = project.worker(mail_server.env)
        project.shell(DELAY)
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
    skip_beside_rabbitmq()
    worker = project.spawn("-m", "celery", "-A", "config", "worker", "--pool", "solo")
    said = project.shell(DELAY)
    worker.wait_for_output("Cannot connect to")
    worker.stop()
    return worker.output + said


ERRATA = {
    "e01": Symptom(3, Chat(path="/ws/chat/room1/"), CHAT | {SETTINGS: (*LAYER, DAPHNE, "")}),
    "e02": Symptom(3, start("runserver"), {SETTINGS: LAYER, ASGI: DOCUMENT[ASGI]}),
    "e03": Symptom(3, start("daphne"), CHAT, {"DJANGO_SETTINGS_MODULE": None}),
    "e04": Symptom(
        3,
        start("daphne"),
        CHAT | {CONSUMERS: f"from django.contrib.auth.models import User\n{CHAT[CONSUMERS]}"},
    ),
    "e05": Symptom(3, Chat(path="/ws/chat/my-room/"), CHAT),
    "e06": Symptom(3, Chat(path="/ws/chat/%E6%97%A5%E6%9C%AC/"), CHAT),
    "e07": Symptom(3, bad_frame, CHAT),
    "e08": Symptom(3, Chat(b"\x00\xff"), CHAT),
    "e09": Symptom(3, Chat(headers={"Origin": "https://evil.example"}, user="alice"), CHAT),
    "e10": Symptom(3, Chat(), CHAT),
    "e11": Symptom(3, opens("", f"() => {{ {DOCUMENT['client.js']} }}", "uvicorn"), CHAT),
    "e12": SYMPTOMS["s32"],
    "e13": Symptom(
        5,
        worker_without_broker_url,
        BLOG | {SETTINGS: ("CELERY_BROKER_URL = REDIS_URL\n", ""), CONFIG: ""},
    ),
    "e14": Symptom(5, rolled_back, BLOG),
    "e15": Symptom(5, late_commit, BLOG),
    "e16": Symptom(5, shell(PUBLISH + ASK), BLOG, {"REDIS_URL": f"redis://127.0.0.1:{free_port()}"}),
    "e17": Symptom(5, busy_mail_server, BLOG),
    "e18": Symptom(5, killed_child, BLOG | {SETTINGS: LATE}),
}
