"""Stopping: at rest, not worth its joules, or broken; never inside what the schedule still has in store."""

from __future__ import annotations

import csv
import gzip
from math import exp, inf, nan
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulewise.curves.curve import Curve
from joulewise.training.schedule import Schedule
from joulewise.training.stopping import Move, Rule, decide, replay
from joulewise.vocabulary.errors import UsageError

from .curves import saturating, steady, stepped

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "train" / "algoperf_curves"


def test_stops_at_rest():
    """A run that has come to rest stops well before its end and loses less than its tolerance."""
    outcome = replay(saturating(noise=0.0005))

    assert outcome.decision.stops
    assert outcome.saved_share > 0.3
    assert outcome.lost_share < 0.01


def test_never_stops_a_steady_climb():
    """A run that still gains at every step runs to its planned end."""
    outcome = replay(steady())

    assert outcome.saved_share == 0
    assert outcome.decision.reason == "the planned end, step 60, is reached"


@settings(max_examples=30, deadline=None)
@given(st.floats(0.002, 0.2), st.floats(1.1, 5))
def test_a_wider_tolerance_never_stops_later(tolerance, factor):
    """Whoever tolerates more loss saves at least as much."""
    curve = saturating(noise=0.001)

    tight, wide = (replay(curve, rule=Rule(tolerance=t)) for t in (tolerance, min(0.9, tolerance * factor)))

    assert wide.saved_share >= tight.saved_share


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.booleans())
def test_pure_and_blind_to_the_future(values, higher_is_better):
    """The same curve gives the same decision, and where it stops depends on what came before only."""
    curve = Curve(tuple(float(i) for i in range(1, len(values) + 1)), tuple(values), higher_is_better)
    schedule = Schedule(horizon=float(len(values)))
    outcome = replay(curve, schedule)

    assert replay(curve.first(outcome.evaluations), schedule).decision == outcome.decision


def test_a_pending_drop_is_not_slept_through():
    """At rest before a planned drop the decision is to drop now; the run goes on and gets the drop's gain."""
    schedule = Schedule(horizon=60, drops=(40.5,))
    resting = decide(stepped().first(38), schedule)
    outcome = replay(stepped(), schedule)

    assert resting.move is Move.DROP_NOW
    assert not resting.stops
    assert "the drop planned there need not wait" in str(resting)
    assert replay(stepped(), Schedule(horizon=60)).lost_share > 0.05  # what happens without the schedule
    assert outcome.lost_share < 0.01


def test_after_a_drop_it_waits_for_the_new_rate():
    """Right after a drop, evaluations at the new rate are awaited."""
    decision = decide(stepped().first(42), Schedule(horizon=60, drops=(40.5,)))

    assert decision.reason == "2 of the 3 evaluations needed since the drop at step 40.5"


@pytest.mark.parametrize(
    ("schedule", "reason"),
    [
        (Schedule(horizon=60, warm_up=50), "warm-up until step 50"),
        (Schedule(horizon=60, restarts=(35,)), "the cycle after the restart runs until step 60"),
        (Schedule(horizon=60, decays=((35, 60),)), "the learning rate decays until step 60"),
        (Schedule(horizon=400), "the first 15% of the run show too little"),
    ],
)
def test_not_inside_the_schedule(schedule, reason):
    """A flat curve does not stop in warm-up, in the cycle after a restart, in a decay, or right at the start."""
    decision = decide(saturating(steps=45), schedule)

    assert decision.move is Move.CONTINUE
    assert decision.reason == reason
    assert decide(saturating(steps=45), Schedule(horizon=60)).stops


def test_a_planned_decay_may_come_now():
    """Warm-up-stable-decay: at rest in the stable phase, the final decay is brought forward."""
    decision = decide(saturating(steps=45), Schedule(horizon=60, decays=((50, 60),)))

    assert decision.move is Move.DROP_NOW


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_not_a_number_stops_at_once(value):
    """A metric that is not finite stops the run, in warm-up too, and the best before it is kept."""
    decision = decide(
        Curve((1.0, 2.0), (0.4, value), higher_is_better=True), Schedule(horizon=99, warm_up=50)
    )

    assert decision.stops
    assert decision.best_step == 1
    assert decision.reason == f"the metric is {value}"


