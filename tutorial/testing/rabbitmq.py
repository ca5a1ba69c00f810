"""A RabbitMQ node of its own, from the machine's package."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Self

from tutorial.services.ports import free_port
from tutorial.services.processes import Process

# Debian's package; its command in /usr/sbin would change to the user rabbitmq.
PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class NoRabbit(RuntimeError):
    """Raised when RabbitMQ can't run here; its text says why."""


def rabbit_programs() -> tuple[Path, str]:
    """Return the programs of the node and of the daemon that knows its name.

    Raises:
        NoRabbit: They aren't installed.
    """
    epmd = shutil.which("epmd")
    if not PROGRAM.exists() or epmd is None:
        raise NoRabbit("no RabbitMQ: Debian's package rabbitmq-server isn't installed")
    return PROGRAM, epmd


class Rabbit(Process):
    """A RabbitMQ node. `kill()` ends it as a crash would; its data stay for the next `start()`.

    Raises:
        NoRabbit: It isn't installed.
    """

    def __init__(self) -> None:
        server, epmd = rabbit_programs()
        self.port, names, between = free_port(), free_port(), free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self._data = Path(tempfile.mkdtemp(prefix="rabbit-"))
        plugins = self._data / "plugins"
        plugins.write_text("[].")
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._data),
            "LC_ALL": "C.UTF-8",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(names),
            "RABBITMQ_NODENAME": f"rabbit{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(between),
            "RABBITMQ_MNESIA_BASE": str(self._data),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        }
        # The node would leave this one running.
        self._names = Process([epmd, "-address", "127.0.0.1", "-port", str(names)], self._data, env)
        super().__init__([str(server)], self._data, env)

    def spawn(self) -> None:
        """Start it, and what knows the names of nodes."""
        if not self._names.running:
            self._names.spawn()
        super().spawn()

    def wait_until_ready(self, timeout: float = 20) -> None:
        """Wait until it takes connections; it needs three times as long as others."""
        self.wait_for_output("Server startup complete", 3 * timeout)

    def close(self) -> None:
        """End it and remove its data."""
        super().close()
        self._names.close()
        shutil.rmtree(self._data, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()
