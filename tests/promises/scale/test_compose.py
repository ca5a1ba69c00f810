"""docker-compose.yml is right as far as you can tell without Docker, and its commands work.

test_containers.py runs the containers themselves, where an engine answers.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
from contextlib import closing, suppress
from importlib.resources import files

import httpx
import pytest
import yaml
from jsonschema import validate

from tests.promises.faults.chat import hear, say
from tests.promises.faults.mail import Publisher
from tests.promises.scale.compose import FILE, Stack, enter, services, visitor
from tutorial.course.steps import ROOT, all_steps
from tutorial.services.ports import free_port
from tutorial.services.processes import PATIENCE, Process, wait_until
from tutorial.testing.site import SERVERS

# Seconds that `docker compose stop` waits before it kills; the file says so for each service.
GRACE = 10
SHELL = {"SECRET_KEY": "x" * 50, "ALLOWED_HOSTS": "localhost"}
IMAGE = r"^[\w/]+:v?\d+[\w.-]*$"
# Its ports are closed to the network, because everybody knows the demo users' passwords.
SAFE_SERVICE = {
    "properties": {
        "ports": {"items": {"pattern": r"^127\.0\.0\.1:"}},
        "image": {"pattern": IMAGE},
        "environment": {"patternProperties": {"KEY|PASSWORD|SECRET": {"type": "null"}}},
    },
}


# The files


def test_the_file_follows_the_compose_specification():
    """docker-compose.yml has the keys and types that the Compose specification allows."""
    schema = files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json"
    validate(yaml.safe_load(FILE.read_text()), json.loads(schema.read_text()))


@pytest.mark.parametrize("shell", [{}, {"STEP": "step03_routing"}], ids=["step 5", "step 3"])
def test_compose_itself_reads_the_file_as_we_do(shell):
    """Docker Compose accepts the file with all profiles, and sees the commands and directories we test."""
    # It reads files without an engine.
    for words in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(words[0]) and not subprocess.run([*words, "version"], capture_output=True).returncode:
            break
    else:
        pytest.skip("Docker Compose is not installed")
    done = subprocess.run(
        [*words, "-f", str(FILE), "--profile", "*", "config", "--format", "json"],
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")} | shell,
        capture_output=True,
        text=True,
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
        prepare = "prepare-scaled" if name.endswith("scaled") else "prepare"
        assert conditions == {"broker": "service_healthy", prepare: "service_completed_successfully"}
    assert all_services["prepare-scaled"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert all_services["proxy"]["depends_on"] == {"web-scaled": {"condition": "service_healthy"}}


def test_everything_comes_back_after_a_restart_of_the_engine():
    """Whatever serves is started again unless you stopped it; what prepares a database ends for good."""
    for name, service in services().items():
        once = name.startswith("prepare") or name == "notebooks"
        assert service.get("restart", "no") == ("no" if once else "unless-stopped"), name


def test_the_profile_scale_has_several_of_each_and_no_development_server():
    """Without --profile there is one web server and one worker; with `--profile scale` two of each."""
    all_services = services()
    assert (ROOT / ".env").read_text().splitlines()[-1] == "COMPOSE_PROFILES=develop"
    profiles = {name: service.get("profiles") for name, service in all_services.items()}
    assert {name for name, found in profiles.items() if found is None} == {"broker", "mail"}
    assert {name for name, found in profiles.items() if found == ["develop"]} == {"prepare", "web", "worker"}
    for name in ("web-scaled", "worker-scaled"):
        assert all_services[name]["deploy"]["replicas"] >= 2
        # A client that reaches a web server past the proxy could send any X-Forwarded header.
        assert "ports" not in all_services[name]
        variables = all_services[name]["environment"]
        assert variables["DJANGO_SETTINGS_MODULE"] == "config.production"
        assert variables["DATABASE_URL"].startswith("postgres://")
        # A worker of the other profile would look up the user of a task in another database.
        assert variables["REDIS_URL"] != all_services["worker"]["environment"]["REDIS_URL"]
    assert all_services["web-scaled"]["environment"]["FORWARDED_ALLOW_IPS"] == "*"


def test_nothing_is_reachable_from_the_network_versions_are_pinned_and_no_secret_is_in_the_files():
    """Ports are published on this machine only, images have a version, and secrets come from the shell."""
    validate(services(), {"additionalProperties": SAFE_SERVICE})
    images = re.findall(r"^FROM (\S+:\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert len(images) == 1
    assert all(re.search(IMAGE, image) for image in images)


def test_our_images_run_as_nobody_special_and_hold_only_what_is_named():
    """Our containers don't run as root, and the build sees only the files that .dockerignore allows."""
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]
    for stage in stages[1:]:
        assert re.findall(r"^USER (\w+)", stage, re.MULTILINE)[-1] == "learner"
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert rules[0] == "*"
    copied = {
        name
        for stage in stages
        for names in re.findall(r"^COPY (?!--from)(?:--\S+ )?(.+) \S+$", stage, re.MULTILINE)
        for name in names.split()
    }
    assert {"tutorial", "requirements.txt", *(step.name for step in all_steps())} <= copied
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{re.sub('^step0.*', 'step0*', name)}" in rules


