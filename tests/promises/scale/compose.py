"""docker-compose.yml without Docker: its services as processes of this machine.

What Docker adds is put in by hand: a service's name becomes 127.0.0.1, a volume a directory, a container's
port a free one. The commands, variables and health checks are those of the file.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import yaml

from tutorial.course.steps import ROOT
from tutorial.services.broker import server_binary
from tutorial.services.ports import free_port
from tutorial.services.processes import Process, wait_until

FILE = ROOT / "docker-compose.yml"
VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?::-([^}]*))?\}")
# Seconds that `docker compose stop` waits before it kills; the file says so for each service.
GRACE = 10


def resolve(value, shell: dict[str, str]):
    """Return a part of the file with `${NAME:-default}` and `$$` replaced in every text of it.

    Args:
        value: A text, a list or a dictionary.
        shell: The variables of the shell.
    """
    if isinstance(value, dict):
        return {name: resolve(part, shell) for name, part in value.items()}
    if isinstance(value, list):
        return [resolve(part, shell) for part in value]
    if isinstance(value, str):
        return VARIABLE.sub(lambda m: (shell.get(m[1]) or m[2] or "") if m[1] else "$", value)
    return value


def services(**shell: str) -> dict[str, dict]:
    """Return the services of the file as Compose reads them, with the variables of a shell."""
    return resolve(yaml.safe_load(FILE.read_text())["services"], shell)


def compose() -> list[str] | None:
    """Return Docker Compose's command line, or None. It reads files without an engine."""
    for words in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(words[0]) and not subprocess.run([*words, "version"], capture_output=True).returncode:
            return words
    return None


class Stack:
    """The services of the file, to be started one by one.

    Args:
        directory: Where the volumes lie.
        mail_port: Where a mail server listens on 127.0.0.1.
        shell: The variables of the shell that Compose is called in.
    """

    def __init__(self, directory: Path, mail_port: int, **shell: str):
        self._directory, self._shell = directory, shell
        self._services = services(**shell)
        self._processes: list[Process] = []
        self.broker_port = free_port()
        self._names = {
            "/app": str(ROOT),
            "/data": str(directory),
            "broker:6379": f"127.0.0.1:{self.broker_port}",
        }
        self._mail = {"EMAIL_HOST": "127.0.0.1", "EMAIL_PORT": str(mail_port)}

    def process(self, name: str, port: int | None = None) -> Process:
        """Return a service's process, not started yet; it ends with the stack.

        Args:
            name: The service.
            port: What stands for the container's port 8000.
        """
        service = self._services[name]
        command = [self._local(word, port) for word in service["command"]]
        if name == "broker":
            command += ["--port", str(self.broker_port), "--bind", "127.0.0.1", "--dir", str(self._directory)]
        process = Process(command, self._cwd(service), self._env(service))
        self._processes.append(process)
        return process

    def run(self, name: str) -> int:
        """Run a service to its end, and return its exit code."""
        process = self.process(name)
        process.spawn()
        wait_until(lambda: not process.running, 60, f"the end of {name}")
        return process.stop()

    def healthy(self, name: str, port: int | None = None) -> bool:
        """Run a service's health check, and tell whether it is healthy."""
        service = self._services[name]
        kind, *words = service["healthcheck"]["test"]
        words = [self._local(word, port) for word in words]
        command = ["sh", "-c", *words] if kind == "CMD-SHELL" else words
        done = subprocess.run(
            command, cwd=self._cwd(service), env=self._env(service), capture_output=True, timeout=60
        )
        return done.returncode == 0

    def _local(self, text: str, port: int | None = None) -> str:
        for name, local in (self._names | {"0.0.0.0": "127.0.0.1", "8000": str(port)}).items():  # noqa: S104
            text = text.replace(name, local)
        return text

    def _cwd(self, service: dict) -> Path:
        return Path(self._local(service.get("working_dir", "/app")))

    def _env(self, service: dict) -> dict[str, str]:
        variables = {
            name: self._shell.get(name) if value is None else self._local(value)
            for name, value in service.get("environment", {}).items()
        }
        if "EMAIL_HOST" in variables:
            variables |= self._mail
        image = {
            "PATH": os.pathsep.join(
                [str(Path(sys.executable).parent), str(server_binary().parent), os.environ["PATH"]]
            ),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "HOME": str(self._directory),
            "HOSTNAME": socket.gethostname(),
        }
        return image | {name: value for name, value in variables.items() if value is not None}

    def close(self) -> None:
        """End every process."""
        for process in reversed(self._processes):
            process.close()

    def __enter__(self) -> "Stack":
        return self

    def __exit__(self, *exc_info) -> None:
        self.close()
