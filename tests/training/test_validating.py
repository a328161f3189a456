"""Validation: within its share, seen often enough to stop by, and settled as soon as the answers decide."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.training.stopping import replay
from joulewise.training.validating import plan, settled
from joulewise.vocabulary.errors import UsageError

from .curves import saturating

COUNTS = st.integers(1, 10**6)


@given(COUNTS, COUNTS, st.floats(1e-3, 1e3), st.floats(1e-6, 1e3), st.floats(0.01, 0.5))
def test_never_more_than_its_share(horizon, samples, step_cost, sample_cost, share):
    """Whatever the costs, a plan stays within the share and the set, or is refused; its own figures are true."""
    try:
        chosen = plan(horizon, samples, step_cost, sample_cost, share=share)
    except UsageError:
        assert sample_cost > share / (1 - share) * horizon * step_cost  # not one sample fits
        return
    spent = horizon // chosen.every_steps * chosen.samples * sample_cost

    assert chosen.share <= share * (1 + 1e-9)
    assert chosen.share == pytest.approx(spent / (spent + horizon * step_cost))
    assert 1 <= chosen.samples <= samples
    assert 1 <= chosen.every_steps <= horizon


@given(COUNTS, COUNTS, st.floats(1e-3, 1e3), st.floats(1e-6, 1e3))
def test_never_silently_blind(horizon, samples, step_cost, sample_cost):
    """A plan without a warning has 20 evaluations or as many as steps, on enough samples to resolve what was asked."""
    try:
        chosen = plan(horizon, samples, step_cost, sample_cost)
    except UsageError:
        return
    if not chosen.warning:
        assert horizon // chosen.every_steps >= 20
        assert chosen.samples >= min(samples, 10_000)


def test_cheap_validation_takes_everything():
    """Where validating costs nearly nothing, all samples are used at each of 40 evaluations."""
    chosen = plan(4000, 5000, step_cost=1.0, sample_cost=1e-6)

    assert (chosen.every_steps, chosen.samples, chosen.warning) == (100, 5000, "")


def test_dear_validation_gives_up_evaluations_first():
    """Where 40 evaluations on enough samples are too dear, there are fewer, then fewer samples, and the plan says so."""
    fewer = plan(4000, 50_000, step_cost=1.0, sample_cost=210 / 25 / 10_000)
    smaller = plan(4000, 50_000, step_cost=1.0, sample_cost=1.0)

    assert 20 <= 4000 // fewer.every_steps < 40
    assert fewer.samples >= 10_000
    assert smaller.samples == 10
    assert (
        str(smaller)
        == "validate every 200 steps on 10 samples: 4.8% of the run; 10 samples resolve 0.16, not 0.005"
    )


def test_too_often_becomes_five_percent():
    """A loop that spends half of its compute on validating is planned down to 5 %."""
    steps, set_size = 2000, 5000
    sample_cost = 1.0 / set_size  # validating after every step costs what training costs: a share of 50 %
    chosen = plan(steps, set_size, step_cost=1.0, sample_cost=sample_cost)

    assert chosen.share <= 0.05
    assert chosen.warning == ""


def test_the_stopping_rule_still_sees():
    """A curve that is evaluated only at the planned steps still stops early and loses under 1 %."""
    chosen = plan(60, 5000, step_cost=1.0, sample_cost=1e-4)
    curve = saturating(noise=0.0005)
    seen = range(chosen.every_steps - 1, 60, chosen.every_steps)
    sparse = type(curve)(
        tuple(curve.steps[i] for i in seen), tuple(curve.values[i] for i in seen), higher_is_better=True
    )
    outcome = replay(sparse)

    assert outcome.saved_share > 0.2
    assert outcome.lost_share < 0.01


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"horizon": 0}, "horizon is 0"),
        ({"samples": 0}, "samples is 0"),
        ({"step_cost": 0.0}, "step_cost is 0"),
        ({"share": 1.0}, "share is 1"),
        ({"sample_cost": 1e9}, "not one fits into 5.0%"),
    ],
)
def test_bad_input(fields, message):
    """Costs, counts and shares that make no plan are refused with the value."""
    with pytest.raises(UsageError, match=message):
        plan(**({"horizon": 100, "samples": 100, "step_cost": 1.0, "sample_cost": 1e-3} | fields))


def test_settled_early():
    """A candidate that is right wherever the best is wrong is settled after a handful of differing answers."""
    comparison = settled([(True, False)] * 1000)

    assert comparison.favours == 1
    assert comparison.looked_at < 12
    assert settled([(False, True)] * 1000).favours == -1


def test_equal_answers_settle_nothing():
    """Pairs that agree are no evidence."""
    comparison = settled([(True, True), (False, False)] * 500)

    assert (comparison.favours, comparison.looked_at, comparison.certainty) == (0, 1000, 1.0)


def test_false_alarms_stay_below_the_error():
    """Of 400 pairs of equally good models, looked at after every answer, at most about 5 % are called different."""
    draw = random.Random(7)
    calls = sum(
        settled((r := draw.random() < 0.5, not r) for _ in range(300)).favours != 0 for _ in range(400)
    )

    assert calls <= 0.05 * 400


def test_settled_refuses_no_error():
    """An error of nothing would never settle and is refused."""
    with pytest.raises(UsageError, match="error is 0"):
        settled([], error=0.0)
