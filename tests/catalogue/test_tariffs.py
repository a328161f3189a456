"""Tariffs: read as people write them, priced by the wall clock, energy kept through any split."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.catalogue.tariffs import Band, Tariff
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.quantities import JOULES_PER_KWH

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = "0.32EUR 22:00-06:00=0.20EUR"


def at(text, zone=BERLIN):
    return datetime.fromisoformat(text).replace(tzinfo=zone)


@pytest.mark.parametrize(
    ("text", "tariff"),
    [
        ("0.30EUR/kWh", Tariff(0.3, "EUR")),
        (" 0.30 eur ", Tariff(0.3, "EUR")),
        ("0.30 €/kWh", Tariff(0.3, "EUR")),
        (".12$", Tariff(0.12, "USD")),
        ("31JPY/kWh", Tariff(31, "JPY")),
        (NIGHT, Tariff(0.32, "EUR", (Band(1320, 360, 0.2),))),
        (
            "0.34EUR/kWh, 00:00-06:00=0.19 EUR, 17:00-24:00=0.41EUR",
            Tariff(0.34, "EUR", (Band(0, 360, 0.19), Band(1020, 1440, 0.41))),
        ),
    ],
)
def test_parse(text, tariff):
    """Flat prices and bands are read, with spaces, symbols and small letters."""
    assert Tariff.parse(text) == tariff
    assert Tariff.parse(str(tariff)) == tariff


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "as a price"),
        ("cheap", "as a price"),
        ("0.30", "as a price"),
        ("-0.30EUR", "as a price"),
        ("30ct/kWh", "as a price"),
        ("0.3EUR 22-06=0.2EUR", "as a time of day"),
        ("0.3EUR 22:00-06:00=0.2", "as a price"),
        ("0.3EUR 22:00-06:00=0.2USD", "EUR and USD"),
        ("0.3EUR 22:00-25:00=0.2EUR", "no time of day"),
        ("0.3EUR 22:70-06:00=0.2EUR", "no time of day"),
        ("0.3EUR 22:00-06:00=0.2EUR 05:00-07:00=0.1EUR", "two prices"),
    ],
)
def test_refused(text, why):
    """What is no tariff is refused in one line with the text seen."""
    with pytest.raises(UsageError, match=why) as caught:
        Tariff.parse(text)

    assert repr(text) in str(caught.value)


@given(
    st.decimals(0, 10, places=4),
    st.lists(st.integers(0, 1439), min_size=2, max_size=6, unique=True),
    st.sampled_from(["EUR", "USD", "CHF"]),
)
def test_round_trip(price, cuts, currency):
    """Every tariff prints as text that reads back to it."""
    cuts = sorted(cuts)
    bands = tuple(Band(a, b, n / 8) for n, (a, b) in enumerate(zip(cuts[::2], cuts[1::2], strict=False)))
    tariff = Tariff(float(price), currency, bands)

    assert Tariff.parse(str(tariff)) == tariff


@pytest.mark.parametrize(
    ("when", "price"),
    [
        ("2026-01-10T21:59", 0.32),
        ("2026-01-10T22:00", 0.2),
        ("2026-01-11T05:59", 0.2),
        ("2026-01-11T06:00", 0.32),
    ],
)
def test_price_at(when, price):
    """A band that passes midnight holds from its start until just before its end, by the local clock."""
    assert Tariff.parse(NIGHT).price_at(at(when).astimezone(UTC), BERLIN) == price


def test_flat_cost():
    """One kilowatt-hour at 0.30 costs 0.30, whenever it was used."""
    start = at("2026-01-10T12:00")

    assert Tariff.parse("0.30EUR").cost(JOULES_PER_KWH, start, start + timedelta(hours=3)) == pytest.approx(
        0.3
    )


def test_a_run_across_the_change_pays_both():
    """An even run of an hour before and three after the change pays a quarter by day and the rest by night."""
    mean = Tariff.parse(NIGHT).mean_price(at("2026-01-10T21:00"), at("2026-01-11T01:00"), zone=BERLIN)

    assert mean == pytest.approx(0.25 * 0.32 + 0.75 * 0.2)


def test_joules_weigh():
    """Where nearly all joules fall before the change, nearly all are paid at the day's price."""
    series = [(0.0, 0.0), (3600.0, 900.0), (4 * 3600.0, 1000.0)]

    mean = Tariff.parse(NIGHT).mean_price(at("2026-01-10T21:00"), at("2026-01-11T01:00"), series, BERLIN)

    assert mean == pytest.approx(0.9 * 0.32 + 0.1 * 0.2)


def test_a_series_without_joules_counts_as_even():
    """A series that never grows says nothing about when."""
    series = [(0.0, 0.0), (3600.0, 0.0)]

    assert Tariff.parse(NIGHT).mean_price(
        at("2026-01-10T21:30"), at("2026-01-10T22:30"), series, BERLIN
    ) == pytest.approx(0.26)


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 7), ("2026-10-25", 9), ("2026-07-01", 8)])
def test_clock_changes(day, hours):
    """The night of the clock change has an hour less or more of the night's price."""
    start = at(f"{day}T00:00") - timedelta(hours=2)
    tariff = Tariff.parse("1EUR 22:00-06:00=0EUR")
    duration_h = (at(f"{day}T12:00").astimezone(UTC) - start.astimezone(UTC)).total_seconds() / 3600

    assert duration_h * (1 - tariff.mean_price(start, at(f"{day}T12:00"), zone=BERLIN)) == pytest.approx(
        hours
    )


@pytest.mark.parametrize("name", ["Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns"])
def test_odd_offsets(name):
    """Zones off the full hour change price on their own quarter hour."""
    zone = ZoneInfo(name)
    tariff = Tariff.parse("1EUR 06:10-07:40=3EUR")

    assert tariff.mean_price(
        at("2026-05-05T06:00", zone), at("2026-05-05T08:00", zone), zone=zone
    ) == pytest.approx((0.5 + 1.5 * 3) / 2)


@given(st.integers(0, 47), st.floats(0.01, 60), st.floats(0.05, 0.95))
def test_two_halves_cost_the_whole(first_hour, hours, cut):
    """However a run is cut in two, its parts cost what it costs."""
    tariff = Tariff.parse("0.34EUR 00:00-06:00=0.19EUR 17:10-20:00=0.41EUR")
    start = at("2026-03-28T00:00").astimezone(UTC) + timedelta(hours=first_hour)
    middle, end = start + timedelta(hours=hours * cut), start + timedelta(hours=hours)
    energy_j = 1e6

    whole = tariff.cost(energy_j, start, end, zone=BERLIN)
    share = (middle - start) / (end - start)
    parts = tariff.cost(energy_j * share, start, middle, zone=BERLIN) + tariff.cost(
        energy_j * (1 - share), middle, end, zone=BERLIN
    )

    low, high = tariff.extremes(start, end, BERLIN)
    assert parts == pytest.approx(whole, rel=1e-6)
    assert low * (1 - 1e-9) <= tariff.mean_price(start, end, zone=BERLIN) <= high * (1 + 1e-9)


def test_an_instant():
    """A run without length pays the price of its moment."""
    assert Tariff.parse(NIGHT).mean_price(at("2026-01-10T23:00"), at("2026-01-10T23:00"), zone=BERLIN) == 0.2
