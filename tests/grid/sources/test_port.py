"""What sources share: series with gaps, mixes, and refusing other shapes."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from joulewise.grid.sources.port import chunks, ended, from_mix, moment, number, rows, series, usual_step_s
from joulewise.vocabulary.errors import GridError
from joulewise.vocabulary.signal import Factors, Meaning, SignalPoint
from tests.grid.worlds import HOUR, START


def test_series():
    """Missing steps are gaps; what does not lie on the step is left out; nothing is None."""
    points = {START: SignalPoint(1), START + 2 * HOUR: SignalPoint(3), START + 0.5 * HOUR: SignalPoint(9)}
    found = series("DE", Meaning(), 3600, points, "a")

    assert found is not None
    assert list(found.values) == [1, None, 3]
    assert series("DE", Meaning(), 3600, {}, "a") is None
    assert series("DE", Meaning(), 3600, {START + 0.5 * HOUR: SignalPoint(9)}, "a") is None


def test_an_absurd_span():
    """Times a thousand years apart are refused, not filled in."""
    points = {START: SignalPoint(1), START + timedelta(days=365_000): SignalPoint(3)}

    with pytest.raises(GridError, match="answered times from"):
        series("DE", Meaning(), 3600, points, "a")


def test_usual_step():
    """The most usual distance is the step; without two times the one given."""
    assert usual_step_s([START, START + HOUR, START + 3 * HOUR, START + 4 * HOUR], 900) == 3600
    assert usual_step_s([START], 900) == 900


def test_from_mix():
    """An hour without a fuel that matters is a gap, one without a trifle is not."""
    mixes: dict[datetime, dict[str, float | None]] = {
        START: {"coal": 50.0, "wind": 50.0, "oil": 0.1},
        START + HOUR: {"wind": 50.0, "oil": 0.1},
        START + 2 * HOUR: {"coal": None, "wind": 50.0},
        START + 3 * HOUR: {"coal": 0.0, "wind": 50.0},
    }
    found = [p.value for p in from_mix(mixes, Factors.LIFECYCLE).values()]

    assert found[0] == pytest.approx(416, abs=1)
    assert found[1:] == [None, None, pytest.approx(11)]


@pytest.mark.parametrize("told", [None, 3, "x", {"data": 3}, {"data": [3]}, {"data": {"a": 1}}])
def test_other_shapes(told):
    """An answer of another shape is refused by its documented path."""
    with pytest.raises(GridError, match="documented one"):
        rows("a", told, "data")


def test_words():
    """Null is a gap; what is no number and no time is refused."""
    assert number("a", None) is number("a", "") is number("a", float("nan")) is None
    assert number("a", "3.5") == 3.5
    for use in (lambda: number("a", "much"), lambda: moment("a", "soon"), lambda: number("a", [1])):
        with pytest.raises(GridError, match="belongs"):
            use()


def test_chunks():
    """A stretch is cut into pieces that meet."""
    found = list(chunks(START, START + timedelta(days=25), 10))

    assert [(b - a).days for a, b in found] == [10, 10, 5]
    assert all(a[1] == b[0] for a, b in pairwise(found))


def test_ended():
    """The end is that of the last full step before now, or the one asked for where it is earlier."""
    now = START + 5 * HOUR + timedelta(minutes=50)

    assert ended(START + 9 * HOUR, now, 3600) == START + 5 * HOUR
    assert ended(START + 9 * HOUR, now, 1800) == START + 5.5 * HOUR
    assert ended(START, now, 3600) == START
