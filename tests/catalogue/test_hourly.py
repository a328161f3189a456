"""Intensity by the hour: weighed by joules, said where it is not whole, and better than a yearly mean."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.catalogue.hourly import mean_intensity
from joulewise.catalogue.place import place
from joulewise.catalogue.pricing import footprint, grams
from joulewise.vocabulary.figures import Basis, relative
from joulewise.vocabulary.recording import Component
from joulewise.vocabulary.signal import Factors, Kind, Meaning, Signal, SignalPoint

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
CPU = {Component.CPU: relative(3.6e6, 0.01, 0.01, Basis.MEASURED, "RAPL")}


def hours(*values, **others):
    return Signal.of("DE", values, START, **{"source": "service", **others})


def known(*arguments):
    found = mean_intensity(*arguments)
    assert found is not None
    return found


def cost(signal, duration_s=7200.0, series=None, zone="DE"):
    here = replace(place(zone, kind="desk"), hourly=signal)
    return footprint(CPU, here, started_utc=START, duration_s=duration_s, series=series)


def test_weighed_by_joules():
    """Nine tenths of the joules in a clean hour weigh nine tenths."""
    figure, share = known(hours(100, 500), START, 7200, [(0, 0), (3600, 90), (7200, 100)])

    assert figure.value == pytest.approx(140)
    assert share == 1
    assert "service (lifecycle, consumption, by the hour)" in figure.source


def test_spread_evenly():
    """Without a series joules count as spread evenly, also over a run within one hour."""
    assert known(hours(100, 500), START + 0.5 * HOUR, 3600)[0].value == pytest.approx(300)
    assert known(hours(100, 500), START + 0.5 * HOUR, 60)[0].value == pytest.approx(100)
    assert known(hours(100, 500), START, 0)[0].value == pytest.approx(100)
    assert known(hours(100, 500), START, 7200, [(0, 5), (7200, 5)])[0].value == pytest.approx(300)


@pytest.mark.parametrize(
    ("signal", "basis"),
    [
        (hours(100, 100), Basis.MODELLED),
        (hours(100, 100, issued_utc=START), Basis.ASSUMED),
        (Signal("DE", Meaning(), START, 3600, (SignalPoint(100, estimated=True),) * 2), Basis.ASSUMED),
        (Signal("DE", Meaning(), START, 3600, (SignalPoint(100), SignalPoint(100))), Basis.MODELLED),
    ],
)
def test_basis(signal, basis):
    """What a provider computed is modelled; forecasts and estimates are assumed; nothing is measured."""
    assert known(signal, START, 7200)[0].basis is basis


def test_a_point_keeps_its_wider_interval():
    """The interval is a factor of 1.24, or the point's own where that is wider."""
    wide = SignalPoint(100, START, low=10, high=300)
    figure, _ = known(Signal("DE", Meaning(), START, 3600, (SignalPoint(100), wide)), START, 7200)

    assert figure.low == pytest.approx((100 / 1.24 + 10) / 2)
    assert figure.high == pytest.approx((124 + 300) / 2)


def test_no_average():
    """A marginal signal or a price never becomes a footprint's intensity."""
    assert mean_intensity(hours(1, meaning=Meaning(kind=Kind.MARGINAL)), START, 60) is None
    assert mean_intensity(hours(1, meaning=Meaning.price("EUR")), START, 60) is None
    assert mean_intensity(hours(None), START, 60) is None


@given(st.lists(st.floats(1, 900), min_size=2, max_size=30), st.floats(0.05, 0.95))
def test_two_halves_are_the_whole(values, cut):
    """However a run is cut, the grams of its parts are the grams of the whole."""
    signal = hours(*values)
    whole_s = 3600.0 * len(values)
    cut_s = whole_s * cut

    whole = known(signal, START, whole_s)[0].value * whole_s
    first = known(signal, START, cut_s)[0].value * cut_s
    second = known(signal, START + timedelta(seconds=cut_s), whole_s - cut_s)[0].value * (whole_s - cut_s)

    assert first + second == pytest.approx(whole, rel=1e-6)


def test_a_footprint_by_the_hour():
    """A footprint whose hours are known uses them, and its interval is far narrower than the yearly mean's."""
    by_hour, yearly = cost(hours(100, 300)), cost(None)

    assert by_hour.factors["intensity"].value == pytest.approx(200)
    assert by_hour.factors["intensity"].relative_high < 0.5 * yearly.factors["intensity"].relative_high
    assert by_hour.carbon_g.relative_high < yearly.carbon_g.relative_high
    assert "OWID" in yearly.factors["intensity"].source


def test_part_of_the_hours():
    """Where half of the joules fall into unknown hours the yearly mean stands for these, and that is said."""
    mixed, yearly = cost(hours(100)).factors["intensity"], cost(None).factors["intensity"]

    assert mixed.value == pytest.approx((100 + yearly.value) / 2)
    assert mixed.basis is Basis.ASSUMED
    assert "50% of the joules" in mixed.source
    assert "OWID" in mixed.source


def test_direct_and_lifecycle_do_not_mix():
    """A direct signal of half of the hours is left out: the yearly mean is lifecycle. Of all hours it is taken, and named."""
    direct = Meaning(factors=Factors.DIRECT)

    assert cost(hours(100, meaning=direct)).factors["intensity"] == cost(None).factors["intensity"]
    assert "direct" in cost(hours(100, 100, meaning=direct)).factors["intensity"].source


def test_no_zone_but_hours():
    """Where the hours are known the zone is no unknown."""
    known = cost(hours(100, 100), zone=None)

    assert "zone" not in known.unknown
    assert known.factors["intensity"].value == pytest.approx(100)


def test_grams_of_a_difference():
    """Joules at another place of the programme are priced by the same hours."""
    here = replace(place("DE", kind="desk"), hourly=hours(100, 300))

    one, other = (
        grams(CPU[Component.CPU], p, START, 7200) for p in (here, replace(here, hourly=hours(200, 600)))
    )

    assert other.value == pytest.approx(2 * one.value)
