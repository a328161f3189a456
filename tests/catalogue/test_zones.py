"""Zones: found as people write them, honest about what a yearly mean is worth."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

from joulewise.catalogue.zones import find_zone, world_range, zones
from joulewise.vocabulary.errors import UnknownName
from joulewise.vocabulary.figures import Basis

YEAR_S = 365 * 86400


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("DE", "DE"),
        ("de", "DE"),
        ("DEU", "DE"),
        ("Germany", "DE"),
        (" germany ", "DE"),
        ("united   kingdom", "GB"),
        ("UK", "GB"),
        ("USA", "US"),
        ("US-CA", "US-CA"),
        ("us_ca", "US-CA"),
        ("California", "US-CA"),
        ("CA", "CA"),
        ("Georgia", "GE"),
        ("US-GA", "US-GA"),
        ("Cote d'Ivoire", "CI"),
        ("world", "WLD"),
    ],
)
def test_found(text, code):
    """A country by name or either code and a US state by code or name are found; a country comes before a state."""
    assert find_zone(text).code == code


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("Germny", "did you mean Germany"),
        ("DX", "did you mean D"),
        ("US-XX", "did you mean US-"),
        ("DE-BY", "use DE for Germany"),
        ("", "name a country"),
        ("CF", "name a country"),
    ],
)
def test_unknown(text, hint):
    """An unknown zone is refused in one line that suggests the nearest or says what is known."""
    with pytest.raises(UnknownName, match=f"^unknown zone {text!r}") as caught:
        find_zone(text)

    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_zone_is_usable():
    """Each zone has a code of its own, a value above zero, a year, and is found by its code and, but for twins, its name."""
    table = zones()

    assert len(table) == 212 + 51
    assert len({zone.code for zone in table}) == len(table)
    for zone in table:
        assert 15 < zone.g_per_kwh < 1400
        assert 2009 <= zone.year <= 2023
        assert zone.kind == "average"
        assert find_zone(zone.code) is zone
        assert find_zone(zone.name) is zone or zone.code == "US-GA"


def test_factors_are_told_apart():
    """Countries count the whole life of a power station, US states its chimney only."""
    assert find_zone("US").factors == "lifecycle"
    assert find_zone("US-TX").factors == "direct"
    assert "direct" in find_zone("US-TX").intensity().source


def test_a_yearly_mean_is_assumed():
    """The intensity is assumed, says its year and source, and holds the measured spread of an hour's run."""
    intensity = find_zone("DE").intensity(3600)

    assert intensity.basis is Basis.ASSUMED
    assert intensity.value == 380.95
    assert (intensity.low, intensity.high) == pytest.approx((380.95 * 0.36, 380.95 * 1.67))
    assert intensity.source == "OWID/Ember yearly mean 2023 (lifecycle)"


def test_longer_runs_are_known_better():
    """A longer run averages over more hours, so its interval is narrower."""
    widths = [find_zone("FR").intensity(s) for s in (60, 86400, 7 * 86400, 31 * 86400)]

    assert all(a.low <= b.low and a.high >= b.high for a, b in itertools.pairwise(widths))
    assert widths[0].high > widths[-1].high


def test_an_old_mean_is_known_worse():
    """Each year between the mean and the run widens both arms; a run before it does not."""
    zone = find_zone("DE")
    now, later, before = (zone.intensity(3600, year) for year in (2023, 2027, 2020))

    assert later.low < now.low
    assert later.high > now.high
    assert before == now


def test_world_range():
    """Without a zone the mean is the world's, the interval holds nine of ten zones, and the source says so."""
    world = world_range()
    inside = [
        zone for zone in zones() if zone.factors == "lifecycle" and world.low <= zone.g_per_kwh <= world.high
    ]

    assert world.value == 480.6
    assert 0.88 < len(inside) / 212 < 0.93
    assert world.basis is Basis.ASSUMED
    assert world.source.startswith("zone unknown: world range")
    assert (find_zone("world").intensity().low, find_zone("world").intensity().high) == (
        world.low,
        world.high,
    )


def test_importing_reads_no_table():
    """Importing the catalogue opens no data file."""
    program = (
        "import sys\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None)\n"
        "import joulewise.catalogue.pricing, joulewise.catalogue.cloud\n"
        "assert not [name for name in opened if name.endswith('.csv')], opened\n"
        "assert 'urllib.request' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
