"""The built site, and a server for it: once for all tests."""

import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from resource import RUSAGE_CHILDREN, getrusage

import pytest

from tutorial.course.steps import ROOT

HANG = 600  # seconds; only what hangs takes as long


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The built site; building it writes nothing into the checkout."""
    target = tmp_path_factory.mktemp("site") / "html"
    before = getrusage(RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", ROOT / "docs", target],
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    assert done.returncode == 0, done.stderr
    after = getrusage(RUSAGE_CHILDREN)
    # Not the time that passes, which says more about the machine.
    target.joinpath("seconds").write_text(str(after.ru_utime - before.ru_utime))
    return target


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a log."""

    def log_message(self, *arguments):
        """Called for every request."""


@pytest.fixture(scope="session")
def address(site):
    """The address of a server for the built site."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()
