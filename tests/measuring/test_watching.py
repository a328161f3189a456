"""A budget held against a recording as it goes on."""

from __future__ import annotations

import pytest

from joulewise.catalogue.place import place
from joulewise.measuring.progress import Milestone
from joulewise.measuring.recorder import Snapshot
from joulewise.measuring.watching import Watch, expected, spent, together
from joulewise.vocabulary.budget import Budget, Spent
from joulewise.vocabulary.figures import Basis, relative

WHERE = place("DE", tariff="0.30EUR/kWh", wall_calibration=1.0)


def snapshot(joules: float, *milestones: tuple[float, float], trials: int = 0) -> Snapshot:
    figure = relative(joules, 0.1, 0.1, Basis.MODELLED, "test")
    steps = tuple(Milestone(share, energy, 10.0 * share) for share, energy in milestones)
    return Snapshot(10.0, figure, None, None, 5.0, {}, 0, trials, milestones=steps)


def test_joules_grams_and_money():
    """What was spent is joules at the wall with grams and money of the place."""
    used = spent(snapshot(3.6e6), WHERE, 100.0)

    assert used.energy_j.value == pytest.approx(3.6e6)
    assert used.cost.value >= 0.30
    assert used.carbon_g.value > 100


def test_nothing_known_yet():
    """Before the first tick time is known and joules are not."""
    used = spent(None, WHERE, 3.0)

    assert (used.time_s, used.energy_j) == (3.0, None)


def test_stops_at_the_limit():
    """At the limit the verdict is to stop, with the reason."""
    watch = Watch(Budget.parse("1kJ"), WHERE)

    assert not watch.look(snapshot(500.0), 1.0).stops
    assert watch.look(snapshot(1000.1), 2.0).stops


def test_warns_once():
    """The soft limit warns once."""
    watch = Watch(Budget.parse("1kJ"), WHERE)

    assert watch.look(snapshot(900.0), 1.0).warns
    assert not watch.look(snapshot(910.0), 2.0).warns


def test_forecast_warns_early():
    """A steady run that will pass its budget warns after its first epochs, long before the limit."""
    watch = Watch(Budget.parse("1kJ"), WHERE)
    verdict = watch.look(snapshot(300.0, (0.05, 100.0), (0.10, 200.0), (0.15, 300.0)), 3.0)

    assert verdict.warns
    assert "forecast" in verdict.reason


def test_expected_follows_the_wall():
    """The forecast of grams and money goes with the joules."""
    now = snapshot(300.0, (0.1, 100.0), (0.2, 200.0), (0.3, 300.0))
    used = spent(now, WHERE, 3.0)
    total = expected(now, used)

    assert total.energy_j.value == pytest.approx(used.energy_j.value / 0.3)
    assert total.cost.value == pytest.approx(used.cost.value / 0.3)


def test_pot_members_add_up():
    """What other members of a pot spent counts against the limit."""
    watch = Watch(Budget.parse("1kJ"), WHERE)
    others = Spent(0.0, relative(600.0, 0.0, 0.0, Basis.MODELLED))

    assert watch.look(snapshot(500.0), 1.0, others).stops
    assert together(Spent(1.0, trials=2), Spent(2.0, trials=3)).trials == 5
