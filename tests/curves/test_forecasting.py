"""Forecasts: a true distribution, whose interval shrinks to nothing where a curve has come to rest."""

from __future__ import annotations

from itertools import pairwise
from math import exp, inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.curves.curve import Curve
from joulewise.curves.forecasting import TASKSET, Forecast, features, forecast


def saturating(steps: int, pace: float = 5.0, higher_is_better: bool = True) -> Curve:
    sign = 1 if higher_is_better else -1
    return Curve(
        tuple(float(i) for i in range(1, steps + 1)),
        tuple(sign * (1 - exp(-i / pace)) for i in range(1, steps + 1)),
        higher_is_better,
    )


@given(st.floats(0.01, 0.99), st.floats(-20, 20), st.floats(0.3, 5))
def test_quantile_is_the_inverse_of_chance(chance, position, spread):
    """The gain that is exceeded with a chance is exceeded with that chance."""
    prediction = Forecast(gain=0.7, position=position, spread=spread)

    assert prediction.chance(prediction.exceeded_with(chance)) == pytest.approx(chance, rel=1e-6)


@given(st.floats(-700, 700))
def test_interval_is_ordered(position):
    """Low, median and high stand in this order at any position."""
    low, median, high = Forecast(1.0, position, 1.5).interval

    assert 0 <= low <= median <= high


def test_extremes():
    """More than nothing is to come for certain; far beyond either end the chance is 1 and 0 and nothing overflows."""
    assert Forecast(1.0, 0.0, 1.0).chance(0.0) == 1
    assert Forecast(1.0, -5000.0, 1.0).chance(1.0) == 0
    assert Forecast(1.0, 5000.0, 1.0).chance(1.0) == 1
    assert Forecast(1.0, 5000.0, 1.0).exceeded_with(0.5) == inf


def test_less_is_to_come_of_a_flatter_curve():
    """The further a saturating curve has come, the smaller is each end of the interval."""
    intervals = [forecast(saturating(n), 60).interval for n in (10, 20, 40)]

    for earlier, later in pairwise(intervals):
        assert all(a > b for a, b in zip(earlier, later, strict=True))


def test_scale_free():
    """The chance to gain another percent of the gain so far is the same in any unit of the metric."""
    one = saturating(12)
    other = Curve(one.steps, tuple(1000 * v - 7 for v in one.values), higher_is_better=True)

    assert forecast(other, 30).chance(0.01 * other.gain) == pytest.approx(
        forecast(one, 30).chance(0.01 * one.gain), rel=1e-6
    )


def test_no_gain_no_forecast():
    """A curve that has gained nothing has no forecast, rather than one of nothing to come."""
    flat = Curve((1.0, 2.0, 3.0), (0.5, 0.5, 0.5), higher_is_better=True)

    assert features(flat, 10) is None
    assert forecast(flat, 10) is None


def test_what_the_validation_set_cannot_resolve_widens_the_forecast():
    """A standstill that the validation set is too small to see through leaves more to come than a true one."""
    curve = saturating(40)

    assert forecast(curve, 60, least_noise=0.02).interval[2] > forecast(curve, 60).interval[2]


def test_growth_and_noise_both_speak_for_more():
    """The shipped constants let both growth and noise raise what may still come."""
    assert TASKSET.growth > 0
    assert TASKSET.noise > 0
    assert TASKSET.spread > 0