def test_an_edited_file_does_not_install_the_packages_again():
    """In every stage the packages are installed before anything but their lists is copied."""
    base, *stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]
    assert all(re.match(r"base AS ", stage) for stage in stages)
    for stage in (base, *stages):
        before, installs, _ = stage.rpartition("\nRUN pip install")
        if installs:
            assert all(
                re.match(r"requirements\S*\.txt \.$", copied)
                for copied in re.findall(r"^COPY (.+)$", before, re.MULTILINE)
            )
    assert "COPY" not in base.partition("RUN pip install")[2]


def test_the_scaled_web_server_is_the_one_that_the_tests_know():
    """It serves with the production server's options, and a limit on how long a stop may take."""
    known = [word.format(port=8000) for word in SERVERS["uvicorn"]]
    known[known.index("127.0.0.1")] = "0.0.0.0"  # noqa: S104
    command = services()["web-scaled"]["command"]
    position = command.index("--timeout-graceful-shutdown")
    assert float(command[position + 1]) < GRACE
    assert [*command[1:position], *command[position + 2 :]] == known
    for name in ("broker", "postgres", "prepare", "web", "web-scaled", "proxy"):
        assert services()[name]["stop_grace_period"] == f"{GRACE}s"
    # It ends within the same time, but not on a machine that has other things to do.
    for name in ("worker", "worker-scaled"):
        assert services()[name]["stop_grace_period"] == f"{3 * GRACE}s"
    # A stalling mail server holds up a worker for this long.
    assert float(services()["worker-scaled"]["environment"]["EMAIL_TIMEOUT"]) < GRACE


# Its commands


async def test_compose_up_brings_the_finished_app(tmp_path, mailbox):
    """The page answers, a message passes, a mail goes out; a stop ends all in order and loses no task."""
    with Stack(tmp_path, mailbox.port) as stack:
        broker, web, worker = stack.start_broker(), stack.start("web"), stack.start("worker")
        with visitor(web.url) as alice, closing(Publisher(stack.broker_url, mailbox, 1)) as publisher:
            assert alice.get("/static/chat/room.js").status_code == 200
            alice.get("/blog/new/")
            form = {"title": "最初の記事", "body": "本文", "csrfmiddlewaretoken": alice.cookies["csrftoken"]}
            assert "Published" in alice.post("/blog/new/", data=form).text
            assert mailbox.wait_for(1, PATIENCE)[0]["To"] == "alice@example.com"
            publisher.wait_until_idle()
            mailbox.reset()

            # Two mails in work at a mail server that stalls, and two in the queue.
            mailbox.stall.clear()
            publisher.notify_many(4)
            mailbox.wait_for_arrivals(2)
            async with enter(alice) as one, enter(alice) as two:
                await say(one, "こんにちは!")
                assert await hear(two) == {"username": "alice", "message": "こんにちは!"}
                # In threads, because a browser would go on answering the server's heartbeat.
                codes = [
                    await asyncio.to_thread(container.stop, GRACE) for container in (worker, web, broker)
                ]
            # The mail server is still silent. Nothing was killed: each ended by itself, in the time it had.
            assert codes[0] == 0
            assert -signal.SIGKILL not in codes

            mailbox.stall.set()
            stack.start_broker()
            stack.start("worker")
            publisher.settle(doubled=None)