def test_nothing_but_not_a_number():
    """A first value that is not finite stops the run and there is no best."""
    decision = decide(Curve((1.0,), (nan,), higher_is_better=True))

    assert decision.stops
    assert decision.best_step is None
    assert str(decision) == "stop at step 1: the metric is nan"


def test_divergence_stops_at_once():
    """A loss that climbs above its start by more than it had ever fallen stops at the third such value."""
    values = (2.0, 1.5, 1.2, 1.1, 6.0, 9.0, 20.0, 30.0)
    outcome = replay(
        Curve(tuple(map(float, range(1, 9))), values, higher_is_better=False), Schedule(horizon=1000)
    )

    assert outcome.evaluations == 7
    assert outcome.decision.reason.startswith("diverged: 20 is worse than the first value")
    assert outcome.decision.best_value == 1.1


def test_a_dip_is_no_divergence():
    """A loss that rises above its start and comes back is not given up."""
    values = (2.0, 1.5, 2.3, 2.4, 2.2, 1.4, 1.0, 0.8)

    assert not any(
        replay(
            Curve(tuple(map(float, range(1, n + 1))), values[:n], higher_is_better=False),
            Schedule(horizon=1000),
        ).decision.stops
        for n in range(1, 9)
    )


def test_a_slow_start_is_no_divergence():
    """A loss that gained next to nothing and then creeps up has not diverged: it is far from half its value worse."""
    values = (2.300, 2.299, 2.31, 2.32, 2.33)
    curve = Curve((1.0, 2.0, 3.0, 4.0, 5.0), values, higher_is_better=False)

    assert not decide(curve, Schedule(horizon=1000)).stops


def test_a_dead_run_stops():
    """A metric that has never moved stops once the first part of the run is over, not before."""
    dead = Curve(tuple(map(float, range(1, 21))), (0.1,) * 20, higher_is_better=True)
    outcome = replay(dead, Schedule(horizon=40))

    assert outcome.evaluations == 6
    assert outcome.decision.reason == "dead: 6 evaluations and the metric has not moved from 0.1"
    assert outcome.lost_share is None


def test_no_gain_is_not_dead():
    """A metric that moves and has not gained yet goes on."""
    decision = decide(
        Curve(
            tuple(map(float, range(1, 9))), (1.0, 1.1, 1.2, 1.1, 1.3, 1.2, 1.1, 1.2), higher_is_better=False
        ),
        Schedule(horizon=10),
    )

    assert decision.reason == "no gain yet to judge by"
    assert not decision.stops


def test_worth_in_joules():
    """A user for whom a point is worth little stops earlier, and is told both sums; for whom it is worth much, later."""
    curve = saturating(noise=0.003)
    cheap = replay(curve, rule=Rule(tolerance=0.0001, joules_per_unit=1e3, joules_per_step=100.0))
    dear = replay(curve, rule=Rule(tolerance=0.0001, joules_per_unit=1e9, joules_per_step=100.0))

    assert cheap.saved_share > dear.saved_share
    assert "worth at most" in cheap.decision.reason
    assert "and costs" in cheap.decision.reason


def test_least_gain():
    """A gain in the metric's own unit that is not worth it counts where it is the larger of the two tolerances."""
    curve = saturating(noise=0.003)
    by_share = replay(curve)
    by_points = replay(curve, rule=Rule(least_gain=0.05))

    assert by_points.saved_share > by_share.saved_share
    assert "more than 0.05 (6." in by_points.decision.reason
    assert replay(curve, rule=Rule(least_gain=1e-9)) == by_share


def test_few_samples_make_it_careful():
    """On 50 validation samples a standstill is not trusted; on 50,000 it is."""
    curve = saturating(steps=45)
    schedule = Schedule(horizon=60)

    assert not decide(curve, schedule, samples=50).stops
    assert decide(curve, schedule, samples=50_000).stops


def test_open_end_looks_as_far_ahead_as_it_has_come():
    """Without a horizon the forecast reaches to twice the steps done, after at least eight evaluations."""
    assert decide(saturating(steps=7)).reason == "7 of the 8 evaluations that a forecast needs"
    assert "by step 100" in decide(saturating(steps=50)).reason
    assert decide(saturating(steps=50)).stops


