"""docker-compose.yml is right as far as that shows without Docker, and its commands do what they should."""

import asyncio
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import time
from contextlib import closing, contextmanager, suppress
from importlib.resources import files

import httpx
import pytest
import yaml
from websockets.asyncio.client import connect

from tests.promises.faults.celery_helpers import Mailbox, Publisher
from tests.promises.faults.chat import hear, path_of, say
from tests.promises.scale.compose import FILE, GRACE, Stack, compose, services
from tutorial.course.steps import ROOT, all_steps
from tutorial.services.broker import answers
from tutorial.services.demo_data import DEMO_USERS
from tutorial.services.ports import free_port
from tutorial.services.processes import Process, wait_until
from tutorial.testing.site import SERVERS

PROFILES = ["scale", "notebooks"]
OURS = ["prepare", "web", "worker", "web-scaled", "worker-scaled", "notebooks"]
SHELL = {"SECRET_KEY": "x" * 50, "ALLOWED_HOSTS": "localhost"}


# What can be seen in the files.


def test_the_file_follows_the_compose_specification():
    """docker-compose.yml has the keys and types that the Compose specification allows."""
    pytest.importorskip(
        "check_jsonschema", reason="check-jsonschema, which carries the schema, is not installed"
    )
    from jsonschema import validate

    schema = files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json"
    validate(yaml.safe_load(FILE.read_text()), json.loads(schema.read_text()))


