"""The figures of the WebSocket half, in their short form."""

import pytest

from tests.promises.faults.websocket_figures import FIGURES, malformed_frames
from tutorial.services.browser import chromium


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.__name__)
def test_a_figure_in_its_short_form(figure):
    """Every account of the fault runner is right, at a smaller number."""
    if figure.__name__ == "browsers" and chromium() is None:
        pytest.skip("no Chromium or Chrome on PATH; this figure needs one")
    account = figure(False, print)
    print(account)
    account.check()


def test_the_malformed_frames_are_the_same_for_every_run():
    """The seed is stated, so a frame that breaks a consumer can be made again; and there are all kinds."""
    frames = malformed_frames(200)
    assert len(frames) == 200
    assert frames == malformed_frames(200)
    assert "" in frames
    assert any(isinstance(frame, bytes) for frame in frames)
    assert any(len(frame) > 4096 for frame in frames)
    assert any(isinstance(frame, str) and '"message"' in frame for frame in frames)
