"""The forecast of a trial's end."""

from __future__ import annotations

import numpy as np
import pytest

from joulewise.searching.curves import (
    Beliefs,
    CurveModel,
    Seen,
    _kernel,
    _slope,
    fit,
    rungs_seen,
    see,
    warp_of,
)
from joulewise.searching.history import Trial

EPOCHS = 27


def trials(count, epochs, seed=0):
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        x = rng.random(2)
        level = 0.9 - (x[0] - 0.4) ** 2
        values = tuple(level - 0.4 / e + rng.normal(0, 0.002) for e in range(1, epochs + 1))
        made.append(Trial(number, x, values, (1.0,) * epochs))
    return made


def density(theta, seen):
    """Return the log posterior density, written down a second time."""
    k = _kernel(theta, seen.features, seen.row, seen.time)
    _, log_determinant = np.linalg.slogdet(k)
    prior = -0.5 * (((theta - Beliefs.first(2).theta) / np.array([1.0] * 6 + [0.5] + [0.9] * 2)) ** 2).sum()
    return -0.5 * seen.value @ np.linalg.solve(k, seen.value) - 0.5 * log_determinant + prior


def seen_of(made):
    warp = warp_of(np.array([v for t in made for v in t.values]))
    return see(made, np.array([t.point for t in made]), EPOCHS, warp), warp


def test_slope():
    """The slope of the density is that of finite differences."""
    seen, _ = seen_of(trials(6, 5))
    theta = Beliefs.first(2).theta + np.linspace(-0.3, 0.3, 9)

    slope = _slope(theta, seen)

    for index in range(9):
        step = np.eye(9)[index] * 1e-5
        expected = (density(theta + step, seen) - density(theta - step, seen)) / 2e-5
        assert slope[index] == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_fit_gains():
    """A fit ends at a greater density than it began."""
    seen, _ = seen_of(trials(10, 9))
    first = Beliefs.first(2)

    assert density(fit(seen, first, 30).theta, seen) > density(first.theta, seen)


def test_forecast_holds_the_end():
    """Of trials paused a third of the way, the 90 % interval holds at least 7 of 10 ends, and ranks them well."""
    full = trials(12, EPOCHS, seed=3)
    made = [t if t.number < 2 else Trial(t.number, t.point, t.values[:9], t.costs_j[:9]) for t in full]
    seen, warp = seen_of(made)
    model = CurveModel(seen, fit(seen, Beliefs.first(2), 40))

    mean, spread = model.forecast(np.array([t.point for t in made]), np.ones(12), np.arange(12.0))

    ends = warp(np.array([t.values[-1] for t in full]))
    held = np.abs(ends - mean)[2:] <= 1.645 * spread[2:]
    assert held.sum() >= 7
    assert np.corrcoef(ends[2:], mean[2:])[0, 1] > 0.9


def test_unknown_is_wider():
    """A new setting's interval is wider than that of a trial that was seen."""
    made = trials(8, 9)
    seen, _ = seen_of(made)
    model = CurveModel(seen, Beliefs.first(2))

    _, own = model.forecast(made[0].point[None, :], np.ones(1), np.zeros(1))
    _, new = model.forecast(np.array([[0.99, 0.01]]), np.ones(1), np.array([-1.0]))

    assert new[0] > own[0]


def test_warp():
    """Warping keeps the order, and goes back to the value it came from, above the top as well."""
    warp = warp_of(np.array([0.1, 0.7, 0.8, 0.9]))
    values = np.array([-5.0, 0.1, 0.85, 0.9, 0.95])

    assert (np.diff(warp(values)) > 0).all()
    assert warp.back(warp(values)) == pytest.approx(values)


def test_equal_values():
    """Trials that all report the same value are no division by zero."""
    warp = warp_of(np.full(5, 0.5))

    assert np.isfinite(warp(np.array([0.5, 0.4]))).all()


def test_thinned():
    """However many epochs there are, the model sees at most 500 points, and every trial's last."""
    made = trials(150, EPOCHS)

    seen, _ = seen_of(made)

    assert len(seen.value) <= 500
    assert set(seen.row[seen.time == 1.0]) == set(range(150))
    assert rungs_seen(EPOCHS)[-1] == EPOCHS
    assert isinstance(seen, Seen)
