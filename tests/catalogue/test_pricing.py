"""Pricing: joules at a place become grams and money by an arithmetic that can be done by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.catalogue.place import place
from joulewise.catalogue.pricing import Hardware, footprint, grams
from joulewise.vocabulary.figures import Basis, Boundary, Figure, exact, relative
from joulewise.vocabulary.footprint import combined
from joulewise.vocabulary.quantities import JOULES_PER_KWH
from joulewise.vocabulary.recording import Component, Missing

START = datetime(2023, 5, 5, 12, tzinfo=UTC)
CPU = relative(0.6 * JOULES_PER_KWH, 0.05, 0.05, Basis.MEASURED, "rapl")
GPU = relative(0.4 * JOULES_PER_KWH, 0.05, 0.05, Basis.MEASURED, "nvml")
PARTS = {Component.CPU: CPU, Component.GPU: GPU}


def priced(parts=PARTS, zone="DE", hours=1.0, hardware=None, series=None, **settings) -> Any:
    values: dict[str, Any] = {
        "chassis": "server",
        "tariff": "0.30EUR/kWh",
        "wall_calibration": 1.5,
        "pue_value": 1.2,
        "timezone": "UTC",
    } | settings
    return footprint(
        parts,
        place(zone, **values),
        started_utc=START,
        duration_s=3600 * hours,
        hardware=hardware or Hardware(),
        series=series,
    )


def test_by_hand():
    """One kWh of devices, 1.5 to the wall, 1.2 of PUE: 1.8 kWh, 0.54 EUR and 1.8 times the zone's grams."""
    cost = priced()

    assert cost.total_j.value == pytest.approx(1.5 * JOULES_PER_KWH)
    assert cost.total_j.boundary is Boundary.WALL
    assert cost.energy_j[Component.OTHER].value == pytest.approx(0.5 * JOULES_PER_KWH)
    assert cost.facility_j.value == pytest.approx(1.8 * JOULES_PER_KWH)
    assert cost.carbon_g.value == pytest.approx(1.8 * 380.95)
    assert cost.cost.value == pytest.approx(0.54)
    assert cost.currency == "EUR"
    assert cost.complete


def test_each_factor_has_its_basis():
    """Measured joules times a yearly mean are not measured grams, and each factor says how it is known."""
    cost = priced()

    assert {name: f.basis for name, f in cost.factors.items()} == {
        "joules": Basis.MEASURED,
        "uplift": Basis.MEASURED,
        "pue": Basis.MEASURED,
        "intensity": Basis.ASSUMED,
        "embodied": Basis.ASSUMED,
        "price": Basis.MEASURED,
    }
    assert cost.total_j.basis is Basis.MEASURED
    assert cost.carbon_g.basis is Basis.ASSUMED


@given(st.floats(1, 1e9), st.floats(1, 1e9), st.floats(0.01, 0.9), st.floats(1.01, 2), st.floats(1, 2))
def test_parts_and_whole_agree(cpu_j, gpu_j, arm, uplift, pue):
    """The components with `other` add up to the wall's joules, and no interval loses its value or order."""
    parts = {
        Component.CPU: relative(cpu_j, arm, arm, Basis.MODELLED, "load curve"),
        Component.GPU: relative(gpu_j, 0.05, 0.05, Basis.MEASURED, "nvml"),
    }

    cost = priced(parts, wall_calibration=uplift, pue_value=pue)

    assert sum(f.value for f in cost.energy_j.values()) == pytest.approx(cost.total_j.value)
    assert cost.device_j.value * uplift == pytest.approx(cost.total_j.value)
    assert cost.facility_j.relative_high >= cost.total_j.relative_high * (1 - 1e-9)
    assert cost.carbon_g.relative_high >= 0.67 * (1 - 1e-9)
    assert cost.carbon_g.low > 0


@given(st.floats(0.1, 100))
def test_twice_the_joules_cost_twice(factor):
    """Grams and money are proportional to joules."""
    one, more = priced(), priced({c: f.scaled(factor) for c, f in PARTS.items()})

    assert more.carbon_g.value == pytest.approx(one.carbon_g.value * factor)
    assert more.cost.value == pytest.approx(one.cost.value * factor)


def test_two_halves_make_the_whole():
    """Two halves of one work at one place, combined, cost what the whole does; their shared errors do not cancel."""
    half = priced({c: f.scaled(0.5) for c, f in PARTS.items()}, hours=0.5)
    whole: Any = priced()
    both: Any = combined([half, half])

    assert both.carbon_g.value == pytest.approx(whole.carbon_g.value)
    assert both.carbon_g.relative_high == pytest.approx(whole.carbon_g.relative_high)
    assert both.embodied_g.value == pytest.approx(whole.embodied_g.value)
    assert both.cost.value == pytest.approx(whole.cost.value)


def test_unknown_zone():
    """Without a zone the grams span the world's range and say so; they are never missing in silence."""
    cost = priced(zone=None)

    assert cost.carbon_g.value == pytest.approx(1.8 * 480.6)
    assert "zone unknown: world range" in cost.carbon_g.source
    assert cost.carbon_g.low < 1.8 * 60
    assert cost.carbon_g.high > 1.8 * 700
    assert "no zone is set" in cost.unknown["zone"]
    assert "world's range" in cost.unknown["zone"]


