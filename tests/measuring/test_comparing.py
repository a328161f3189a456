"""The difference of two recordings, in which common error cancels."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.catalogue.place import place
from joulewise.measuring.accounting import account
from joulewise.measuring.comparing import difference, ratio
from joulewise.testing.meters import device
from joulewise.testing.recordings import recording
from joulewise.vocabulary.figures import Basis
from joulewise.vocabulary.recording import Component

RAPL = device("rapl:package-0", Component.CPU, error=0.05)
MODEL = dataclasses.replace(
    device("model:cpu", Component.CPU, Basis.MODELLED, error=0.5, model={"full_load_w": 200.0}),
    meter="modelled",
)
DE = place("DE", chassis="server", tariff="0.30EUR/kWh")


def run(which=RAPL, watts=100.0, at=DE, **options):
    changes = options.pop("changes", {})
    return account(dataclasses.replace(recording([which], {which.id: watts}, **options), **changes), at)


def test_equal_runs_do_not_differ():
    """Two runs that used the same differ by nothing, and almost nothing is in doubt."""
    change = difference(run(), run())

    assert change.energy_j is not None
    assert change.energy_j.value == 0
    assert change.cancels
    assert change.energy_j.high - change.energy_j.low == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("which", [RAPL, MODEL])
@given(st.floats(20.0, 190.0), st.floats(20.0, 190.0))
def test_narrower_than_apart(which, one, other):
    """What cancels makes the difference's interval no wider than both intervals put against each other."""
    first, second = run(which, one), run(which, other)
    change = difference(first, second).energy_j
    a, b = first.footprint.total_j, second.footprint.total_j

    assert a is not None
    assert b is not None
    assert change is not None
    assert change.value == pytest.approx(b.value - a.value, abs=1e-6)
    assert change.high - change.low <= (b.high - a.low) - (b.low - a.high) + 1e-6


@given(st.floats(20.0, 150.0), st.floats(1.0, 40.0))
def test_turned_round(watts, more):
    """The difference the other way round is the same with its sign turned."""
    one, other = run(watts=watts), run(watts=watts + more)
    there, back = difference(one, other), difference(other, one)

    for name in ("energy_j", "carbon_g", "cost"):
        a, b = getattr(there, name), getattr(back, name)
        assert a.value == pytest.approx(-b.value)
        assert a.low == pytest.approx(-b.high, rel=1e-6, abs=1e-9)
    assert (there.time_s, back.time_s) == (0.0, 0.0)


def test_sure_saving_stays_sure_in_grams():
    """A difference in joules that excludes zero excludes it in grams and money, too."""
    change = difference(run(watts=150.0), run(watts=80.0))

    assert change.energy_j is not None
    assert change.carbon_g is not None
    assert change.cost is not None
    assert change.energy_j.high < 0
    assert change.carbon_g.high < 0
    assert change.cost.high < 0


def test_unlike_basis_is_said():
    """A measured run against a modelled one: nothing cancels, and the reader is told."""
    change = difference(run(), run(MODEL))

    assert not change.cancels
    assert change.caveats == ("the basis of cpu differs: measured in the first run, modelled in the second",)
    assert change.energy_j is not None


def test_a_component_in_one_run_only():
    """A component that only one run knows is named and left out of the difference, which stays sharp."""
    memory = device("rapl:dram", Component.MEMORY)
    both = account(recording([RAPL, memory], {RAPL.id: 100.0, memory.id: 8.0}), DE)

    change = difference(run(), both)

    assert change.caveats == ("the energy of memory is known in the second run only, and left out",)
    assert change.cancels
    assert change.energy_j is not None
    assert change.energy_j.value == 0


def test_measured_on_another_host():
    """Counters of two machines have their own errors: they do not cancel."""
    machine = dataclasses.replace(run().recording.machine, host="elsewhere")
    change = difference(run(), run(changes={"machine": machine}))

    assert not change.cancels
    assert change.caveats


def test_modelled_on_a_like_machine():
    """A model errs alike on two machines with the same processor."""
    machine = dataclasses.replace(run().recording.machine, host="elsewhere")

    assert difference(run(MODEL), run(MODEL, changes={"machine": machine})).cancels


def test_other_zones_do_not_cancel_in_grams():
    """Grams in two zones: each zone's error counts by itself, so the interval is wider than in one zone."""
    same = difference(run(), run(watts=60.0)).carbon_g
    other = difference(run(), run(watts=60.0, at=place("NO", chassis="server"))).carbon_g

    assert same is not None
    assert other is not None
    assert other.high - other.low > same.high - same.low


def test_other_currencies_have_no_difference():
    """Euros are not subtracted from dollars."""
    dollars = place("DE", chassis="server", tariff="0.30USD/kWh")

    assert difference(run(), run(at=dollars)).cost is None


def test_ratio_cancels_a_proportion():
    """A counter's error of proportion is in both runs: their ratio is sure where their difference is not."""
    found = ratio(run(watts=100.0), run(watts=150.0))
    assert found is not None
    assert found.value == pytest.approx(1.5)
    assert found.high - found.low == pytest.approx(0, abs=1e-9)


def test_ratio_of_unlike_runs_is_unknown():
    """Without a device in common there is no ratio."""
    assert ratio(run(), run(which=MODEL)) is None