def test_what_rises_again_goes_on():
    """A smooth curve that overshoots, dips and climbs goes on while it climbs, though its best is long past."""
    values = [1.1 - exp(-i / 2) for i in range(1, 9)]
    values += [1.05 + 0.003 * i for i in range(16)]
    curve = Curve(tuple(map(float, range(1, 25))), tuple(values), higher_is_better=True)
    decision = decide(curve, Schedule(horizon=60))

    assert decision.move is Move.CONTINUE
    assert decision.reason.startswith("it is rising: straight on, ")
    assert decision.best_step == 24 or decision.best_step == 8
    resting = Curve(curve.steps, (*values[:8], *(values[7] - 0.001,) * 16), higher_is_better=True)
    assert decide(resting, Schedule(horizon=60)).stops


def test_a_share_of_few_answers_that_stands_still():
    """An accuracy of 25 answers, not told to be one, that stands on one value is no run at rest; a fine one is."""
    few = saturating(steps=30, pace=3.0)
    coarse = Curve(few.steps, tuple(round(25 * v) / 25 for v in few.values), higher_is_better=True)

    assert coarse.grain == pytest.approx(0.04)
    assert decide(few, Schedule(horizon=60)).stops
    assert not decide(coarse, Schedule(horizon=60)).stops


def test_a_forecast_that_nothing_has_tested():
    """At 9 of 60 steps the forecast looks seven times as far as the run has come, and one evaluation lies as far back."""
    decision = decide(saturating(steps=9, pace=0.5), Schedule(horizon=60))

    assert decision.reason == "1 of the 3 evaluations so far back that a forecast to step 60 has been tested"
    assert decide(saturating(steps=14, pace=0.5), Schedule(horizon=60)).stops


def test_one_line():
    """The decision explains itself in one line: what, when, why with the interval, and the best so far."""
    text = str(decide(saturating(steps=45), Schedule(horizon=60)))

    assert text.startswith("stop at step 45: a gain of ")
    assert " to come by step 60, more than 0.0071 (1.0% of the gain) with a chance of " in text
    assert "; best 0.89999 at step 45" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tolerance": 0}, "tolerance is 0"),
        ({"doubt": 1.5}, "doubt is 1.5"),
        ({"least_gain": -1.0}, "least_gain is -1"),
        ({"joules_per_unit": 5.0}, "go together"),
        ({"joules_per_unit": -5.0, "joules_per_step": 1.0}, "joules_per_unit is -5"),
    ],
)
def test_bad_rules(fields, message):
    """Shares outside 0 to 1 and a worth without a cost are refused."""
    with pytest.raises(UsageError, match=message):
        Rule(**fields)


def test_bad_input():
    """An empty curve, a validation set of none, and samples for a metric that is no share are refused."""
    empty = Curve((), (), higher_is_better=True)
    with pytest.raises(UsageError, match="log the metric at least once"):
        decide(empty)
    with pytest.raises(UsageError, match="nothing to replay"):
        replay(empty)
    with pytest.raises(UsageError, match="samples is 0"):
        decide(saturating(), samples=0)
    with pytest.raises(UsageError, match="the metric is 7, but samples asks for a share"):
        decide(Curve((1.0,), (7.0,), higher_is_better=False), samples=10)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the AlgoPerf curves are not beside this repository")
def test_real_curves():
    """On real Criteo runs it saves at least half of the compute, and at most one run in ten loses over 1 % of its gain."""
    runs: dict[tuple[str, ...], dict[float, float]] = {}
    with gzip.open(SHARED / "criteo1tb.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            if row["validation_metric"]:
                key = tuple(row[k] for k in ("version", "ruleset", "submission", "study", "trial"))
                runs.setdefault(key, {})[float(row["step"])] = float(row["validation_metric"])
    curves = [
        Curve(tuple(sorted(r)), tuple(r[s] for s in sorted(r)), higher_is_better=False)
        for r in runs.values()
        if len(r) >= 15
    ]
    outcomes = [replay(c) for c in curves if c.gain > 0]

    assert len(outcomes) > 100
    assert sum(o.saved_share for o in outcomes) / len(outcomes) >= 0.5
    assert sum(o.lost_share > 0.01 for o in outcomes) / len(outcomes) <= 0.1
