"""Schedules: the next drop, the decay and the cycle that a step lies in."""

from __future__ import annotations

import pytest

from joulewise.training.schedule import Schedule
from joulewise.vocabulary.errors import UsageError


def test_next_drop():
    """The next drop is the nearest later cut or start of a decay; at the drop itself it is the one after."""
    schedule = Schedule(horizon=100, drops=(60, 30), decays=((80, 100),))

    assert [schedule.next_drop(s) for s in (0, 29, 30, 60, 79, 80)] == [30, 30, 60, 80, 80, None]


def test_decay_until():
    """A step within a decay knows its end; before and at the end there is none."""
    schedule = Schedule(horizon=100, decays=((80, 100),))

    assert [schedule.decay_until(s) for s in (79, 80, 99, 100)] == [None, 100, 100, None]


def test_cycle_until():
    """A cycle runs from its restart to the next one, the last to the horizon."""
    schedule = Schedule(horizon=90, restarts=(30, 60))

    assert [schedule.cycle_until(s) for s in (29, 30, 59, 60, 89, 90)] == [None, 60, 60, 90, 90, None]


def test_settling_since():
    """The last drop at or before a step is the one that it settles from."""
    schedule = Schedule(horizon=90, drops=(30, 60))

    assert [schedule.settling_since(s) for s in (10, 30, 61)] == [0, 30, 60]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"horizon": 0}, "horizon is 0"),
        ({"warm_up": -1}, "warm_up is -1"),
        ({"warm_up": float("nan")}, "warm_up is nan"),
        ({"drops": (0,)}, "drops has 0"),
        ({"restarts": (5,)}, "restarts need a horizon"),
        ({"horizon": 9, "restarts": (-5,)}, "restarts has -5"),
        ({"decays": ((8, 8),)}, "a decay runs from 8 to 8"),
    ],
)
def test_bad_schedules(fields, message):
    """What cannot be in view is refused in one line that names the value."""
    with pytest.raises(UsageError, match=message):
        Schedule(**fields)
