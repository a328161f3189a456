"""Footprints: what shares an assumption adds linearly, and a sum hides no missing part."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from joulewise.vocabulary.figures import Basis, Boundary, Figure, exact, relative
from joulewise.vocabulary.footprint import Footprint, assumed_total, combined
from joulewise.vocabulary.recording import Component, Missing


def figure(value, arm=0.1, basis=Basis.MODELLED, source="", boundary=Boundary.DEVICE):
    return relative(value, arm, arm, basis, source, boundary)


@pytest.fixture
def one():
    return Footprint(
        energy_j={
            Component.CPU: figure(100, source="load curve"),
            Component.GPU: figure(300, 0.05, Basis.MEASURED, "nvml"),
            Component.OTHER: figure(40, boundary=Boundary.WALL),
        },
        total_j=figure(440, boundary=Boundary.WALL),
        facility_j=figure(500, boundary=Boundary.FACILITY),
        carbon_g=figure(2, 0.5, Basis.ASSUMED, boundary=Boundary.FACILITY),
        embodied_g=figure(1, 0.5, Basis.ASSUMED),
        cost=figure(0.5),
        currency="EUR",
        factors={"pue": exact(1.1), "uplift": exact(1.4)},
    )


def test_one_assumption_adds_linearly():
    """Two modelled figures of one source keep their relative error; of two sources they gain."""
    together = assumed_total([figure(100, source="load curve"), figure(100, source="load curve")])
    apart = assumed_total([figure(100, source="load curve"), figure(100, source="memory by size")])

    assert together.relative_high == pytest.approx(0.1)
    assert apart.relative_high == pytest.approx(0.1 / 2**0.5)


def test_measured_errors_are_independent():
    """Two counters of one kind do not share an error."""
    counters = [figure(100, basis=Basis.MEASURED, source="rapl")] * 2

    assert assumed_total(counters).relative_high == pytest.approx(0.1 / 2**0.5)


def test_device_joules(one):
    """What the meters saw is the components without the uplift, and as good as the weakest."""
    assert one.device_j.value == 400
    assert one.device_j.basis is Basis.MODELLED
    assert replace(one, energy_j={}).device_j is None


def test_total_carbon(one):
    """Operational and embodied grams add, and an unknown part leaves the sum unknown."""
    assert one.total_carbon_g.value == 3
    assert one.total_carbon_g.boundary is Boundary.FACILITY
    assert replace(one, embodied_g=None).total_carbon_g is None


def test_complete(one):
    """A footprint is complete when nothing is missing or unknown."""
    assert one.complete
    assert not replace(one, cost=None).complete
    assert not replace(one, missing=(Missing("gpu", "no driver"),)).complete


def test_combined(one):
    """Two runs of one place double every figure, arms included, and keep the factors on which they agree."""
    other = replace(one, factors={"pue": exact(1.1), "uplift": exact(1.2)}, idle_j=exact(5))

    both: Any = combined([one, other])

    assert both.total_j.value == 880
    assert both.carbon_g == Figure(4, 2, 6, Basis.ASSUMED, "", Boundary.FACILITY)
    assert both.energy_j[Component.CPU].relative_high == pytest.approx(0.1)
    assert both.factors == {"pue": exact(1.1)}
    assert both.idle_j is None  # known for one of the two only
    assert both.currency == "EUR"


def test_combined_keeps_what_is_unknown(one):
    """What one run does not know the sum does not know, with the reason."""
    other = replace(
        one, cost=None, currency="", unknown={"cost": "no tariff"}, missing=(Missing("gpu", "no driver"),)
    )

    both = combined([one, other])

    assert both.cost is None
    assert both.unknown == {"cost": "no tariff"}
    assert both.missing == other.missing


def test_currencies_are_not_mixed(one):
    """Money of two currencies is not added."""
    both = combined([one, replace(one, currency="USD")])

    assert both.cost is None
    assert both.currency == ""
    assert both.unknown["cost"] == "different currencies: EUR, USD"


def test_combining_nothing_is_refused():
    """Nothing added up is unknown."""
    with pytest.raises(ValueError, match="unknown, not zero"):
        combined([])
