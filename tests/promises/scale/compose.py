"""docker-compose.yml without Docker: its services as processes of this machine, and people who visit them.

What Docker adds is put in by hand: a service's name becomes 127.0.0.1, a volume a directory, a container's
port a free one. The commands, variables and health checks are those of the file.
"""

import os
import re
import ssl
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import yaml

from tests.promises.faults.chat import log_in, open_room
from tutorial.course.steps import ROOT
from tutorial.services.broker import answers, server_binary
from tutorial.services.ports import free_port
from tutorial.services.processes import PATIENCE, Process, wait_until

FILE = ROOT / "docker-compose.yml"
VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?::-([^}]*))?\}")


def services(**shell: str) -> dict[str, dict]:
    """Return the services of the file as Compose reads them.

    Args:
        shell: The variables of the shell that Compose is called in.
    """

    def replace(value):
        """Replace `${NAME:-default}` and `$$` in every text of a part of the file."""
        if isinstance(value, dict):
            return {name: replace(part) for name, part in value.items()}
        if isinstance(value, list):
            return [replace(part) for part in value]
        if isinstance(value, str):
            return VARIABLE.sub(lambda m: (shell.get(m[1]) or m[2] or "") if m[1] else "$", value)
        return value

    return replace(yaml.safe_load(FILE.read_text())["services"])


class Stack(ExitStack):
    """The services of the file. You start them one by one; all end with it.

    Args:
        directory: Where the volumes lie.
        mail_port: Where a mail server listens on 127.0.0.1.
        shell: The variables of the shell that Compose is called in.
    """

    def __init__(self, directory: Path, mail_port: int, **shell: str):
        super().__init__()
        self.services = services(**shell)
        broker_port = free_port()
        self.broker_url = f"redis://127.0.0.1:{broker_port}"
        options = ["--port", str(broker_port), "--bind", "127.0.0.1", "--dir", str(directory)]
        self.services["broker"]["command"] += options
        self.words = {
            "/app": str(ROOT),
            "/data": str(directory),
            "broker:6379": f"127.0.0.1:{broker_port}",
            "0.0.0.0": "127.0.0.1",  # noqa: S104
        }
        path = [str(Path(sys.executable).parent), str(server_binary().parent), os.environ["PATH"]]
        self.image = {
            "PATH": os.pathsep.join(path),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "HOME": str(directory),
        }
        self.given = shell | {
            "EMAIL_HOST": "127.0.0.1",
            "EMAIL_PORT": str(mail_port),
            "DATABASE_URL": None,  # no PostgreSQL: the file at DATABASE_PATH
        }

    def container(self, name: str) -> "Container":
        """Return a service's process, not started yet."""
        return self.enter_context(Container(self, self.services[name]))

    def run(self, name: str) -> int:
        """Run a service to its end, and return its exit code."""
        container = self.container(name)
        container.spawn()
        wait_until(lambda: not container.running, PATIENCE, f"the end of {name}")
        return container.stop()

    def start(self, name: str) -> "Container":
        """Start a service, wait until its own health check passes, and return it."""
        container = self.container(name)
        container.spawn()
        wait_until(lambda: container.healthy() or not container.running, PATIENCE, f"a healthy {name}")
        assert container.running, container.output
        return container

    def start_broker(self, prepare: str = "prepare") -> "Container":
        """Start the broker and what prepares the database, as Compose would before all others."""
        broker = self.container("broker")
        broker.spawn()
        wait_until(lambda: answers(self.broker_url), PATIENCE, "the broker")
        assert self.run(prepare) == 0
        return broker


class Container(Process):
    """The process in place of a service's container.

    Args:
        stack: The stack it is part of.
        service: The service, as Compose reads it.

    Attributes:
        url: Where its port 8000 is, if it listens there.
    """

    def __init__(self, stack: Stack, service: dict):
        port = str(free_port())
        self.url = f"http://127.0.0.1:{port}"
        self._words = stack.words | {"8000": port}
        self._check = service.get("healthcheck", {}).get("test")
        variables = {
            name: stack.given.get(name, value) for name, value in service.get("environment", {}).items()
        }
        env = {name: self._local(value) for name, value in variables.items() if value is not None}
        command = [self._local(word) for word in service["command"]]
        super().__init__(command, Path(self._local(service.get("working_dir", "/app"))), stack.image | env)

    def healthy(self) -> bool:
        """Run its health check, and return whether it is healthy."""
        kind, *words = map(self._local, self._check)
        command = ["sh", "-c", *words] if kind == "CMD-SHELL" else words
        return subprocess.run(command, cwd=self._cwd, env=self._env, capture_output=True).returncode == 0

    def _local(self, text: str) -> str:
        for name, local in self._words.items():
            text = text.replace(name, local)
        return text


@contextmanager
def visitor(url, user="alice", **options):
    """Log in as a browser would; yield the client."""
    with httpx.Client(
        base_url=url, trust_env=False, timeout=PATIENCE, follow_redirects=True, **options
    ) as http:
        assert "Choose a room" in log_in(http, {"Origin": url, "Referer": f"{url}/login/"}, user).text
        yield http


def enter(http, **options):
    """Open a room's socket with a client's login."""
    cookie = {"Cookie": f"sessionid={http.cookies['sessionid']}"}
    return open_room(str(http.base_url).rstrip("/"), cookie, **options)


def untrusting() -> ssl.SSLContext:
    """Return settings for TLS that take any certificate: the proxy's comes from an authority of its own."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
