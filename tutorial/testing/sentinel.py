"""A primary with replicas, watched by sentinels: what takes over when a broker dies."""

import shutil
import tempfile
from pathlib import Path
from typing import Self

import redis

from tutorial.services.broker import Broker, server_binary
from tutorial.services.ports import free_port
from tutorial.services.processes import PATIENCE, Process, wait_until

NAME = "mymaster"
# Milliseconds of silence after which a sentinel calls a server down. In production rather 5,000.
DOWN_AFTER = 1000


class Sentinels:
    """Three embedded Valkey servers, one primary and two replicas, and three sentinels; a context manager.

    Attributes:
        brokers: The servers; the first is the primary at the start.
        url: The address of all of them, as `REDIS_URL` has it.
    """

    def __init__(self) -> None:
        self.brokers = [Broker() for _ in range(3)]
        self._directory = Path(tempfile.mkdtemp(prefix="sentinels-"))
        self._ports = [free_port() for _ in range(3)]
        self._sentinels: list[Process] = []
        self.url = f"sentinel://{','.join(f'127.0.0.1:{port}' for port in self._ports)}/{NAME}"

    @property
    def primary(self) -> Broker:
        """The server that the sentinels call the primary."""
        with redis.Redis("127.0.0.1", self._ports[0]) as sentinel:
            _, port = sentinel.sentinel_get_master_addr_by_name(NAME)
        return next(broker for broker in self.brokers if broker.port == port)

    def client(self) -> redis.Redis:
        """Return a client of the server that is the primary now."""
        return redis.Redis("127.0.0.1", self.primary.port)

    def _ready(self) -> bool:
        for port in self._ports:
            try:
                with redis.Redis("127.0.0.1", port) as sentinel:
                    state = sentinel.sentinel_master(NAME)
            except redis.ConnectionError:
                return False
            if (state["num-slaves"], state["num-other-sentinels"]) != (2, 2):
                return False
        with redis.Redis.from_url(self.brokers[0].url) as primary:
            primary.set("ready", 1)
            return bool(primary.wait(2, 1000) == 2)  # both replicas have it

    def __enter__(self) -> Self:
        primary, *replicas = self.brokers
        for broker in self.brokers:
            broker.start()
        for replica in replicas:
            with redis.Redis.from_url(replica.url) as client:
                client.config_set("repl-diskless-sync-delay", 0)
                client.replicaof("127.0.0.1", primary.port)
        for port in self._ports:
            directory = self._directory / str(port)
            directory.mkdir()
            configuration = directory / "sentinel.conf"
            configuration.write_text(
                f"bind 127.0.0.1\nport {port}\ndir {directory}\n"
                f"sentinel monitor {NAME} 127.0.0.1 {primary.port} 2\n"
                f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER}\n"
                f"sentinel failover-timeout {NAME} 10000\n"
            )
            command = [str(server_binary()), str(configuration), "--sentinel", "--set-proc-title", "no"]
            self._sentinels.append(sentinel := Process(command, directory, {}))
            sentinel.spawn()
        wait_until(self._ready, PATIENCE, "sentinels that know each other and the replicas")
        return self

    def __exit__(self, *exc_info: object) -> None:
        for sentinel in self._sentinels:
            sentinel.close()
        for broker in self.brokers:
            broker.close()
        shutil.rmtree(self._directory, ignore_errors=True)
