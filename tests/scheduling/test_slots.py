from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.scheduling.slots import Prices, Slot, Weights, window
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.signal import Meaning
from tests.scheduling.conftest import NOW, signal


@given(
    st.lists(st.floats(0, 1000), min_size=1, max_size=20), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)
)
def test_two_halves_cost_what_the_whole_costs(values, a, b, c):
    """The integral of a stretch is the sum of the integrals of its parts."""
    prices = Prices([Slot(3600.0 * i, 3600.0 * (i + 1), v) for i, v in enumerate(values)], Weights())
    a, b, c = sorted(share * prices.end_s for share in (a, b, c))

    assert prices.between(a, b) + prices.between(b, c) == pytest.approx(prices.between(a, c), abs=1e-3)


def test_slots_are_cut_at_the_origin_and_at_both_signals_borders():
    """A plan at ten past with quarter-hourly prices has slots that begin at ten past and at every quarter."""
    price = signal([0.2, 0.4] * 8, step_s=900, meaning=Meaning.price("EUR"))
    cut = window(signal([360, 720, 360]), NOW + timedelta(minutes=10), NOW + timedelta(minutes=75), price)

    assert [s.begin_s / 60 for s in cut.slots] == [0, 5, 20, 35, 50]
    assert [s.end_s / 60 for s in cut.slots][-1] == 65
    assert [round(s.g_per_j * 3.6e6) for s in cut.slots] == [360, 360, 360, 360, 720]
    assert cut.slots[1].money_per_j * 3.6e6 == pytest.approx(0.4)


def test_pue_scales_what_a_joule_costs():
    """A building that draws 1.5 J for each joule of its machines pays for 1.5."""
    plain, uplifted = (window(signal([100]), NOW, NOW + timedelta(hours=1), pue=p) for p in (1.0, 1.5))

    assert uplifted.slots[0].g_per_j == pytest.approx(1.5 * plain.slots[0].g_per_j)


def test_beyond_the_forecast_its_last_day_is_repeated_and_said():
    """A deadline after the forecast's end is planned on the last day's hours, and the notes say so."""
    cut = window(signal(range(24)), NOW, NOW + timedelta(hours=30))

    assert [round(s.g_per_j * 3.6e6) for s in cut.slots][24:] == [0, 1, 2, 3, 4, 5]
    assert "beyond it its last day is repeated" in cut.notes[0]


def test_a_gap_takes_the_mean_of_its_hour_and_is_said():
    """A missing hour is neither zero nor dropped: it takes what that hour was on the other days."""
    values: list[float | None] = [float(h) for h in [*range(24)] * 3]
    values[24 + 5] = None
    cut = window(signal(values), NOW, NOW + timedelta(hours=72))

    assert cut.slots[29].g_per_j * 3.6e6 == pytest.approx(5.0)
    assert "1 gaps" in cut.notes[0]


def test_a_signal_that_begins_later_or_holds_nothing_is_refused():
    """A plan cannot begin before its signal does, nor rest on a signal without values."""
    with pytest.raises(UsageError, match="after the plan"):
        window(signal([1.0]), NOW - timedelta(hours=1), NOW + timedelta(hours=1))
    with pytest.raises(UsageError, match="has no value"):
        window(signal([None, None]), NOW, NOW + timedelta(hours=1))
