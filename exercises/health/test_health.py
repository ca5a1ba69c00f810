"""Exercise: a load balancer learns at /healthz whether this server can serve."""

import socket
import time

import httpx
import pytest
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tutorial.services.broker import Broker
from tutorial.services.processes import patience

HEALTHY = {"status": "ok", "broker": "ok"}
UNHEALTHY = {"status": "unavailable", "broker": "no answer"}


@pytest.fixture
def use_broker(settings):
    """Point the channel layer at another broker."""

    def use_broker(port):
        host = {"address": f"redis://127.0.0.1:{port}", "retry": Retry(NoBackoff(), 1)}
        layer = {**settings.CHANNEL_LAYERS["default"], "CONFIG": {"hosts": [host]}}
        settings.CHANNEL_LAYERS = {"default": layer}

    return use_broker


@pytest.fixture
def silent_port():
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def production(settings):
    """Set what differs in production: only one host name, and only HTTPS."""
    settings.ALLOWED_HOSTS = ["chat.example.com"]
    settings.SECURE_SSL_REDIRECT = True


def test_a_healthy_server_answers_200(client):
    """/healthz answers 200 with JSON while a message comes back through the channel layer."""
    response = client.get("/healthz")
    assert response.status_code == 200, "There is no /healthz yet."
    assert response.headers["content-type"] == "application/json"
    assert response.json() == HEALTHY


def test_nobody_keeps_the_answer(client):
    """An old answer is worth nothing: Cache-Control says no-store."""
    assert "no-store" in client.get("/healthz").headers.get("cache-control", "")


@pytest.mark.parametrize("port", ["unused_port", "silent_port"])
def test_without_a_broker_it_answers_503_in_time(client, use_broker, request, port):
    """Whether the broker refuses or stays silent, /healthz answers 503 within 2 seconds."""
    use_broker(request.getfixturevalue(port))
    start = time.monotonic()
    response = client.get("/healthz")
    assert time.monotonic() - start < patience(4)
    assert response.status_code == 503
    assert response.json() == UNHEALTHY


def test_the_broker_comes_back_and_so_does_the_server(client, use_broker):
    """When the broker dies and returns, /healthz answers 200 again by itself."""
    with Broker() as broker:
        use_broker(broker.port)
        answers = [client.get("/healthz").status_code]
        broker.kill()
        answers.append(client.get("/healthz").status_code)
        broker.start()
        answers.append(client.get("/healthz").status_code)
    assert answers == [200, 503, 200]


@pytest.mark.usefixtures("production")
def test_a_probe_knows_neither_name_nor_https(client):
    """In production, a probe by address and plain HTTP gets its answer: no 400, no redirect."""
    response = client.get("/healthz", headers={"host": "10.0.0.7:8000"})
    assert response.status_code == 200, f"The probe got {response.status_code}."
    assert response.json() == HEALTHY


@pytest.mark.usefixtures("production")
@pytest.mark.parametrize(("host", "status"), [("10.0.0.7:8000", 400), ("chat.example.com", 301)])
def test_the_other_pages_stay_protected(client, host, status):
    """The page / still refuses a foreign host name and redirects to HTTPS."""
    assert client.get("/", headers={"host": host}).status_code == status


def test_a_real_server_answers(site):
    """All this works under daphne too, ten times over, HEAD included."""
    url = f"{site.shared_server('daphne').url}/healthz"
    with httpx.Client(trust_env=False, timeout=60) as probe:
        assert [probe.get(url).json() for _ in range(10)] == [HEALTHY] * 10
        assert probe.head(url).status_code == 200
