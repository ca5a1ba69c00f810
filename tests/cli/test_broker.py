"""The embedded broker on machines that do not let it run at once, or at all."""

import shutil
import tempfile
import threading
from pathlib import Path

import pytest

from tutorial.services import broker


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A copy of the broker's program that a test may spoil."""
    try:
        copy = Path(shutil.copy(broker.server_binary(), tmp_path))
    except broker.NoBroker as reason:
        pytest.skip(str(reason))
    monkeypatch.setattr(broker, "server_binary", lambda: copy)
    return copy


def test_a_program_that_may_not_be_run(program, tmp_path, monkeypatch):
    """If the system refuses to run the broker, you see its reason and the way out; nothing is left."""
    monkeypatch.setattr(tempfile, "tempdir", tmp_path.as_posix())
    program.chmod(0o644)
    with pytest.raises(broker.NoBroker, match=r"docker compose up.*Permission denied"):
        broker.Broker().start()
    assert list(tmp_path.iterdir()) == [program]


def test_a_program_that_may_be_run_in_a_moment(program):
    """A short refusal, as here while the file is being written, doesn't stop the broker."""
    writing = program.open("ab")
    later = threading.Timer(0.3, writing.close)
    later.start()
    with broker.Broker() as running:
        assert broker.answers(running.url)
    later.join()


def test_a_broker_that_ends_says_why(program, tmp_path):
    """When the broker ends at its start, you see the end of its log."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/appendonlydir").write_text("not a directory")
    with pytest.raises(broker.NoBroker, match=r"did not start on port \d+\. .*appendonlydir"):
        broker.Broker(data=tmp_path / "data").start()