@pytest.mark.parametrize("step", [None, "step03_routing"])
def test_compose_itself_reads_the_file_as_we_do(step):
    """Docker Compose accepts the file with all profiles, and sees the commands and directories we test."""
    words = compose()
    if words is None:
        pytest.skip("Docker Compose is not installed")
    options = [option for profile in PROFILES for option in ("--profile", profile)]
    shell = {"STEP": step} if step else {}
    done = subprocess.run(
        [*words, "-f", str(FILE), *options, "config", "--format", "json"],
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")} | shell,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)["services"]
    ours = services(**shell)
    assert theirs.keys() == ours.keys()
    for name, service in ours.items():
        for key in ("command", "environment", "image", "working_dir", "profiles", "stop_grace_period"):
            assert theirs[name].get(key) == service.get(key), (name, key)


def test_every_service_starts_after_what_it_needs():
    """Web and worker wait for broker and database, the proxy for a healthy web server."""
    all_services = services()
    for name, service in all_services.items():
        for needed, options in service.get("depends_on", {}).items():
            assert set(all_services[needed].get("profiles", [])) <= set(service.get("profiles", [])), name
            if options["condition"] == "service_healthy":
                assert "healthcheck" in all_services[needed], needed
    for name in ("web", "worker", "web-scaled", "worker-scaled"):
        conditions = {needed: how["condition"] for needed, how in all_services[name]["depends_on"].items()}
        assert conditions == {"broker": "service_healthy", "prepare": "service_completed_successfully"}
    assert all_services["proxy"]["depends_on"] == {"web-scaled": {"condition": "service_healthy"}}


def test_the_profile_scale_has_several_of_each():
    """Without a profile there is one web server and one worker; the profile adds two of each, and a proxy."""
    all_services = services()
    plain = {name for name, service in all_services.items() if "profiles" not in service}
    assert plain == {"broker", "mail", "prepare", "web", "worker"}
    for name in ("web-scaled", "worker-scaled"):
        assert all_services[name]["deploy"]["replicas"] >= 2
        # Whoever reaches a web server past the proxy could say anything about himself.
        assert "ports" not in all_services[name]
    assert all_services["web-scaled"]["environment"]["FORWARDED_ALLOW_IPS"] == "*"


def test_nothing_is_reachable_from_the_network():
    """Every published port is one of this machine only, for the demo users' passwords are known."""
    for service in services().values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


def test_versions_are_pinned_and_no_secret_is_in_the_files():
    """Every image has a version in its tag, and the secret key comes from the shell."""
    images = [service["image"] for service in services().values() if "image" in service]
    images += re.findall(r"^FROM (\S+:\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert len(images) == 5
    for image in images:
        assert re.fullmatch(r"[\w/]+:v?\d+\.\d+[\w.-]*", image)
    for service in services().values():
        for name, value in service.get("environment", {}).items():
            assert value is None or not re.search("KEY|PASSWORD|SECRET", name), name


def test_our_images_run_as_nobody_special_and_hold_only_what_is_named():
    """Our containers do not run as root, and the build sees no file that .dockerignore does not name."""
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]
    for stage in stages:
        assert re.findall(r"^USER (\w+)", stage, re.MULTILINE)[-1] == "learner"
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert rules[0] == "*"
    copied = {
        name
        for stage in stages
        for names in re.findall(r"^COPY (?:--\S+ )?(.+) \S+$", stage, re.MULTILINE)
        for name in names.split()
    }
    assert {"tutorial", "requirements.txt", *(step.name for step in all_steps())} <= copied
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{re.sub('^step0.*', 'step0*', name)}" in rules


def test_the_web_server_is_the_one_that_the_tests_know():
    """The containers serve with the production server's options, and a limit to how long a stop may take."""
    known = [word.format(port=8000) for word in SERVERS["uvicorn"]]
    known[known.index("127.0.0.1")] = "0.0.0.0"  # noqa: S104
    for name in ("web", "web-scaled"):
        command = services()[name]["command"]
        position = command.index("--timeout-graceful-shutdown")
        assert float(command[position + 1]) < GRACE
        assert [*command[1:position], *command[position + 2 :]] == known
    for name in ("broker", *OURS[:-1]):
        assert services()[name]["stop_grace_period"] == f"{GRACE}s"


# What its commands do.


@pytest.fixture(scope="module")
def mailbox():
    """What stands for the service `mail`."""
    with Mailbox() as mailbox:
        yield mailbox


@contextmanager
def started(directory, mailbox, **shell):
    """Start the broker and the preparation as Compose would."""
    with Stack(directory, mailbox.port, **shell) as stack:
        stack.broker = stack.process("broker")
        stack.broker.spawn()
        wait_until(lambda: answers(f"redis://127.0.0.1:{stack.broker_port}"), 20, "the broker")
        assert stack.run("prepare") == 0
        yield stack


def start_web(stack, name="web"):
    """Start a web server and wait until its own health check is content; return it and its port."""
    port = free_port()
    web = stack.process(name, port)
    web.spawn()
    wait_until(lambda: stack.healthy(name, port) or not web.running, 60, f"a healthy {name}")
    assert web.running, web.output
    return web, port


def start_worker(stack, name="worker"):
    """Start a worker and wait until it takes tasks."""
    worker = stack.process(name)
    worker.spawn()
    worker.wait_for_output(" ready.", 60)
    return worker


def end(process):
    """End a process with SIGTERM; return the seconds that took, and its exit code."""
    start = time.monotonic()
    os.kill(process.pid, signal.SIGTERM)
    wait_until(lambda: not process.running, 60, "its end")
    return time.monotonic() - start, process.stop()


@contextmanager
def log_in(url, user="alice", **options):
    """Log in with a demo user's password, as a browser would."""
    with httpx.Client(base_url=url, trust_env=False, timeout=30, follow_redirects=True, **options) as client:
        client.get("/login/").raise_for_status()
        data = {
            "username": user,
            "password": DEMO_USERS[user],
            "csrfmiddlewaretoken": client.cookies["csrftoken"],
        }
        answer = client.post("/login/", data=data, headers={"Origin": url, "Referer": f"{url}/login/"})
        assert "Choose a room" in answer.text
        yield client


def open_room(client, room="room1", **options):
    """Open a room's socket with a client's login."""
    url = str(client.base_url).rstrip("/")
    headers = {"Origin": url, "Cookie": f"sessionid={client.cookies['sessionid']}"}
    address = url.replace("http", "ws", 1) + path_of(room)
    return connect(address, additional_headers=headers, proxy=None, open_timeout=30, **options)


async def test_compose_up_brings_the_finished_app(tmp_path, mailbox):
    """The page answers, a message passes, a mail goes out; a stop takes under 10 s and loses no task."""
    with started(tmp_path, mailbox) as stack:
        web, port = start_web(stack)
        worker = start_worker(stack)
        assert stack.healthy("worker")
        broker_url = f"redis://127.0.0.1:{stack.broker_port}"

        with log_in(f"http://127.0.0.1:{port}") as client:
            client.get("/blog/new/")
            form = {"title": "最初の記事", "body": "本文", "csrfmiddlewaretoken": client.cookies["csrftoken"]}
            assert "Published" in client.post("/blog/new/", data=form).text
            assert mailbox.wait_for(1, 60)[0]["To"] == "alice@example.com"

            # Two mails in hand at a mail server that stalls, and two in the queue.
            mailbox.stall.clear()
            with closing(Publisher(broker_url)) as publisher:
                bodies = publisher.notify_many(1, 4)
            wait_until(lambda: len(mailbox.arrivals) >= 3, 30, "two mails in hand")

            async with open_room(client) as one, open_room(client) as two:
                await say(one, "こんにちは!")
                assert await hear(two) == {"username": "alice", "message": "こんにちは!"}
                # In threads, because a browser would go on answering the server's heartbeat.
                stopped = [await asyncio.to_thread(end, process) for process in (worker, web, stack.broker)]
                await two.wait_closed()
                assert two.close_code == 1012
        assert max(seconds for seconds, _ in stopped) < GRACE, stopped
        assert stopped[0][1] == 0

        mailbox.reset()
        stack.broker.spawn()
        wait_until(lambda: answers(broker_url), 20, "the broker")
        worker.spawn()
        wait_until(lambda: all(map(mailbox.copies, bodies)), 60, "all four mails")
        mailbox.account(bodies).check()


def test_another_step_runs_by_its_name(tmp_path, mailbox):
    """With STEP=step03_routing that step's page answers, and the worker, which it has not, ends in order."""
    with started(tmp_path, mailbox, STEP="step03_routing") as stack:
        _, port = start_web(stack)
        assert "The channel layer works" in httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).text
        assert stack.run("worker") == 0
        assert (tmp_path / "step03_routing.sqlite3").exists()


