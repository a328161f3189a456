"""Team totals: joules become grams and money at their places, and grams of unlike meaning are never added."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from joulewise.catalogue.place import place
from joulewise.ledger.months import Stretch, Sum
from joulewise.measuring.totalling import caveats, month_span, rolled, together, totals
from joulewise.vocabulary.figures import Basis, Figure
from joulewise.vocabulary.signal import Factors, Kind, Meaning, Scope, Signal

START = datetime(2026, 11, 1, tzinfo=UTC)
KWH = 3.6e6


def part(key="vision", zone="DE", joules: float | None = KWH, month="2026-11", site="- server") -> Sum:
    figure = None if joules is None else Figure(joules, joules * 0.9, joules * 1.1, Basis.MEASURED)
    return Sum(key, month, zone, site, 2, 0 if joules else 2, figure, 3600.0)


def here(zone, site):
    return place(zone or None, chassis="server", pue_value=1.5, wall_calibration=1.2, tariff="0.50EUR/kWh")


def no_hours(_zone):
    return None


def test_priced():
    """A kilowatt-hour at the devices is 1.8 in the facility: grams by the zone's mean, money by the tariff."""
    (total,) = totals([part()], [], here, no_hours)
    zone = here("DE", "").zone

    assert total.facility_j.value == pytest.approx(1.8 * KWH)
    assert list(total.grams) == [f"average, {zone.factors}"]
    assert total.grams[f"average, {zone.factors}"].figure.value == pytest.approx(1.8 * zone.g_per_kwh)
    assert total.cost.value == pytest.approx(0.9)


def test_kept_hours_count():
    """Where a zone's hours were kept, joules are weighed by the hours in which they were used."""
    values = [100.0] * 12 + [500.0] * (30 * 24 - 12)
    kept = Signal.of("DE", values, START)
    clean = Stretch("vision", "2026-11", "DE", START, 12 * 3600.0, KWH)
    dirty = Stretch("vision", "2026-11", "DE", START.replace(day=7), 3600.0, KWH)
    (one,) = totals([part()], [clean], here, lambda _z: kept)
    (both,) = totals([part(joules=2 * KWH)], [clean, dirty], here, lambda _z: kept)

    assert one.grams["average, lifecycle"].figure.value == pytest.approx(180)
    assert both.grams["average, lifecycle"].figure.value == pytest.approx(180 + 900)


def test_meanings_stand_apart():
    """Marginal grams stand beside the average ones and say of how many joules they know; direct factors are apart, too."""
    marginal = Meaning(Kind.MARGINAL, Factors.DIRECT, Scope.PRODUCTION)
    kept = Signal.of("DE", [700.0] * 24, START, meaning=marginal)
    half = Stretch("vision", "2026-11", "DE", START.replace(hour=12), 24 * 3600.0, KWH)
    (total,) = totals([part()], [half], here, lambda _z: kept)

    assert sorted(total.grams) == ["average, lifecycle", "marginal, direct"]
    assert total.grams["marginal, direct"].figure.value == pytest.approx(0.9 * 700)
    assert total.grams["marginal, direct"].share == pytest.approx(0.5)
    other = totals([part(zone="US-CA")], [], here, no_hours)
    whole = together([total, *other], "all")
    assert sum(g.figure.value for m, g in whole.grams.items() if m.startswith("average")) > 0
    assert whole.grams["marginal, direct"].share == pytest.approx(0.25)
    assert "grams of unlike meaning are not added up" in caveats(whole)
    assert "grams (marginal, direct) are of 25% of the joules" in caveats(whole)


def test_unknown_is_not_zero():
    """Recordings without joules are counted, and in no figure; without a zone grams say so."""
    (total,) = totals([part(joules=None), part(zone="")], [], here, no_hours)

    assert (total.runs, total.unknown, total.no_zone) == (4, 2, 2)
    assert total.energy_j.value == KWH
    assert caveats(total) == [
        "2 of 4 recordings do not know their joules and are in no sum",
        "2 recordings tell no zone: their grams are over the world's range",
    ]
    (nothing,) = totals([part(joules=None)], [], here, no_hours)
    assert nothing.energy_j is None
    assert not nothing.grams


def test_rolled():
    """Months roll up into one total a key; errors add linearly."""
    found = totals([part(), part(month="2026-10"), part(key="speech")], [], here, no_hours)
    (vision, speech) = rolled(found, lambda t: t.key)

    assert (vision.key, speech.key) == ("vision", "speech")
    assert vision.energy_j.high == pytest.approx(2 * 1.1 * KWH)


def test_month_span():
    """A month ends where the next begins, in December, too."""
    assert month_span("2026-12") == (datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
