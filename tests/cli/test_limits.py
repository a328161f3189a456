"""The limits of a run: read before the program starts, refused where they cannot be held."""

from __future__ import annotations

import pytest

from joulewise.cli.limits import HIGH_PRICE_PER_KWH, limits_of
from joulewise.cli.run_options import RunOptions
from joulewise.vocabulary.budget import Spent
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import exact


def options(**chosen):
    return RunOptions(("true",), **chosen)


def test_no_limits(home):
    """Without a budget there is nothing to hold; a zone is looked up all the same."""
    assert limits_of(options()) is None
    assert limits_of(options(zone="DE")) is None
    with pytest.raises(UsageError, match="unknown zone 'Atlantis'"):
        limits_of(options(zone="Atlantis"))


def test_budget_and_place(home):
    """A budget is read with the currency of the settings, and the place that its grams come from."""
    found = limits_of(options(budget="2kJ,100g,3h", zone="DE"))

    assert found is not None
    assert (found.budget.energy_j, found.budget.carbon_g, found.budget.time_s) == (2000.0, 100.0, 10800.0)
    assert found.place.zone is not None
    assert found.place.zone.code == "DE"
    assert found.pot is None


def test_money_assumed_high(home):
    """Money without a tariff is refused, and counted at a high price, in words, when asked to."""
    with pytest.raises(UsageError, match="set a tariff"):
        limits_of(options(budget="1EUR"))

    found = limits_of(options(budget="1EUR", assume_high=True))

    assert found is not None
    assert found.place.tariff is not None
    assert found.assumed == "no tariff is set: money is counted at 1.00 EUR/kWh"
    assert HIGH_PRICE_PER_KWH["EUR"] == 1.0


def test_a_pot_without_limits_of_its_own(home):
    """Whoever joins a pot without naming a budget takes the pot's; an unknown pot is refused."""
    made = limits_of(options(budget="3s", pot="p"))
    joined = limits_of(options(pot="p"))

    assert made is not None
    assert joined is not None
    assert joined.budget.time_s == made.budget.time_s == 3.0
    with pytest.raises(UsageError, match="unknown pot 'q'"):
        limits_of(options(pot="q"))


def test_what_all_have_spent(home):
    """Two runs of one pot: each sees the other's seconds and joules with its own, and none twice."""
    pots = []
    for name in ("one", "two"):
        found = limits_of(options(budget="1h,1MJ", pot="p"))
        assert found is not None
        assert found.pot is not None
        found.pot.begin(name)
        pots.append(found.pot)

    pots[0].share(Spent(10.0, exact(100.0)), ended=True)
    both = pots[1].share(Spent(5.0, exact(40.0)))

    assert both.time_s == pytest.approx(15.0)
    assert both.energy_j is not None
    assert both.energy_j.value == pytest.approx(140.0)
    grown = pots[1].share(Spent(6.0, exact(50.0)))
    assert grown.energy_j is not None
    assert grown.energy_j.value == pytest.approx(150.0)
