"""From which epoch on ranks are trusted."""

from __future__ import annotations

import numpy as np
import pytest

from joulewise.searching.fidelity import correlation, ladder, minimum
from joulewise.searching.history import Trial


def curves(holds_from, count=10, epochs=27, seed=1):
    """Return trials whose order is noise before epoch `holds_from`, and fixed from there on."""
    rng = np.random.default_rng(seed)
    return [
        Trial(
            i,
            np.zeros(1),
            tuple(e + (i / count if e >= holds_from else rng.random()) for e in range(1, epochs + 1)),
            (1.0,) * epochs,
        )
        for i in range(count)
    ]


def test_before_anything():
    """Before enough trials have gone on, the second rung is used and the reason says so."""
    least = minimum([], 52)

    assert least.epoch == 3
    assert "until 6 trials have gone on" in least.reason


@pytest.mark.parametrize(("holds_from", "epoch"), [(1, 1), (3, 3), (9, 9)])
def test_chosen(holds_from, epoch):
    """The smallest rung is chosen from which on the order of trials holds."""
    least = minimum(curves(holds_from), 27 * 3 if epoch == 9 else 27)

    assert least.epoch == epoch


def test_blind():
    """Where a third of the epochs tells nothing, trials are trained in full."""
    least = minimum(curves(27), 27)

    assert least.blind
    assert least.epoch == 27


def test_correlation():
    """Spearman's coefficient of a known order; ties share their ranks."""
    made = [Trial(i, np.zeros(1), (v, 0.0, w), (1.0,) * 3) for i, (v, w) in enumerate(
        [(1.0, 11.0), (2.0, 12.0), (3.0, 15.0), (4.0, 14.0), (5.0, 13.0), (6.0, 16.0)]
    )]  # fmt: skip

    assert correlation(made, 1) == pytest.approx(1 - 6 * 8 / (6 * 35))


def test_ladder():
    """The rungs go up to a third of the epochs; a single epoch has one rung."""
    assert ladder(52) == (1, 3, 9)
    assert ladder(27) == (1, 3, 9)
    assert ladder(1) == (1,)
    assert minimum([], 1).epoch == 1