def test_without_a_secret_key_the_scaled_web_server_says_what_is_missing(tmp_path, mailbox):
    """With DEBUG off and no key the web server ends, and names the variables to set."""
    with Stack(tmp_path, mailbox.port) as stack:
        web = stack.process("web-scaled", free_port())
        web.spawn()
        wait_until(lambda: not web.running, 60, "its end")
        assert "Without DEBUG=1, set SECRET_KEY, and ALLOWED_HOSTS" in web.output


@pytest.fixture(scope="module")
def scaled(tmp_path_factory, mailbox):
    """Broker and two web servers of the profile `scale`."""
    with started(tmp_path_factory.mktemp("scaled"), mailbox, **SHELL) as stack:
        stack.webs = [start_web(stack, "web-scaled") for _ in range(2)]
        yield stack


def test_the_scaled_web_server_believes_the_proxy_about_tls(scaled):
    """A visitor who came to the proxy by HTTPS gets the page, any other is sent to HTTPS."""
    _, port = scaled.webs[0]
    url = f"http://127.0.0.1:{port}/"
    plain = httpx.get(url, headers={"Host": "localhost"}, trust_env=False)
    assert (plain.status_code, plain.headers["Location"]) == (301, "https://localhost/")
    by_tls = httpx.get(url, headers={"Host": "localhost", "X-Forwarded-Proto": "https"}, trust_env=False)
    assert by_tls.status_code == 200


def speaks_tls(proxy):
    """Tell whether a proxy can show a certificate that its own authority has signed."""
    with suppress(httpx.TransportError):
        return httpx.get(proxy.url, verify=proxy.trust, trust_env=False)


@pytest.fixture
def proxy(scaled, tmp_path):
    """A real Caddy with the file of the profile `scale`, where Docker's names have become addresses."""
    caddy = shutil.which("caddy")
    if caddy is None:
        pytest.skip("Caddy is not installed")
    text = (ROOT / "deploy/Caddyfile").read_text()
    upstreams = "\n".join(f"a 127.0.0.1 {port}" for _, port in scaled.webs)
    local, count = re.subn(
        r"dynamic a web-scaled 8000 \{.*?\}", f"dynamic multi {{\n{upstreams}\n}}", text, flags=re.S
    )
    assert count == 1
    (tmp_path / "Caddyfile").write_text(local)
    url = f"https://localhost:{free_port()}"
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SITE": url, "XDG_DATA_HOME": str(tmp_path)}
    with Process([caddy, "run", "--config", "Caddyfile", "--adapter", "caddyfile"], tmp_path, env) as process:
        process.url = url
        process.authority = tmp_path / "caddy/pki/authorities/local/root.crt"
        process.spawn()
        process.wait_for_output("certificate obtained successfully", 30)
        process.trust = ssl.create_default_context(cafile=process.authority)
        wait_until(lambda: speaks_tls(process), 30, "a handshake")
        yield process


async def test_the_proxy_speaks_tls_to_several_web_servers(scaled, proxy):
    """Over https: and wss: people in both web servers hear each other; when one dies the other goes on."""
    trust = proxy.trust
    with (
        log_in(proxy.url, "alice", verify=trust) as alice,
        log_in(proxy.url, "bob", verify=trust) as bob,
    ):
        assert "Strict-Transport-Security" not in alice.get("/").headers
        async with open_room(alice, ssl=trust) as one, open_room(bob, ssl=trust) as two:
            await say(one, "by wss")
            assert await hear(one) == await hear(two) == {"username": "alice", "message": "by wss"}
            scaled.webs[0][0].kill()
            async with open_room(alice, ssl=trust) as again, open_room(bob, ssl=trust) as other:
                await say(again, "after")
                assert (await hear(other))["message"] == "after"
                seconds, _ = await asyncio.to_thread(end, proxy)
    assert seconds < GRACE
