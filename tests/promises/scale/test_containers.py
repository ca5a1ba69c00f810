"""The containers of docker-compose.yml keep their promises in a real Docker Engine."""

import asyncio
import os
import shlex
import subprocess
from contextlib import closing
from urllib.parse import urlencode

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.promises.faults.account import Account
from tests.promises.faults.chat import hear, say
from tests.promises.faults.mail import Publisher
from tests.promises.scale.compose import enter, untrusting, visitor
from tests.promises.scale.containers import Project, docker, no_engine
from tutorial.services.demo_data import DEMO_USERS
from tutorial.services.processes import PATIENCE, patience, wait_until

pytestmark = pytest.mark.long
KILLED = 137
ENDED = "{{.State.FinishedAt}}"
MESSAGES = 20  # from each of the two people


@pytest.fixture(scope="module", autouse=True)
def engine():
    """A Docker Engine. Without one, the tests are skipped."""
    if reason := no_engine():
        pytest.skip(f"{reason}; set DOCKER_HOST or start it")


@pytest.fixture(scope="module")
def develop():
    """The profile that runs without --profile, of step 5."""
    with Project("develop") as project:
        project.up("--build")
        yield project


@pytest.fixture(scope="module")
def scaled_project():
    """The profile `scale`, built and healthy. A task whose worker has vanished runs again after 20 s."""
    shell = {"SECRET_KEY": "x" * 50, "ALLOWED_HOSTS": "localhost", "VISIBILITY_TIMEOUT": "20"}
    with Project("scale", **shell) as project:
        project.up("--build")
        yield project


@pytest.fixture
def scaled(scaled_project):
    """The profile `scale`, healthy again after the test before."""
    if not scaled_project.healthy():
        scaled_project.up()
    return scaled_project


@pytest.fixture
def url(scaled):
    """The proxy's address."""
    return f"https://localhost:{scaled.ports['HTTPS_PORT']}"


class MailContainer:
    """The container `mail`, as the mailbox of a Publisher."""

    def __init__(self, project: Project):
        self.taken = project.mails


@pytest.fixture
def publisher(scaled):
    """A sender of notices to alice, through the broker's published port."""
    broker = f"redis://127.0.0.1:{scaled.ports['BROKER_PORT']}/1"
    docker("restart", f"{scaled.name}-mail-1")  # so that it has no mails yet
    scaled.wait_until_healthy()
    with closing(Publisher(broker, MailContainer(scaled), 1)) as publisher:
        yield publisher


@pytest_asyncio.fixture(loop_scope="module")
async def people(browser, url):
    """Alice and bob in a room of the scaled app, each in a browser, logged in through the form."""
    contexts = []

    async def come(user):
        contexts.append(context := await browser.new_context(ignore_https_errors=True))
        context.set_default_timeout(patience(60) * 1000)  # milliseconds
        page = await context.new_page()
        await page.goto(f"{url}/login/?{urlencode({'next': '/chat/room/?name=部屋'})}")
        await page.get_by_label("Username").fill(user)
        await page.get_by_label("Password").fill(DEMO_USERS[user])
        await page.get_by_role("main").get_by_role("button", name="Log in").click()
        await connected(page)
        return page

    yield [await come("alice"), await come("bob")]
    for context in contexts:
        await context.close()


async def connected(page):
    """Wait until a page's socket is open and nothing waits to be sent."""
    await expect(page.get_by_role("status")).to_have_text("Connected.")


async def write(page, message):
    """Send a message from a page."""
    await page.get_by_label("Message").fill(message)
    await page.get_by_role("button", name="Send").click()


async def see(page, message):
    """Wait until a page shows a message."""
    await expect(page.get_by_role("log").locator("p", has_text=message)).to_have_count(1)


async def talk(pages, while_it):
    """Let everyone in a room write, while something happens; return the account of what they saw.

    Args:
        pages: Their pages.
        while_it: A function that is called in a thread when half of it is written.
    """
    due = []

    async def write_all(page, name):
        for number in range(MESSAGES):
            await write(page, f"{name} {number}.")
            due.append(f"{name} {number}.")

    happening = asyncio.create_task(asyncio.to_thread(while_it))
    await asyncio.gather(*(write_all(page, f"speaker{index}") for index, page in enumerate(pages)))
    await happening
    for page in pages:
        await connected(page)
    # What is written now reaches everyone: it tells that all before has come, or never will.
    await write(pages[0], "the end.")
    for page in pages:
        await see(page, "the end.")
    arrived = []
    for index, page in enumerate(pages):
        lines = await page.get_by_role("log").locator("p").all_inner_texts()
        arrived += [(index, line.partition(": ")[2]) for line in lines if "speaker" in line]
    account = Account.of(
        [(index, text) for index in range(len(pages)) for text in due], arrived, allowed_lost=None
    )
    print(f"\nsent {account.sent}, seen {account.delivered}, doubled {account.doubled}")
    return account


