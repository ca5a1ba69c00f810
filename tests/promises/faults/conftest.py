import pickle

import pytest

from tests.promises.faults.mail import ALONE
from tutorial.services.processes import PATIENCE
from tutorial.testing.site import Worker

# In a process of its own: this one must not load a step.
SETTINGS = """
import pickle
from config import production
settings = {name: value for name, value in vars(production).items() if name.isupper()}
print(pickle.dumps(settings).hex())
"""


@pytest.fixture(scope="session")
def settings(site):
    """The settings of the finished app in production."""
    return pickle.loads(bytes.fromhex(site.run("-c", SETTINGS)))  # noqa: S301 - our own


@pytest.fixture(scope="session")
def production(site):
    """The finished app behind the production server. Tests must leave it running."""
    return site.shared_server("uvicorn")


@pytest.fixture(params=["uvicorn", "daphne"])
def server(request, site):
    """The finished app behind the production server and behind daphne. Tests must leave it running."""
    return site.shared_server(request.param)


@pytest.fixture
def frail_broker(broker):
    """The broker of the site, to be killed; it runs again when the test ends."""
    yield broker
    if not broker.running:
        broker.start()


@pytest.fixture(scope="session")
def session_worker(site, session_mailbox):
    """The worker that most tests share, not started yet."""
    env = session_mailbox.env | {"EMAIL_TIMEOUT": "1", "VISIBILITY_TIMEOUT": "600"}
    with Worker(site, ALONE, env) as worker:
        yield worker


@pytest.fixture
def worker(session_worker, publisher):
    """The shared worker, running."""
    if not session_worker.running:
        session_worker.start(PATIENCE)
    return session_worker


@pytest.fixture
def make_worker(session_worker, site, publisher, mailbox):
    """Make a worker with an environment of its own, in place of the shared one; it ends with the test."""
    session_worker.kill()
    publisher.clear()
    workers = []

    def make_worker(**env):
        # Its current mail stays there for as long as a test needs.
        env = mailbox.env | {"EMAIL_TIMEOUT": "60", "VISIBILITY_TIMEOUT": "600"} | env
        workers.append(Worker(site, ALONE, env))
        return workers[-1]

    yield make_worker
    for worker in workers:
        worker.kill()
        worker.close()
