"""The typical month by hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from joulewise.grid.profile import aged, profile_of, shipped
from joulewise.vocabulary.signal import Factors, Scope
from tests.grid.worlds import HOUR, START, signal, sunny


def test_a_grid_that_repeats_itself():
    """Of a grid that repeats itself the typical hours are its hours, and the interval is no wider."""
    found = profile_of(sunny(365 * 24))

    assert found is not None
    for month in (1, 7):
        for hour in (1, 13):
            value, low, high = found.cells[month, hour]
            assert value == pytest.approx(300 if hour == 13 else 500)
            assert low == pytest.approx(high)
    assert "365 days of history (12 of 12 months)" in found.source


def test_months_without_history():
    """A month that was not seen takes the hours of all months, and the source says how many were."""
    found = profile_of(sunny(40 * 24))

    assert found is not None
    assert found.cells[8, 13] == found.cells[1, 13]
    assert "(2 of 12 months)" in found.source


def test_too_little():
    """Less than four weeks make no profile, nor do forecasts."""
    assert profile_of(sunny(27 * 24)) is None
    assert profile_of(sunny(60 * 24, issued_utc=START)) is None
    assert profile_of(signal([None] * 2000)) is None


def test_signal():
    """A stretch of typical hours begins with its first hour, is an estimate, and is known when it was asked for."""
    found = profile_of(sunny(365 * 24))
    assert found is not None
    start = datetime(2027, 5, 5, 11, 40, tzinfo=UTC)

    made = found.signal(start, start + timedelta(hours=3))

    assert made.start_utc == start.replace(minute=0)
    assert len(made) == 4
    assert made.estimated_share == 1
    assert made.at(start + 1.5 * HOUR).value == pytest.approx(300)
    assert made.known_at(start - HOUR).values == ()


@pytest.mark.parametrize("zone", ["CISO", "US-CA", "us-tex-erco", "US-TX"])
def test_shipped(zone):
    """California and Texas have a shipped profile of 288 hours, each within what its fuels can be."""
    for factors in (Factors.LIFECYCLE, Factors.DIRECT):
        found = shipped(zone, factors)
        assert found is not None
        assert len(found.cells) == 288
        assert all(0 < low <= value <= high < 1200 for value, low, high in found.cells.values())
        assert found.meaning.factors is factors
        assert found.meaning.scope is Scope.PRODUCTION


def test_california_is_clean_at_noon():
    """In California a spring noon is far cleaner than the evening (20:00 and 03:00 UTC)."""
    found = shipped("US-CA")

    assert found is not None
    assert found.cells[4, 20][0] < 0.6 * found.cells[4, 3][0]


def test_no_other_zone():
    """No other zone has one."""
    assert shipped("DE") is None


def test_aged():
    """Another year widens the interval, also one of no width, and never to less than zero."""
    value, low, high = aged((100.0, 90.0, 120.0))

    assert (value, low < 90, high > 120) == (100, True, True)
    assert aged((100.0, 100.0, 100.0))[1] == pytest.approx(78, abs=1)
    assert aged((5.0, 0.0, 9.0))[1] == 0
