from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulewise.scheduling.plan import plan
from joulewise.scheduling.settle import settle, settle_placement
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.job import Checkpoint, Stretch
from joulewise.vocabulary.signal import Kind, Meaning
from tests.scheduling.conftest import NOW, grid, job, placed_of, signal

FORECAST = [400, 300, 200, 100, 100, 200, 300, 400]
MARGINAL = Meaning(kind=Kind.MARGINAL)


def test_a_perfect_forecast_has_no_regret():
    """Where the actual hours are as forecast, what was promised is what was saved, all of the oracle's."""
    settled = settle_placement(placed_of(job(), grid(FORECAST), NOW), {"DE": signal(FORECAST)})

    assert settled.saved_g == pytest.approx(500)
    assert settled.promised_g == pytest.approx(500)
    assert settled.share_of_oracle == pytest.approx(1.0)
    assert settled.regret_g == pytest.approx(0.0)
    assert settled.verdict == "saved"


def test_a_day_that_went_wrong_is_shown():
    """Where the wind did not come, the loss stands in the report with its regret."""
    actual = {"DE": signal([100, 100, 200, 400, 400, 200, 300, 400])}
    report = settle(plan([job()], grid(FORECAST), NOW), actual)

    assert report.saved_g == pytest.approx(-600)
    assert report.wrong[0].verdict == "worse than running now"
    assert report.wrong[0].regret_g == pytest.approx(600)
    assert report.saved_share == pytest.approx(-3)


def test_where_the_signs_differ_nothing_is_promised():
    """Average and marginal that disagree are both given, and no saving is claimed."""
    placed = placed_of(job(), grid(FORECAST), NOW)
    marginal = {"DE": signal([300, 300, 300, 700, 700, 300, 300, 300], meaning=MARGINAL)}
    settled = settle_placement(placed, {"DE": signal(FORECAST)}, marginal)

    assert settled.saved_g > 0 > (settled.consequence_g or 0.0)
    assert "nothing is promised" in settled.verdict


def test_both_measures_may_agree():
    """Where both signs agree the verdict says so."""
    placed = placed_of(job(), grid(FORECAST), NOW)
    settled = settle_placement(placed, {"DE": signal(FORECAST)}, {"DE": signal(FORECAST, meaning=MARGINAL)})

    assert settled.consequence_g == pytest.approx(settled.saved_g)
    assert settled.verdict == "saved by both measures"


def test_kinds_are_not_mixed_up():
    """A marginal signal is no actual one, nor the other way round."""
    placed = placed_of(job(), grid(FORECAST), NOW)
    with pytest.raises(UsageError, match="needs an average one"):
        settle_placement(placed, {"DE": signal(FORECAST, meaning=MARGINAL)})
    with pytest.raises(UsageError, match="needs a marginal one"):
        settle_placement(placed, {"DE": signal(FORECAST)}, {"DE": signal(FORECAST)})


def test_hours_that_have_not_passed_are_not_settled():
    """Settling before the end is refused with the time to come back."""
    with pytest.raises(UsageError, match="settle it when the hours have passed"):
        settle_placement(placed_of(job(), grid(FORECAST), NOW), {"DE": signal(FORECAST[:4])})


def test_what_truly_ran_counts():
    """A run that began at another time than planned is settled as it ran; money is settled where prices are known."""
    made = plan([job()], grid(FORECAST), NOW)
    planned = made.placements[0].stretches[0]
    late = (Stretch(planned.end_utc, planned.end_utc + (planned.end_utc - planned.start_utc), "all"),)
    prices = {"DE": signal([0.1] * 5 + [0.4] * 3, meaning=Meaning.price("EUR"))}
    report = settle(made, {"DE": signal(FORECAST)}, prices=prices, ran={"a": late})

    assert report.saved_g == pytest.approx(200)
    assert report.parts[0].saved_cost == pytest.approx(-0.6)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 900), min_size=12, max_size=24),
    st.lists(st.integers(1, 900), min_size=24, max_size=24),
    st.integers(1, 6),
    st.booleans(),
)
def test_nobody_beats_the_oracle(forecast, actual, length_h, may_pause):
    """Regret is never negative, and the share of the oracle never above one."""
    work = job(length_h, 12, interruptible=Checkpoint() if may_pause else None)
    settled = settle_placement(placed_of(work, grid(forecast), NOW), {"DE": signal(actual)})

    assert settled.regret_g >= 0
    assert settled.share_of_oracle is None or settled.share_of_oracle <= 1 + 1e-9


def test_joules_bought_are_shown():
    """Checkpoints cost joules that the settled plan shows."""
    placed = placed_of(job(interruptible=Checkpoint(0.0, 500.0)), grid([400, 100, 400, 100]), NOW)
    settled = settle_placement(placed, {"DE": signal([400, 100, 400, 100] * 2)})

    assert settled.energy_bought_j == pytest.approx(500.0)


def test_idle_power_of_pauses():
    """A run that stood still is settled with what it drew meanwhile, whatever was planned."""
    pausing = placed_of(job(2, 8, interruptible=Checkpoint(0.0, 0.0, 100.0)), grid(FORECAST), NOW)
    ran = [
        Stretch(NOW, NOW + timedelta(hours=1)),
        Stretch(NOW + timedelta(hours=3), NOW + timedelta(hours=4)),
    ]
    settled = settle_placement(pausing, {"DE": signal(FORECAST)}, ran=ran)

    assert settled.ran_g == pytest.approx(400 + 100 + 0.1 * (300 + 200))
    assert settled.energy_bought_j == pytest.approx(100 * 7200)


def test_the_promise_is_what_forecasts_kept():
    """Half of what such forecasts said came true of late, so half of it is promised."""
    placed = placed_of(job(), replace(grid(FORECAST), trust={"DE": 0.5}), NOW)

    assert settle_placement(placed, {"DE": signal(FORECAST)}).promised_g == pytest.approx(250)
