"""What is wrong with the database or a broker is said in one line when a server or a worker starts."""

import asyncio
import os
import re
import runpy
import ssl
import subprocess
import sys
import threading

import pytest
import redis

from tests.promises.faults.chat import STEP
from tutorial.testing.site import PRODUCTION, Site

UVICORN = ("-m", "uvicorn", "--port", "0", "config.asgi:application")
WORKER = ("-m", "celery", "-A", "config", "worker", "--concurrency", "1")
SENTINELS = "must look like sentinel://host:26379,host:26379/name"
ADDRESSES = runpy.run_path(str(STEP / "config/addresses.py"))


def refusal(words, **env):
    """Start a program of the finished app that refuses to start; return the line that says why."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *words],
        cwd=STEP,
        env=os.environ | PRODUCTION | env,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode in (1, 3), done.stderr
    assert "Traceback" not in done.stderr
    about = re.compile("DATABASE_URL|REDIS_URL|The database")
    [line] = [line for line in done.stderr.splitlines() if about.search(line)]
    return line


@pytest.mark.parametrize(
    ("reader", "url", "words"),
    [
        (
            "database_of",
            "postgres://chat:top/secret@127.0.0.1/chat",
            "DATABASE_URL must look like postgres://",
        ),
        ("database_of", "127.0.0.1", "DATABASE_URL must look like postgres://"),
        ("database_of", "mysql://chat:secret@127.0.0.1/chat", "DATABASE_URL must look like postgres://"),
        ("database_of", "postgres://chat:secret@127.0.0.1", "DATABASE_URL must look like postgres://"),
        ("database_of", "postgres//chat", "DATABASE_URL must look like postgres://"),
        ("layer_hosts", "sentinel://127.0.0.1:26379", SENTINELS),
        ("layer_hosts", "sentinel://:secret@127.0.0.1:port/name", SENTINELS),
        ("layer_hosts", "http://127.0.0.1", "REDIS_URL must be redis://"),
        ("layer_hosts", "redis://127.0.0.1:6379 127.0.0.1:6380", "REDIS_URL must be redis://"),
        ("layer_hosts", "", "REDIS_URL must be redis://"),
    ],
)
def test_an_address_that_is_none_is_refused(reader, url, words):
    """DATABASE_URL must be PostgreSQL, REDIS_URL brokers or named sentinels; no password is shown."""
    with pytest.raises(SystemExit, match=words) as refused:
        ADDRESSES[reader](url)
    assert "secret" not in str(refused.value)


def test_an_address_is_refused_before_anything_starts():
    """The line is all that such an address leads to."""
    assert "DATABASE_URL must look like postgres://" in refusal(WORKER, DATABASE_URL="nothing")


def test_a_missing_driver_is_named(monkeypatch):
    """Without psycopg the line says what to install."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SystemExit, match=re.escape("pip install 'psycopg[binary,pool]'")):
        ADDRESSES["database_of"]("postgres://chat:secret@127.0.0.1/chat")


def test_a_database_that_does_not_answer_is_named(unused_port):
    """A server or worker that can't reach the database ends, and says where it looked."""
    line = refusal(UVICORN, DATABASE_URL=f"postgres://chat:secret@127.0.0.1:{unused_port}/chat")
    assert f"The database 127.0.0.1:{unused_port}/chat can't be used" in line
    assert "Connection refused" in line
    assert "secret" not in line


def test_a_wrong_password_is_named(postgres):
    """A refused login names the user, the place and no password."""
    line = refusal(WORKER, DATABASE_URL=postgres.url().replace("owner:", "owner:wrong"))
    assert f"The database 127.0.0.1:{postgres.port}/postgres can't be used" in line
    assert 'password authentication failed for user "owner"' in line
    assert "owner:wrong" not in line


def test_a_database_without_tables_is_named(postgres):
    """A database whose migrations didn't run is refused, with the command to run them."""
    line = refusal(UVICORN, DATABASE_URL=postgres.url())
    assert f"The database 127.0.0.1:{postgres.port}/postgres lacks" in line
    assert "python manage.py migrate" in line


def test_a_file_without_tables_is_named(tmp_path):
    """The same is said of a SQLite file."""
    path = str(tmp_path / "empty.sqlite3")
    assert f"The database {path} lacks" in refusal(WORKER, DATABASE_PATH=path)


@pytest.fixture
def stranger(tmp_path):
    """The port of a server with a certificate that nobody has signed."""
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=127.0.0.1",
    ]
    try:
        subprocess.run([*words, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl isn't installed; this test makes a certificate with it")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    loop = asyncio.new_event_loop()
    serve = asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    server = loop.run_until_complete(serve)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield server.sockets[0].getsockname()[1]
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_a_broker_with_a_wrong_certificate_is_named(stranger):
    """A certificate that doesn't hold is said at the start, and the broker isn't waited for."""
    line = refusal(WORKER, REDIS_URL=f"rediss://:secret@127.0.0.1:{stranger}")
    assert f"REDIS_URL: 127.0.0.1:{stranger} can't be used" in line
    assert "CERTIFICATE_VERIFY_FAILED" in line
    assert "secret" not in line


def test_a_wrong_password_of_the_broker_is_named(broker):
    """A broker that refuses the login is named, without the password."""
    # A user with a password: redis-py 8 gets into a broker that asks for none with any.
    with redis.Redis(port=broker.port) as client:
        client.acl_setuser("chat", enabled=True, passwords=["+right"])
    line = refusal(UVICORN, REDIS_URL=f"redis://chat:secret@127.0.0.1:{broker.port}")
    assert f"REDIS_URL: 127.0.0.1:{broker.port} can't be used" in line
    assert "secret" not in line


def test_a_server_whose_broker_is_down_starts(unused_port):
    """A broker that doesn't answer yet is waited for."""
    with Site(STEP, f"redis://127.0.0.1:{unused_port}", PRODUCTION) as site:
        assert site.server("uvicorn", arguments=("--lifespan", "on")).running
