"""What the queue buys: publishing a post with it and without, and a worker's tasks per second."""

import re
import time
from typing import TYPE_CHECKING

import httpx

from benchmarks.peers import Peer, Running
from tutorial.services.ports import free_port
from tutorial.services.processes import wait_until
from tutorial.testing.mail_server import MailServer
from tutorial.testing.site import SERVERS

if TYPE_CHECKING:
    from benchmarks.measure import Lab

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


class Clock(MailServer):
    """A mail server that notes when each mail came, in `times`."""

    def __init__(self):
        super().__init__()
        self.times: list[float] = []

    async def handle_DATA(self, server, session, envelope) -> str:
        """Take a mail. Called by aiosmtpd, whose name for it this is."""
        self.times.append(time.perf_counter())
        return await super().handle_DATA(server, session, envelope)


def publish(client: httpx.Client, address: str, count: int) -> list[float]:
    """Publish posts; return the seconds until each answer.

    Raises:
        ValueError: The server did not take one.
    """
    token = TOKEN.search(client.get(address).text)
    seconds = []
    for number in range(count):
        form = {"title": f"post {number}", "body": "…", "csrfmiddlewaretoken": token[1] if token else ""}
        start = time.perf_counter()
        answer = client.post(address, data=form)
        seconds.append(time.perf_counter() - start)
        if answer.status_code != 302 or not answer.headers["location"].endswith("/blog/"):
            raise ValueError(f"publishing was answered with {answer.status_code}")
    return seconds


def measure(lab: "Lab") -> dict:
    """Publish posts by turns with and without the queue, then time a worker."""
    from benchmarks.measure import spread

    site, plan = lab.sites["step05"], lab.plan
    waits: dict[str, list[float]] = {"with": [], "without": []}
    enqueuing, rates = [], []
    with Clock() as mails:
        site.env.update(mails.env)
        servers = {
            way: Running(
                Peer(f"{way} the queue", tuple(SERVERS["uvicorn"]), "uvicorn"),
                site,
                free_port(),
                {"BENCHMARK_QUEUE": "no" if way == "without" else "yes"},
            )
            for way in waits
        }
        worker = site.worker()
        try:
            clients = {}
            for server in servers.values():
                server.spawn()
            for way, server in servers.items():
                server.wait()
                origin = f"http://127.0.0.1:{server.port}"
                cookies = {"sessionid": site.sessions["alice"]}
                clients[way] = httpx.Client(base_url=origin, cookies=cookies, trust_env=False, timeout=30)
                publish(clients[way], "/blog/new/", 1)
            for _ in range(plan.rounds):
                for way, client in clients.items():
                    waits[way] += publish(client, "/blog/new/", plan.posts)
            published = 2 * (1 + plan.rounds * plan.posts)
            mails.wait_for(published, timeout=60)

            user = str(site.user_ids["alice"])
            for _ in range(plan.rounds):
                before = len(mails.messages)
                enqueuing.append(float(site.run("-c", ENQUEUE, user, str(plan.tasks))) / plan.tasks)
                wait_until(
                    lambda total=before + plan.tasks + 1: len(mails.messages) >= total, 60, "the mails"
                )
                rates.append(plan.tasks / (mails.times[-1] - mails.times[before]))
        finally:
            worker.close()
            for client in clients.values():
                client.close()
            for server in servers.values():
                server.close()
    return {
        "publish": {way: spread(values) for way, values in waits.items()},
        "posts": len(waits["with"]),
        "enqueuing": spread(enqueuing),
        "task_rate": spread(rates),
        "tasks": plan.tasks,
        "processes": 2,
    }
