"""How a run stands, look by look."""

from __future__ import annotations

from math import inf

import pytest

from joulewise.catalogue.place import place
from joulewise.cli.watching import Watch
from joulewise.measuring.recorder import Snapshot
from joulewise.measuring.watching import carried_on
from joulewise.vocabulary.budget import Budget
from joulewise.vocabulary.figures import exact

HERE = place("DE", tariff="0.30EUR/kWh", wall_calibration=1.0)


def snapshot(joules=100.0, t_s=10.0, power_w=20.0):
    return Snapshot(t_s, exact(joules), None, None, power_w, {}, 0, 0)


def test_carried_on_at_its_power():
    """Between two ticks the joules go on at the last known power."""
    later = carried_on(snapshot(), 12.0)

    assert later.energy_j is not None
    assert later.energy_j.value == pytest.approx(140.0)


def test_carried_on_at_its_mean_power_first():
    """Before a power is known the mean power so far stands in."""
    later = carried_on(snapshot(power_w=None), 12.0)

    assert later.energy_j is not None
    assert later.energy_j.value == pytest.approx(120.0)


def test_stops_when_the_limit_is_due():
    """The next look is due when the limit is reached at the present power, and its verdict is to stop."""
    watch = Watch(snapshot, HERE, Budget(energy_j=200.0))
    look = watch.look(10.0)

    assert watch.next_s(look) == pytest.approx(5.0)
    assert watch.look(14.9).verdict.stops is False
    assert watch.look(15.0).verdict.stops


def test_nearest_limit_first():
    """Of several limits the one that is reached first is waited for."""
    watch = Watch(snapshot, HERE, Budget(energy_j=1e6, time_s=12.0))

    assert watch.next_s(watch.look(10.0)) == pytest.approx(2.0)


def test_no_limit_no_hurry():
    """Without a limit there is no next look to wait for, and the verdict is to go on."""
    watch = Watch(snapshot, HERE)
    look = watch.look(10.0)

    assert watch.next_s(look) == inf
    assert not look.verdict.stops


def test_warns_once():
    """A warning is given once, then the look goes on without it."""
    watch = Watch(snapshot, HERE, Budget(energy_j=110.0))

    assert watch.look(10.0).verdict.warns
    assert not watch.look(10.1).verdict.warns


def test_unknown_joules_are_told():
    """A budget in joules that cannot be held, since none are known, is told after five seconds."""
    watch = Watch(lambda: None, HERE, Budget(energy_j=110.0))

    assert watch.unknown(1.0) == ""
    assert "cannot be held" in watch.unknown(6.0)
    assert Watch(lambda: None, HERE, Budget(time_s=10.0)).unknown(6.0) == ""
