"""docker-compose.yml in a real Docker Engine, where one answers."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from uuid import uuid4

from tests.promises.scale.compose import FILE
from tutorial.services.ports import free_port
from tutorial.services.processes import PATIENCE, patience, wait_until

PORTS = ("PORT", "HTTPS_PORT", "BROKER_PORT", "SMTP_PORT", "MAIL_PORT", "FLOWER_PORT", "NOTEBOOKS_PORT")
# Pulling the images and building ours may be part of it.
LIMIT = 1200  # seconds, more on a busy machine
MAILS = "http://mail:8025/api/v1/messages"
READ_MAILS = f"import urllib.request as u; print(u.urlopen('{MAILS}', timeout=9).read().decode())"


def docker(*words: str, env: dict[str, str] | None = None, check: bool = True) -> subprocess.CompletedProcess:
    """Run `docker` and return what it has printed.

    Args:
        words: The words after `docker`.
        env: The environment; by default this process's.
        check: Whether a failure raises.

    Raises:
        RuntimeError: It failed; the text has its output.
    """
    done = subprocess.run(
        ["docker", *words],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=patience(LIMIT),
    )
    if check and done.returncode:
        raise RuntimeError(
            f"docker {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return done


def no_engine() -> str | None:
    """Return why there is no engine to test with, or None if one answers, at DOCKER_HOST or its socket."""
    if not shutil.which("docker"):
        return "Docker is not installed"
    for words, missing in (
        (["version"], "no Docker Engine answers"),
        (["compose", "version"], "no Docker Compose"),
    ):
        try:
            done = subprocess.run(["docker", *words], capture_output=True, timeout=patience(20))
        except subprocess.TimeoutExpired:
            return missing
        if done.returncode:
            return missing
    return None


class Project(AbstractContextManager):
    """The containers of the file, under a name and on ports that no other project has.

    They, their volumes and their images are gone at its end.

    Args:
        profile: The profile that runs.
        shell: The variables of the shell that Compose is called in.

    Attributes:
        ports: The published ports, by the variables that name them.
        name: Its name, with which the names of its containers begin.
    """

    def __init__(self, profile: str, **shell: str):
        self.name = f"tutorial-test-{profile}-{uuid4().hex[:8]}"
        self.ports = {name: str(free_port()) for name in PORTS}
        given = {
            name: value for name, value in os.environ.items() if name not in ("SECRET_KEY", "ALLOWED_HOSTS")
        }
        names = {"COMPOSE_PROJECT_NAME": self.name, "COMPOSE_PROFILES": profile}
        self._env = given | self.ports | names | shell

    def compose(self, *words: str, check: bool = True) -> subprocess.CompletedProcess:
        """Run `docker compose` and return what it has printed; `check` as for `docker`."""
        return docker("compose", "-f", str(FILE), *words, env=self._env, check=check)

    def up(self, *words: str) -> None:
        """Start what doesn't run, and wait until all of it is healthy."""
        self.compose("up", "--detach", "--wait", *words)

    def containers(self) -> dict[str, dict]:
        """Return Compose's description of each container, by its name without the project's."""
        lines = self.compose("ps", "--all", "--format", "json").stdout.splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return {container["Name"].removeprefix(f"{self.name}-"): container for container in found}

    def healthy(self) -> bool:
        """Return whether every container runs, and is healthy if it can tell, but for what ends by design."""
        lasting = [one for name, one in self.containers().items() if not name.startswith("prepare")]
        return all(one["State"] == "running" and one["Health"] in ("", "healthy") for one in lasting)

    def wait_until_healthy(self) -> None:
        """Wait until all that runs on is healthy.

        Raises:
            TimeoutError: One container wasn't.
        """
        wait_until(self.healthy, PATIENCE, "healthy containers")

    def crash(self, service: str, index: int = 1) -> None:
        """Kill every process in a container, and wait until its restart policy has brought it back.

        Raises:
            TimeoutError: It stayed down.
        """
        container = f"{self.name}-{service}-{index}"

        def restarts() -> int:
            return int(docker("inspect", "--format", "{{.RestartCount}}", container).stdout)

        before = restarts()
        docker("exec", container, "sh", "-c", "kill -9 -1", check=False)
        wait_until(lambda: restarts() > before, PATIENCE, f"another {container}")

    @contextmanager
    def hanging(self, container: str) -> Iterator[None]:
        """Pause a container, by its name without the project's: it keeps its connections, and is silent."""
        name = f"{self.name}-{container}"
        # On a busy machine runc may give up freezing its processes.
        wait_until(lambda: docker("pause", name, check=False).returncode == 0, PATIENCE, f"a paused {name}")
        try:
            yield
        finally:
            docker("unpause", name, check=False)

    def mails(self) -> list[str]:
        """Return the texts of the mails that have arrived. A container asks, as no port may be reachable."""
        answer = self.compose("exec", "-T", "web-scaled", "python", "-c", READ_MAILS).stdout
        return [mail["Snippet"].strip() for mail in json.loads(answer)["messages"]]

    def __exit__(self, *_):
        self.compose("down", "--volumes", "--rmi", "local", "--timeout", "1")
