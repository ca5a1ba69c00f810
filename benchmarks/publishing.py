"""What a queue gains: publishing a post with it and without, and a worker's tasks per second."""

import re
import time
from contextlib import ExitStack

import httpx

from benchmarks.measure import Lab, Row, spread
from benchmarks.peers import UVICORN, Peer, Running
from tutorial.services.ports import free_port
from tutorial.services.processes import patience
from tutorial.testing.mail_server import MailServer

ENQUEUE = """
import sys, time
import django
django.setup()
from blog.tasks import send_notification_email
user, count = map(int, sys.argv[1:])
send_notification_email.delay(user, "the first one opens the connection")
start = time.perf_counter()
for number in range(count):
    send_notification_email.delay(user, "記事が公開されました")
print(time.perf_counter() - start)
"""
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="(\w+)"')


def publish(client: httpx.Client, count: int) -> list[float]:
    """Publish posts; return the seconds until each answer.

    Raises:
        ValueError: The server didn't take one.
    """
    token = TOKEN.search(client.get("/blog/new/").text)
    seconds = []
    for number in range(count):
        form = {"title": f"post {number}", "body": "…", "csrfmiddlewaretoken": token[1] if token else ""}
        start = time.perf_counter()
        answer = client.post("/blog/new/", data=form)
        seconds.append(time.perf_counter() - start)
        if answer.status_code != 302 or not answer.headers["location"].endswith("/blog/"):
            raise ValueError(f"publishing was answered with {answer.status_code}")
    return seconds


def measure(lab: Lab) -> Row:
    """Publish posts in turn with and without the queue, then time a worker."""
    site, plan = lab.sites["step05"], lab.plan
    waits: dict[str, list[float]] = {"with": [], "without": []}
    enqueuing, rates = [], []
    with ExitStack() as stack:
        mails = stack.enter_context(MailServer())
        site.env.update(mails.env)
        servers = {}
        for way, queue in (("with", "yes"), ("without", "no")):
            peer = Peer(f"{way} the queue", UVICORN)
            server = servers[way] = Running(peer, site, free_port(), {"BENCHMARK_QUEUE": queue})
            stack.enter_context(server).spawn()
        stack.enter_context(site.worker())
        clients = {}
        for way, server in servers.items():
            server.wait_until_ready(60)
            cookies = {"sessionid": site.sessions["alice"]}
            clients[way] = stack.enter_context(
                httpx.Client(base_url=server.url, cookies=cookies, trust_env=False, timeout=patience(30))
            )
            publish(clients[way], 1)
        for _ in range(plan.rounds):
            for way, client in clients.items():
                waits[way] += publish(client, plan.posts)
        mails.wait_for(2 * (1 + plan.rounds * plan.posts), timeout=60)

        user = str(site.user_ids["alice"])
        for _ in range(plan.rounds):
            before = len(mails.messages)
            enqueuing.append(float(site.run("-c", ENQUEUE, user, str(plan.tasks))) / plan.tasks)
            mails.wait_for(before + plan.tasks + 1, timeout=60)
            rates.append(plan.tasks / (mails.times[-1] - mails.times[before]))
    return {
        "publish": {way: spread(values) for way, values in waits.items()},
        "posts": len(waits["with"]),
        "enqueuing": spread(enqueuing),
        "task_rate": spread(rates),
        "tasks": plan.tasks,
        "processes": 2,
    }
