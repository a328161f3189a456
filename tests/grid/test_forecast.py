"""The forecast from Signals: what it may know, how it says what it is, and what it does with little."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import timedelta
from importlib.util import find_spec

import pytest

from joulewise.grid.forecast import LEARNT, PUBLISHED, UNTUNED, forecast
from joulewise.vocabulary.errors import UnlikeSignals
from joulewise.vocabulary.signal import Kind, Meaning, Signal, SignalPoint
from tests.grid.worlds import HOUR, START, signal, sunny, weather

NUMPY = find_spec("numpy") is not None


def made(*arguments):
    """Return a forecast that is there."""
    found = forecast(*arguments)
    assert found is not None
    return found


def ends(found):
    """Return low, value and high of every point."""
    rows = [(p.low, p.value, p.high) for p in found.signal.points]
    return [(low, value, high) for low, value, high in rows if None not in (low, value, high)]


@pytest.fixture(params=["learnt", "untuned"])
def way(request, monkeypatch):
    """With numpy, and as if it were not installed."""
    if request.param == "untuned":
        monkeypatch.setitem(sys.modules, "numpy", None)
        monkeypatch.delitem(sys.modules, "joulewise.grid.learning", raising=False)
        return UNTUNED
    if not NUMPY:
        pytest.skip("needs the extra 'schedule'")
    return LEARNT


def test_a_grid_that_repeats_itself(way):
    """Where every day is as the last, the forecast is exact, and says so by a narrow interval."""
    past = sunny(12 * 24)

    found = made(past, past.end_utc, 30)

    truth = sunny(30, past.end_utc)
    assert found.method == way
    assert found.history_h == 288
    assert found.signal.values == pytest.approx(truth.values, abs=1)
    assert len(ends(found)) == 30
    assert all(high - low < 5 for low, _, high in ends(found))
    assert sum(found.weights.values()) == pytest.approx(1)


def test_every_point_is_issued_now(way):
    """The forecast begins with the hour of now and its points are issued at now."""
    past = sunny(240)
    now = past.end_utc + timedelta(minutes=20)

    found = made(past, now, 5)

    assert found.signal.start_utc == past.end_utc
    assert {p.issued_utc for p in found.signal.points} == {now}
    assert found.signal.known_at(now - HOUR).values == ()


def test_no_future(way):
    """Values after now and forecasts issued after now change nothing."""
    past, now = sunny(240), START + 216 * HOUR
    trap = signal([1.0] * 96, now, issued_utc=now + HOUR)
    seen = signal([300.0] * 96, now - 2 * HOUR, issued_utc=now - 2 * HOUR)
    poisoned = replace(
        past, points=tuple(SignalPoint(9e9) if i >= 216 else p for i, p in enumerate(past.points))
    )

    assert forecast(poisoned, now, 24, [seen, trap]) == forecast(past, now, 24, [seen])


def test_the_service_joins(way):
    """A published forecast moves ours towards it."""
    past = sunny(240)
    low = signal([50.0] * 96, past.end_utc, issued_utc=past.end_utc, source="service")

    alone, both = made(past, past.end_utc, 24), made(past, past.end_utc, 24, [low])

    assert sum(both.signal.values) < sum(alone.signal.values) - 24 * 20
    assert "service" in both.signal.source


def test_a_service_without_history(way):
    """Without history the published forecast is taken as it is, and said."""
    issue = signal([5.0, 6.0], issued_utc=START)

    found = made(None, START, 4, [issue])

    assert found.method == PUBLISHED
    assert found.signal.values == (5, 6, None, None)
    assert ends(found)[0] == pytest.approx((4.25, 5, 5.65))


def test_nothing_known():
    """With less than a day of history and no service there is no forecast."""
    assert forecast(None, START, 24) is None
    assert forecast(sunny(23), START + 23 * HOUR, 24) is None
    assert forecast(sunny(300), START, 24) is None


def test_unlike(way):
    """History and service of unlike meaning refuse to meet."""
    marginal = signal([1.0], issued_utc=START, meaning=Meaning(kind=Kind.MARGINAL))

    with pytest.raises(UnlikeSignals, match="kind"):
        forecast(sunny(48), START + 48 * HOUR, 24, [marginal])


def test_half_hours(way):
    """A service in half hours that starts in the middle of an hour is put into hours."""
    start = START + 240.5 * HOUR
    issue = Signal.of("DE", [100.0] * 95, start, step_s=1800, issued_utc=start)

    found = made(None, start, 48, [issue])

    assert found.signal.start_utc == START + 240 * HOUR
    assert found.signal.values == (100.0,) * 48


def test_prices_may_be_negative(way):
    """A price below zero stays below zero; grams never are."""
    prices = Signal.of("DE", [-0.05] * 240, START, meaning=Meaning.price("EUR"))
    grams = signal([0.0, 1.0] * 120)

    assert made(prices, START + 240 * HOUR, 3).signal.values == pytest.approx((-0.05,) * 3)
    assert all(low >= 0 for low, _, _ in ends(made(grams, START + 240 * HOUR, 24)))


def test_old_history(way):
    """History that ends two days ago still makes a forecast."""
    past = sunny(240)

    found = made(past, past.end_utc + 48 * HOUR, 24)

    assert found.signal.values == pytest.approx(sunny(24, past.end_utc).values, abs=15)


def test_the_interval_holds_its_value(way):
    """Low, value and high are in order."""
    past = signal(weather(20, seed=5))

    found = ends(made(past, past.end_utc, 72))

    assert len(found) == 72
    assert all(low <= value <= high and low < high for low, value, high in found)
