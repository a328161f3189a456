from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.scheduling.throttle import thresholds, throttle
from joulewise.vocabulary.errors import UsageError


def test_ends():
    """In the cleanest hour everything runs, in the dirtiest only the least."""
    assert throttle(100.0, 100.0, 400.0, 10, 2).units == 10
    assert throttle(400.0, 100.0, 400.0, 10, 2).units == 2


def test_flat():
    """Where no hour differs from another nothing is held back."""
    assert throttle(300.0, 295.0, 305.0, 10, 0).units == 10


def test_reason():
    """The cap says what it saw and when the next unit runs."""
    cap = throttle(250.0, 100.0, 400.0, 8, 2)

    assert cap.most == 8
    assert "250 g/kWh where between 100 and 400 are expected: the next unit runs from" in cap.reason


@given(
    st.integers(1, 60),
    st.floats(1, 500),
    st.floats(1.06, 20),
    st.lists(st.floats(0, 1), min_size=2, max_size=2),
)
def test_monotonous(most, low, ratio, shares):
    """A dirtier hour never has the larger cap, and every cap lies between the least and all."""
    least = most // 4
    first, second = sorted(low + share * low * (ratio - 1) for share in shares)
    cleaner = throttle(first, low, low * ratio, most, least)
    dirtier = throttle(second, low, low * ratio, most, least)

    assert least <= dirtier.units <= cleaner.units <= most


@given(st.integers(1, 40), st.floats(1.1, 30))
def test_thresholds(count, ratio):
    """Thresholds fall from U / alpha, and the one after the last is L itself: the equation of alpha holds."""
    marks = thresholds(count, 100.0, 100.0 * ratio)
    alpha = 100.0 * ratio / marks[0]

    assert list(marks) == sorted(marks, reverse=True)
    assert marks[-1] >= 100.0 * (1 - 1e-9)
    after = 100.0 * ratio * (1 - (1 - 1 / alpha) * (1 + 1 / (count * alpha)) ** count)
    assert after == pytest.approx(100.0, rel=1e-6)


def test_competitive():
    """Buying k units by these thresholds costs at most alpha times the k cheapest, in any order of hours."""
    chance = random.Random(3)
    count, low, high = 8, 50.0, 500.0
    marks = thresholds(count, low, high)
    alpha = high / marks[0]
    for _round in range(300):
        hours = [chance.uniform(low, high) for _ in range(30)]
        bought: list[float] = []
        for at, hour in enumerate(hours):
            left = len(hours) - at
            if len(bought) < count and (hour <= marks[len(bought)] or left <= count - len(bought)):
                bought.append(hour)
        assert sum(bought) <= alpha * sum(sorted(hours)[:count]) * (1 + 1e-9)


@pytest.mark.parametrize(("most", "least"), [(0, 0), (4, 5), (4, -1)])
def test_wrong(most, least):
    """A least that is no part of the whole is refused."""
    with pytest.raises(UsageError, match="the least is"):
        throttle(100.0, 50.0, 500.0, most, least)
