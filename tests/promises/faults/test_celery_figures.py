"""The figures of the worker, in their short form."""

import pytest

from tests.promises.faults.celery_figures import FIGURES


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.__name__)
def test_a_figure_in_short(figure):
    """The short form of a figure of `python -m tests.promises.faults` loses nothing."""
    account = figure(False, print)
    print(account)
    account.check()
    assert account.sent
