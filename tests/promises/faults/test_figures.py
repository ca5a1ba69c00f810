"""The figures of `make faults` in their short form, and what makes them comparable."""

import pytest

from tests.promises.faults import chat_figures
from tests.promises.faults.__main__ import FIGURES, missing


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_in_its_short_form(name):
    """Every account of the fault runner is right, with smaller numbers."""
    if reason := missing(name):
        pytest.skip(f"{reason}; the figure {name} needs it")
    account = FIGURES[name](False)
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
