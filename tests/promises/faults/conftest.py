import os

import pytest

from tests.promises.faults.chat import STEP
from tutorial.services.broker import Broker
from tutorial.testing.site import Site


@pytest.fixture(scope="session")
def site():
    """The finished app with its own database and two demo users, alice and bob."""
    with Site(STEP, os.environ["REDIS_URL"]) as site:
        yield site


@pytest.fixture(scope="session")
def production(site):
    """The finished app behind the production server. Tests must leave it running."""
    return site.shared_server("uvicorn")


@pytest.fixture(params=["uvicorn", "daphne"])
def server(request, site):
    """The finished app behind the production server and behind daphne. Tests must leave it running."""
    return site.shared_server(request.param)


@pytest.fixture(scope="module")
def mortal():
    """The finished app on a broker of its own, `site.broker`, which tests kill and must leave running."""
    with Broker() as broker, Site(STEP, broker.url) as site:
        site.broker = broker
        yield site
