"""Findings: names of causes, shares, and promises that are kept or not."""

from __future__ import annotations

import pytest

from joulewise.vocabulary.figures import Basis, Figure, exact
from joulewise.vocabulary.finding import Cause, Saving, Settlement


def test_words():
    """A cause is read without its underscores."""
    assert Cause.VALIDATION_TOO_OFTEN.words == "validation too often"
    assert all(cause.words and "_" not in cause.words for cause in Cause)
    assert len(Cause) == 25


def test_share():
    """A saving's share is that of joules, else the larger one of CPU and wall time."""
    saving = Saving(exact(4), exact(1), 0.4, 0.1)
    assert saving.share == 0.4
    assert Saving(exact(4), exact(1), 0.4, 0.1, energy_share=0.3).share == 0.3


def figure(value: float) -> Figure:
    return Figure(value, value - 0.1, value + 0.1, Basis.MODELLED)


@pytest.mark.parametrize(
    ("promised", "realised", "equal", "kept"),
    [
        (0.5, 0.45, True, True),
        (0.5, 0.45, None, True),
        (0.5, 0.45, False, None),  # at lower quality nothing is kept
        (0.5, 0.1, True, False),
        (0.5, 0.9, True, False),
        (None, 0.4, True, None),
    ],
)
def test_kept(promised, realised, equal, kept):
    """A promise is kept where both intervals meet and the quality is no lower."""
    promise = None if promised is None else figure(promised)
    settled = Settlement("a", "b", None, "J", promise, figure(realised), exact(1), 0.0, equal, "")
    assert settled.kept is kept
