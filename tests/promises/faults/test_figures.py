"""The figures of `make faults` in their short form, and what makes them comparable."""

import pytest

from tests.promises.faults import chat_figures, mail_figures
from tutorial.services.browser import chromium


@pytest.mark.parametrize(
    "figure", chat_figures.FIGURES + mail_figures.FIGURES, ids=lambda figure: figure.__name__
)
def test_a_figure_in_its_short_form(figure):
    """Every account of the fault runner is right, with smaller numbers."""
    if figure.__name__ == "browsers" and chromium() is None:
        pytest.skip("no Chromium or Chrome on PATH; this figure needs one")
    account = figure(False)
    print(account)
    assert account.check().sent


def test_the_malformed_frames_are_the_same_for_every_run():
    """The seed is fixed, so a frame that breaks a consumer can be made again; all kinds are there."""
    frames = chat_figures.malformed_frames(200)
    assert len(frames) == 200
    assert frames == chat_figures.malformed_frames(200)
    made = frames[len(chat_figures.KNOWN_BAD) :]
    assert "" in made
    assert any(isinstance(frame, bytes) for frame in made)
    assert any(len(frame) > 4096 for frame in made)
    assert any(isinstance(frame, str) and '"message"' in frame for frame in made)
