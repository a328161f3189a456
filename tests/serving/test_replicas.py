"""How many workers there are on one machine: by all their traffic, never more than asked for, and by what one has shown to do."""

from __future__ import annotations

import pytest

from joulewise.serving.keeping import Line
from joulewise.serving.replicas import Capacity, Replicas
from joulewise.serving.scaling import Scaling, minutes_of


def decided(rates, *, per_s=100.0, waiting=0.0, scaling=None, minutes=(), workers=1):
    """Return the decisions for requests a second, every two seconds."""
    replicas = Replicas(scaling or Scaling(least=1, most=4, target_s=0.1))
    replicas._state["minutes"] = list(minutes)
    told, sums = [], [0.0] * workers
    for k, rate in enumerate(rates):
        sums = [total + 2 * rate / workers for total in sums]
        lines = {n: Line(total, waiting / workers, per_s) for n, total in enumerate(sums)}
        found = replicas.decide(lines, 100.0 + 2 * k)
        told.append(found.replicas if found else None)
    return told


def test_grows_with_the_traffic_and_shrinks_after_a_hold():
    """More requests than one can answer bring more workers at once; when they end, the workers stay for the hold."""
    told = decided([10] * 5 + [250] * 5 + [10] * 10)

    assert told[4] == 1
    assert max(told[5:10]) == 4
    assert told[10:13] == [4, 4, 4]  # still within the hold
    assert told[-1] == 1


def test_all_workers_count():
    """Traffic is the sum over the board: that one sees a quarter of it does not make it a quarter."""
    assert decided([250] * 6, workers=4)[-1] == decided([250] * 6)[-1] == 4


def test_nobody_knows_what_one_can_do():
    """Before a worker has shown or guessed what it can do, nothing is decided."""
    assert decided([50] * 3, per_s=0.0) == [None] * 3


def test_bounds():
    """Never fewer than asked for, never more."""
    assert set(decided([0] * 3 + [10_000] * 6, scaling=Scaling(least=2, most=3, target_s=0.1))) == {2, 3}


def test_past_days_wake_replicas_before_the_rise():
    """Where the next minute was busy on past days, workers come before the requests do."""
    day = [0.0] * 1440
    day[720:] = [60 * 300.0] * 720
    quiet_until_noon = [*day, *day, *day[:720]]

    told = decided([5] * 6, per_s=10.0, minutes=quiet_until_noon)

    assert max(told) > max(decided([5] * 6, per_s=10.0, minutes=[0.0] * len(quiet_until_noon)))


def test_capacity():
    """What one can do is guessed by its lines, then told by its CPU time under load, then by what it does while many wait."""
    capacity = Capacity(target_s=0.1)

    assert capacity.look(0, 0, 0.0, 0, by_lines=500.0) == 500
    assert capacity.look(1, 40, 0.04, 1, by_lines=500.0) == 500  # too little load to tell
    assert capacity.look(2, 240, 0.54, 3, by_lines=500.0) == pytest.approx(0.8 * 200 / 0.5)
    assert capacity.look(3, 440, 0.94, 60, by_lines=500.0) == 200  # sixty wait at 200 a second: 0.3 s
    assert capacity.look(4, 440, 0.94, 0, by_lines=500.0) == 200  # and is remembered


def test_minutes_of():
    """Recordings of serving periods become requests by the minute; between them there were none."""
    midnight = 1_700_000_040 // 60 * 60.0
    periods = [
        (midnight, [(60.0, 100.0), (180.0, 340.0)]),
        (midnight + 300, [(30.0, 50.0)]),
    ]

    assert minutes_of(periods, midnight + 360) == pytest.approx([100, 120, 120, 0, 0, 50])
    assert minutes_of([], midnight) == []
    assert len(minutes_of([(0.0, [(10.0, 1.0)])], midnight)) == 14 * 1440