def test_unknown_tariff():
    """Without a tariff there is no cost, and the reason is told."""
    cost = priced(tariff=None)

    assert cost.cost is None
    assert cost.currency == ""
    assert "price" not in cost.factors
    assert "no tariff is set" in cost.unknown["cost"]
    assert not cost.complete


def test_nothing_could_be_read():
    """Without a component no sum is made up: joules, grams and money are unknown, what was missing is listed."""
    missing = (Missing("cpu", "energy_uj is readable by root only"),)
    here = place("DE", tariff="0.3EUR")

    cost = footprint({}, here, started_utc=START, duration_s=60, missing=missing)

    assert cost.total_j is cost.facility_j is cost.carbon_g is cost.cost is cost.embodied_g is None
    assert cost.energy_j == {}
    assert cost.missing == missing
    assert set(cost.unknown) == {"joules", "embodied"}


def test_nothing_used_is_zero():
    """Work that used no joule at all costs nothing, which is known."""
    cost = priced({Component.CPU: exact(0.0)})

    assert cost.total_j.value == cost.carbon_g.value == cost.cost.value == 0


def test_standing_by_is_apart():
    """Idle and machine joules are shown and change no other figure."""
    here = place("DE", chassis="laptop", tariff="0.3EUR")
    arguments: dict[str, Any] = {"started_utc": START, "duration_s": 60.0, "hardware": Hardware()}

    cost = footprint(PARTS, here, idle_j=exact(5), machine_j=exact(9), **arguments)

    assert (cost.idle_j, cost.machine_j) == (exact(5), exact(9))
    assert cost.carbon_g == footprint(PARTS, here, **arguments).carbon_g


def test_a_node_sensor_is_not_added():
    """A sensor that sees the whole machine is not a part of it."""
    node = Figure(9e9, 9e9, 9e9, Basis.MEASURED, "ipmi", Boundary.NODE)

    assert priced(PARTS | {Component.NODE: node}).total_j == priced().total_j


def test_wall_joules_are_not_uplifted():
    """What a plug saw is wall energy already; what a node's sensor saw gains the supply's loss only."""
    plug = priced({Component.CPU: CPU.within(Boundary.WALL)})
    sensor = priced({Component.CPU: CPU.within(Boundary.NODE)})

    assert plug.total_j.value == CPU.value
    assert Component.OTHER not in plug.energy_j
    assert sensor.total_j.value == pytest.approx(CPU.value * 1.09)


def test_facility_joules_are_refused():
    """PUE applies to wall power only, never twice."""
    with pytest.raises(ValueError, match="applied to them twice"):
        priced({Component.CPU: CPU.within(Boundary.FACILITY)})


def test_a_desk_pays_the_wall():
    """At a desk there is no PUE: what is paid and what is emitted is the wall's."""
    cost = priced(chassis="laptop", pue_value=None)

    assert cost.facility_j.value == cost.total_j.value
    assert cost.cost.value == pytest.approx(0.45)


def test_time_of_use():
    """A series says when the joules fell; without one any hour of the run may have had them all."""
    tariff = "0.40EUR 13:00-18:00=0.10EUR"

    known = priced(tariff=tariff, hours=2, series=[(0.0, 0.0), (3600.0, 300.0), (7200.0, 400.0)])
    even = priced(tariff=tariff, hours=2)

    assert known.factors["price"].value == pytest.approx(0.75 * 0.4 + 0.25 * 0.1)
    assert known.factors["price"].basis is Basis.MEASURED
    assert (
        even.factors["price"].low,
        even.factors["price"].value,
        even.factors["price"].high,
    ) == pytest.approx((0.1, 0.25, 0.4))
    assert even.factors["price"].basis is Basis.ASSUMED


def test_embodied():
    """The work carries its time's share of the machine that it owned, and of the boards that it held."""
    quarter = priced(hardware=Hardware(owned_share=0.25), hours=1)
    boards = priced(hardware=Hardware(("NVIDIA H100 80GB HBM3",) * 8, owned_share=0.25), hours=1)
    hour = 1 / (4 * 365.25 * 24)

    assert quarter.embodied_g.value == pytest.approx(1.5e6 * 0.25 * hour)
    assert boards.embodied_g.value == pytest.approx((1.5e6 * 0.25 + 1.312e6) * hour)
    assert boards.factors["embodied"].value == pytest.approx(2.812e6)


def test_embodied_of_a_virtual_machine():
    """A virtual machine carries its server by vCPUs, unless the user knows the machine."""
    guest = Hardware(vcpus=8)
    hour = 1 / (4 * 365.25 * 24)

    assert priced(hardware=guest).embodied_g.value == pytest.approx(8 * 17e3 * hour)
    assert priced(hardware=guest, machine_kg=500).embodied_g.value == pytest.approx(5e5 * hour)


def test_a_run_years_later_is_known_worse():
    """The same joules three years on have the same grams and a wider interval."""
    here = place("DE", tariff="0.3EUR")
    now: Any
    later: Any
    now, later = (
        footprint(PARTS, here, started_utc=START + timedelta(days=d), duration_s=60) for d in (0, 1096)
    )

    assert later.carbon_g.value == now.carbon_g.value
    assert later.carbon_g.high > now.carbon_g.high


def test_grams_of_any_joules():
    """The grams of joules by themselves are those of a footprint of the same joules."""
    here = place("DE", chassis="server", pue_value=1.2, wall_calibration=1.5)

    alone = grams(CPU, here, START, 3600)

    assert alone == priced({Component.CPU: CPU}).carbon_g