# One of each


def test_up_brings_the_finished_app(develop):
    """The page answers, two people chat, a post is published, and its mail arrives at the mail page."""
    url = f"http://127.0.0.1:{develop.ports['PORT']}"
    assert {name.rpartition("-")[0] for name in develop.containers()} == {
        "broker",
        "mail",
        "prepare",
        "web",
        "worker",
    }

    async def chat(alice, bob):
        async with enter(alice) as one, enter(bob) as two:
            await say(one, "こんにちは!")
            assert await hear(two) == {"username": "alice", "message": "こんにちは!"}

    with visitor(url) as alice, visitor(url, "bob") as bob:
        asyncio.run(chat(alice, bob))
        alice.get("/blog/new/")
        form = {"title": "最初の記事", "body": "本文", "csrfmiddlewaretoken": alice.cookies["csrftoken"]}
        assert "Published" in alice.post("/blog/new/", data=form).text
    page = f"http://127.0.0.1:{develop.ports['MAIL_PORT']}/api/v1/messages"

    def first_mail():
        return httpx.get(page, trust_env=False, timeout=PATIENCE).json()["messages"]

    [mail] = wait_until(first_mail, PATIENCE, "the mail")
    assert mail["To"][0]["Address"] == "alice@example.com"


def test_a_step_without_a_worker_is_healthy_too():
    """With STEP=step03_routing everything is up and stays up, though the step has no worker."""
    with Project("develop", STEP="step03_routing") as project:
        project.up("--build")
        project.wait_until_healthy()
        page = httpx.get(f"http://127.0.0.1:{project.ports['PORT']}", trust_env=False, timeout=PATIENCE)
        assert "The channel layer works" in page.text


def test_a_worker_that_stands_still_is_unhealthy(develop):
    """A worker whose process hangs turns unhealthy, and healthy again when it goes on."""
    worker = f"{develop.name}-worker-1"

    def health():
        return develop.containers()["worker-1"]["Health"]

    # Its pool's processes have the same name; a stopped child alone would only be slow.
    docker("exec", worker, "sh", "-c", "kill -STOP $(cat /proc/1/task/1/children)")
    wait_until(lambda: health() == "unhealthy", 300, "an unhealthy worker")
    docker("exec", worker, "sh", "-c", "kill -CONT $(cat /proc/1/task/1/children)")
    wait_until(lambda: health() == "healthy", 300, "a healthy worker")


# Several of each


def test_without_a_secret_key_nothing_starts_and_up_says_why():
    """Without a key, `up` prints what to set, and ends; neither web server nor worker starts."""
    with Project("scale") as project:
        done = project.compose("up", "--build", check=False)
        assert done.returncode != 0
        assert "Set SECRET_KEY, and ALLOWED_HOSTS" in done.stdout + done.stderr
        states = {name.rstrip("-12"): container["State"] for name, container in project.containers().items()}
        assert states["web-scaled"] == states["worker-scaled"] == "created"


def test_the_scaled_app_runs_without_its_development_containers(scaled):
    """Two web servers and two workers run; the servers with DEBUG don't."""
    names = scaled.containers().keys()
    assert {"web-scaled-1", "web-scaled-2", "worker-scaled-1", "worker-scaled-2", "postgres-1"} <= names
    assert not {"web-1", "worker-1", "prepare-1"} & names


def test_more_web_servers_take_their_share(scaled, url):
    """With --scale web-scaled=4, four web servers answer the proxy's requests."""
    scaled.up("--scale", "web-scaled=4", "--no-recreate")
    scaled.wait_until_healthy()

    with httpx.Client(verify=untrusting(), trust_env=False, timeout=PATIENCE) as http:
        for _ in range(20):
            assert http.get(url).status_code == 200
    served = [
        '"GET / HTTP/1.1" 200' in docker("logs", f"{scaled.name}-web-scaled-{index}").stdout
        for index in range(1, 5)
    ]
    assert served == [True] * 4


