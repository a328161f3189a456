"""Learning curves: gain, noise and growth are what their docstrings say, whichever way is better."""

from __future__ import annotations

import random
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.curves.curve import Curve
from joulewise.vocabulary.errors import UsageError

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40)


def curve(values: list[float], higher_is_better: bool = True) -> Curve:
    return Curve(tuple(float(i) for i in range(1, len(values) + 1)), tuple(values), higher_is_better)


@given(VALUES)
def test_direction_is_a_mirror(values):
    """A loss and its negative as a score have the same best, gain, noise and growth."""
    loss, score = curve(values, higher_is_better=False), curve([-v for v in values])

    assert (loss.best, loss.gain, loss.noise, loss.growth(100)) == (
        score.best,
        score.gain,
        score.noise,
        score.growth(100),
    )


@given(VALUES, st.floats(-2, 2), st.integers(-3, 3))
def test_growth_and_gain_never_negative(values, offset, power):
    """Gain and growth count only what was won, so neither is below zero."""
    scaled = curve([v * 2.0**power + offset for v in values])

    assert scaled.gain >= 0
    assert scaled.growth(1000) >= 0


def test_growth_of_a_straight_line():
    """A line that rises by 1 a step has, after 60 of 100 steps, 40 steps' share of its last 35 % to come."""
    line = curve([float(i) for i in range(1, 61)])

    assert line.growth(100) == pytest.approx((60 - 39) * 40 / 60)
    assert line.growth(60) == 0


def test_noise_ignores_a_trend():
    """A steep straight line has no noise; the scatter put onto it is found within a tenth."""
    draw = random.Random(3)
    line = [0.5 * i for i in range(3000)]

    assert curve(line).noise == pytest.approx(0, abs=1e-12)
    assert curve([v + draw.gauss(0, 0.2) for v in line]).noise == pytest.approx(0.2, rel=0.1)


def test_noise_ignores_an_outlier():
    """One spike among a dozen recent points does not count as noise."""
    assert curve([1.0] * 30 + [9.0] + [1.0] * 5).noise == 0


def test_not_a_number_is_not_a_best():
    """Values that are not finite are never the best and do not spoil the noise."""
    broken = curve([1.0, 3.0, nan, inf, 2.0, 2.0, 2.0, 2.0, 2.0])

    assert broken.best == 1
    assert broken.gain == 2
    assert broken.noise == pytest.approx(0.0)
    assert curve([nan, nan]).best is None
    assert curve([nan, 1.0]).gain == 0


def test_prefix_and_growth_by_one():
    """A curve cut to its first evaluations and given the next one again is the curve itself."""
    whole = curve([1.0, 2.0, 3.0])

    assert whole.first(2).and_then(3.0, 3.0) == whole


@pytest.mark.parametrize(
    ("steps", "values", "message"),
    [
        ((1.0, 1.0), (0.1, 0.2), "step 1 follows step 1"),
        ((2.0, 1.0), (0.1, 0.2), "steps must rise"),
        ((-1.0,), (0.1,), "step is -1"),
        ((1.0,), (0.1, 0.2), "a curve of 1 steps has 2 values"),
        ((float("nan"),), (0.5,), "step is nan"),
        ((1, float("inf")), (0.5, 0.5), "step is inf"),
    ],
)
def test_bad_curves(steps, values, message):
    """Steps that do not rise, are negative, or do not match the values are refused in one line."""
    with pytest.raises(UsageError, match=message):
        Curve(steps, values, higher_is_better=True)


def test_rise():
    """A curve past its best that climbs again rises, where its growth is none; one that falls is below its best."""
    heights = (0.1, 0.5, 0.8, 0.9, 0.7, 0.72, 0.74, 0.76)
    climbing = Curve(tuple(map(float, range(1, 9))), heights, higher_is_better=True)
    falling = Curve(climbing.steps, tuple(-h for h in heights), higher_is_better=True)

    assert climbing.rise(8) == pytest.approx(0.76 - 0.9)
    assert climbing.rise(20) == pytest.approx(0.76 + 12 * 0.02 - 0.9)
    assert falling.rise(20) < 0
    assert Curve((1.0, 2.0), (nan, 0.5), higher_is_better=True).rise(9) == -inf
    assert Curve((), (), higher_is_better=True).rise(9) == -inf


def test_rise_looks_at_the_newest_eighth():
    """Of eighty evaluations ten count."""
    values = (0.0,) * 70 + tuple(0.01 * i for i in range(1, 11))
    curve = Curve(tuple(map(float, range(1, 81))), values, higher_is_better=True)

    assert curve.rise(90) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("now", "horizon", "behind"), [(10, 100, 1), (20, 100, 4), (50, 100, 25), (50, 50, 50)]
)
def test_tested(now, horizon, behind):
    """What lies as many times back as the horizon lies ahead: at 20 of 100, the evaluations up to 4."""
    curve = Curve(tuple(map(float, range(1, now + 1))), (0.5,) * now, higher_is_better=True)

    assert curve.tested(horizon) == behind


def test_grain():
    """Values that recur stand on a grid, whose step is told; a curve whose newest values are all different has none."""
    share = curve([0.2, 0.4, 0.7, 0.8, 0.8, 0.9, 0.9, 0.9])
    smooth = curve([0.2, 0.4, 0.7, 0.81, 0.8, 0.9, 0.91, 0.905])

    assert share.grain == pytest.approx(0.1)
    assert smooth.grain == 0
    assert curve([0.5] * 9).grain == 0
    assert curve([0.5, 0.5] + [0.6 + 0.01 * i for i in range(9)]).grain == 0  # long ago
