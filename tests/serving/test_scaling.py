"""Replicas follow the traffic: up before the rise that past days foretell, up at once, down after a hold, within their bounds."""

from __future__ import annotations

import random
import runpy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.serving.scaling import (
    DAY_MIN,
    Replica,
    Scaling,
    Traffic,
    fewest,
    replay,
    rise_by_history,
    scale,
)

REPLICA = Replica(per_s=20.0, wake_s=1.0)


def test_silence():
    """Nobody asks: no replica; one that shall always be there stays."""
    assert scale(Traffic([0.0] * 60), REPLICA, Scaling()).replicas == 0
    assert scale(Traffic([0.0] * 60), REPLICA, Scaling(least=1)).replicas == 1


def test_up_at_once():
    """A rise is met with what it will be when a replica is ready; what waits is worked off."""
    flat = scale(Traffic([100.0] * 60), REPLICA, Scaling())
    rising = scale(Traffic([100.0] * 55 + [110, 130, 150, 170, 190]), REPLICA, Scaling())
    assert (flat.replicas, flat.why) == (6, "the last seconds")
    assert rising.replicas > 10
    waiting = scale(Traffic([100.0] * 60, backlog=400.0), REPLICA, Scaling())
    assert (waiting.replicas, waiting.why) == (16, "what waits")


def test_down_after_a_hold():
    """What was needed within the hold stays."""
    held = scale(Traffic([0.0] * 60), REPLICA, Scaling(), needed_before=(3, 7, 2))
    assert (held.replicas, held.needed, held.why) == (7, 0, "held for 12 s")


def test_past_days():
    """Where past days rise in the coming minutes, replicas wake before it; today's level scales it; without a day there is none."""
    day = [60.0 * (k % DAY_MIN >= 600) * 100 for k in range(DAY_MIN)]
    minutes = day * 2 + day[:599]
    assert rise_by_history(day[:599], 60.0) == 0.0
    assert rise_by_history(minutes, 60.0) == pytest.approx(100 / 3, rel=0.01)
    slow = Replica(per_s=20.0, wake_s=60.0)
    foretold = scale(Traffic([0.0] * 60, minutes), slow, Scaling())
    assert (foretold.replicas >= 2, foretold.why) == (True, "the same minutes of past days")
    busy = [300.0 + m for m in day]
    assert rise_by_history(busy * 2 + [3 * m for m in busy[:599]], 60.0) == pytest.approx(100, rel=0.01)


@given(
    st.lists(st.floats(0, 1000), max_size=60),
    st.floats(0, 1e5),
    st.lists(st.integers(0, 30), max_size=5),
    st.integers(0, 3),
    st.integers(4, 20),
)
def test_bounds(seconds, backlog, before, least, most):
    """Never fewer than the least; never more than the most unless they are there already; more backlog never means fewer."""
    scaling = Scaling(least=least, most=most)
    told = scale(Traffic(seconds, (), backlog), REPLICA, scaling, before)
    assert least <= told.needed <= most
    assert told.replicas == max((told.needed, *before))
    assert scale(Traffic(seconds, (), backlog + 100), REPLICA, scaling, before).replicas >= told.replicas


def test_oracle():
    """The oracle's number holds the target, and one fewer does not."""
    draw = random.Random(2)
    for _ in range(20):
        arrivals = [draw.uniform(0, 200) for _ in range(60)]
        scaling = Scaling()
        best = fewest(arrivals, REPLICA, scaling)
        always = Scaling(least=best, most=best)
        assert replay(arrivals, Replica(20.0, 0.0), always).within == 1
        fewer = Scaling(least=best - 1, most=best - 1)
        assert best == 0 or replay(arrivals, Replica(20.0, 0.0), fewer).within == 0
    assert fewest([0.0] * 60, REPLICA, Scaling()) == 0


@pytest.mark.slow
def test_bursty_day():
    """On a bursty day with a night at zero: 99 % of the minutes within the target, at most 1.2 times the oracle's replica-hours."""
    trace = runpy.run_path(str(Path(__file__).parents[2] / "bench" / "serve_scaling.py"))["trace"]
    arrivals = trace(7, days=2)
    minutes = [sum(arrivals[k : k + 60]) for k in range(0, 86_400, 60)]

    told = replay(arrivals[86_400:], REPLICA, Scaling(), minutes)

    assert told.within >= 0.99 * told.minutes
    assert told.replica_s <= 1.2 * told.oracle_s