async def test_two_people_chat_while_web_containers_crash(people, scaled):
    """When each web container is killed in turn, both pages connect again and everyone hears everyone."""

    def crash_both():
        for index in (1, 2):
            scaled.crash("web-scaled", index)
            scaled.wait_until_healthy()

    account = await talk(people, crash_both)
    assert account.doubled == 0


async def test_a_paused_web_container_is_left_out(people, scaled, url):
    """With a web container that hangs, every page loads and new sockets chat; when it goes on, all go on."""
    with visitor(url, verify=untrusting()) as alice, scaled.hanging("web-scaled-1"):
        assert [alice.get("/chat/").status_code for _ in range(10)] == [200] * 10
        async with enter(alice, ssl=untrusting()) as one, enter(alice, ssl=untrusting()) as two:
            await say(one, "still here")
            assert (await hear(two))["message"] == "still here"
    # A page whose socket was on it has noticed nothing. uvicorn may close that socket when it goes on.
    for page in people:
        await connected(page)
    await write(people[0], "the first.")
    await see(people[0], "the first.")
    await write(people[1], "all back.")
    for page in people:
        await see(page, "all back.")


def test_a_worker_killed_in_mid_task_loses_nothing(publisher, scaled):
    """While the mail server hangs, a worker with tasks in hand is killed; every mail goes out."""
    with scaled.hanging("mail-1"):
        publisher.notify_many(8)
        wait_until(lambda: publisher.held() >= 4, PATIENCE, "tasks in hand")
        scaled.crash("worker-scaled", 1)
    print(f"\n{publisher.settle(doubled=None)}")


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_a_broker_that_comes_back_has_every_task(publisher, scaled, how):
    """Tasks that wait in a broker that is restarted or killed are still there, and every mail goes out."""
    publisher.notify_many(12)
    scaled.compose(how, "broker")
    scaled.compose("start", "broker")
    scaled.wait_until_healthy()
    print(f"\n{publisher.settle(doubled=None)}")


def test_a_stop_ends_everything_in_time_and_loses_nothing(publisher, scaled, url):
    """With tasks in hand at a mail server that hangs, a stop needs no kill, and tells the sockets.

    After the next start every mail goes out.
    """
    services = ["proxy", "web-scaled", "worker-scaled", "flower", "postgres", "broker"]

    async def stop(alice):
        async with enter(alice, ssl=untrusting()) as socket:
            await asyncio.to_thread(scaled.compose, "stop", *services)
            await socket.wait_closed()
            return socket.close_code

    with visitor(url, verify=untrusting()) as alice, scaled.hanging("mail-1"):
        publisher.notify_many(12)
        wait_until(lambda: publisher.held() >= 4, PATIENCE, "tasks in hand")
        # 1001, going away, is the proxy's. A web server would say 1012.
        assert asyncio.run(stop(alice)) == 1001
        codes = {name: container["ExitCode"] for name, container in scaled.containers().items()}
        ended = {
            name: docker("inspect", "-f", ENDED, f"{scaled.name}-{name}").stdout.strip() for name in codes
        }
    print(f"\n{codes}\n{ended}")
    assert KILLED not in codes.values()
    scaled.up()
    print(f"\n{publisher.settle(doubled=None)}")


def test_everything_is_back_after_a_restart_of_the_engine(publisher, scaled):
    """After a restart of the engine every container runs again, and no task is lost."""
    restart = os.environ.get("ENGINE_RESTART")
    if not restart:
        pytest.skip("ENGINE_RESTART isn't set to a command that restarts the engine")
    # The restart ends the pause, too.
    with scaled.hanging("mail-1"):
        publisher.notify_many(8)
        subprocess.run(shlex.split(restart), check=True, capture_output=True, timeout=patience(PATIENCE))
    scaled.wait_until_healthy()
    # Through a container, because published ports may be in another network now.
    wait_until(lambda: set(publisher.sent) <= set(scaled.mails()), 180, "the mails")


# Notebooks


def test_notebook_6_runs_in_its_container():
    """The image of the notebooks has what notebook 6 imports."""
    with Project("notebooks") as project:
        project.compose("build", "notebooks")
        words = [
            "run",
            "--rm",
            "-T",
            "--no-deps",
            "notebooks",
            "jupyter",
            "execute",
            "notebooks/06_load.ipynb",
        ]
        project.compose(*words)