def test_another_step_runs_by_its_name(tmp_path, mailbox):
    """With STEP=step03_routing that step's page answers; its worker has nothing to do, and is healthy."""
    with Stack(tmp_path, mailbox.port, STEP="step03_routing") as stack:
        stack.start_broker()
        web = stack.start("web")
        assert "The channel layer works" in httpx.get(web.url, trust_env=False, timeout=PATIENCE).text
        worker = stack.container("worker")
        worker.spawn()
        assert worker.healthy()
        assert worker.running, worker.output
        assert (tmp_path / "step03_routing.sqlite3").exists()


def test_without_a_secret_key_the_preparation_says_what_is_missing(tmp_path, mailbox):
    """Without a key the preparation of the scaled set fails, and names the variables to set."""
    with Stack(tmp_path, mailbox.port) as stack:
        prepare = stack.container("prepare-scaled")
        prepare.spawn()
        prepare.wait_for_output("Set SECRET_KEY, and ALLOWED_HOSTS", PATIENCE)
        wait_until(lambda: not prepare.running, PATIENCE, "its end")
        assert prepare.stop() != 0


@pytest.fixture(scope="module")
def webs(tmp_path_factory, session_mailbox):
    """Two web servers of the profile `scale`, with their broker."""
    with Stack(tmp_path_factory.mktemp("scaled"), session_mailbox.port, **SHELL) as stack:
        stack.start_broker("prepare-scaled")
        yield [stack.start("web-scaled") for _ in range(2)]


def test_the_scaled_web_server_believes_the_proxy_about_tls(webs):
    """A visitor who came to the proxy by HTTPS gets the page; any other is redirected to HTTPS."""
    with httpx.Client(trust_env=False, timeout=PATIENCE, headers={"Host": "localhost"}) as http:
        plain = http.get(webs[0].url)
        assert (plain.status_code, plain.headers["Location"]) == (301, "https://localhost/")
        assert http.get(webs[0].url, headers={"X-Forwarded-Proto": "https"}).status_code == 200


@pytest.fixture
def proxy(webs, tmp_path):
    """A real Caddy with the file of the profile `scale`, with addresses in place of Docker's names."""
    caddy = shutil.which("caddy")
    if caddy is None:
        pytest.skip("Caddy is not installed")
    text = (ROOT / "deploy/Caddyfile").read_text()
    upstreams = "\n".join(web.url.replace("http://", "a ").replace(":", " ") for web in webs)
    local, count = re.subn(
        r"dynamic a web-scaled 8000 \{.*?\}", f"dynamic multi {{\n{upstreams}\n}}", text, flags=re.S
    )
    assert count == 1
    (tmp_path / "Caddyfile").write_text(local)
    url = f"https://localhost:{free_port()}"
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SITE": url, "XDG_DATA_HOME": str(tmp_path)}
    with Process([caddy, "run", "--config", "Caddyfile", "--adapter", "caddyfile"], tmp_path, env) as process:
        process.url = url
        process.spawn()
        process.wait_for_output("certificate obtained successfully", PATIENCE)
        authority = tmp_path / "caddy/pki/authorities/local/root.crt"
        process.trust = ssl.create_default_context(cafile=authority)

        def speaks_tls():
            with suppress(httpx.TransportError):
                return httpx.get(url, verify=process.trust, trust_env=False, timeout=PATIENCE)

        wait_until(speaks_tls, PATIENCE, "a handshake")
        yield process


async def test_the_proxy_speaks_tls_to_several_web_servers(webs, proxy):
    """Over https: and wss: people on both web servers hear each other; when one dies the other goes on.

    A server that is stopped closes its sockets with 1012, service restart.
    """
    trust = proxy.trust
    with visitor(proxy.url, verify=trust) as alice, visitor(proxy.url, "bob", verify=trust) as bob:
        assert "Strict-Transport-Security" not in alice.get("/").headers
        async with enter(alice, ssl=trust) as one, enter(bob, ssl=trust) as two:
            await say(one, "by wss")
            assert await hear(one) == await hear(two) == {"username": "alice", "message": "by wss"}
            webs[0].kill()
            async with enter(alice, ssl=trust) as again, enter(bob, ssl=trust) as other:
                await say(again, "after")
                assert (await hear(other))["message"] == "after"
                await asyncio.to_thread(webs[1].stop, GRACE)
                await other.wait_closed()
                assert other.close_code == 1012
                assert await asyncio.to_thread(proxy.stop, GRACE) == 0
