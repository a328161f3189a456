"""How clean electricity is by country and US state: the yearly mean, as a figure with an honest interval.

Countries are by Our World in Data and Ember (lifecycle factors, mostly of 2022 and 2023); US states are by EPA
eGRID2023, which counts emissions at the power plant only (direct factors). Both are averages of generation: what
is imported is not in them, and no yearly mean knows the hours in which the work ran.

**How wrong is a yearly mean?** Measured: the hourly lifecycle intensity of 2023, as consumed, of ten grids (New
South Wales, Ontario, Germany, Spain, Great Britain, Western India, Norway, Singapore, California, Texas; data:
Electricity Maps), averaged over every run of a given length and divided by what this catalogue says for that
place. 5 % and 95 % of all ten grids' runs lie at

    run of 1 h 0.36 and 1.67 · 1 day 0.38 and 1.59 · 1 week 0.42 and 1.56 · 1 month 0.41 and 1.54

so longer runs help little: most of the error is place (Ontario is far cleaner than Canada) and method
(generation against consumption, direct against lifecycle), not hour. A year's mean of the ten grids changed to
the next by a log standard deviation of 0.15; each year between the value's and the run's adds that, independent,
to both arms (25 % at 90 %). A live source of the `grid` room is better whenever there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import exp, hypot, log, sqrt

from joulewise.catalogue.tables import read_facts
from joulewise.vocabulary.errors import UnknownName
from joulewise.vocabulary.figures import Basis, Figure

# seconds of a run, and the low and high end of (mean over the run / yearly mean of this catalogue):
# see above; the low end of a week is taken as that of a month, so that a longer run is never known worse
_SPREAD = ((2592000.0, 0.41, 1.54), (604800.0, 0.41, 1.56), (86400.0, 0.38, 1.59), (0.0, 0.36, 1.67))
_YEARLY_CHANGE = 1.645 * 0.15  # 90 % of a normal with the log standard deviation of one year's change
_WORLD_SHARE = 0.05  # the world's range leaves out the cleanest and the dirtiest 5 % of zones
_WORLD = "WLD"
_COUNTRIES_SOURCE = "OWID/Ember yearly mean"
_STATES_SOURCE = "EPA eGRID yearly mean"

# names and codes in common use beside those of the table
_ALIASES = {
    "uk": "GB",
    "britain": "GB",
    "great britain": "GB",
    "england": "GB",
    "usa": "US",
    "united states of america": "US",
    "america": "US",
    "czech republic": "CZ",
    "holland": "NL",
    "korea": "KR",
    "republic of korea": "KR",
    "russian federation": "RU",
    "türkiye": "TR",
    "turkiye": "TR",
    "ivory coast": "CI",
    "burma": "MM",
    "uae": "AE",
    "deutschland": "DE",
    "españa": "ES",
    "schweiz": "CH",
    "österreich": "AT",
    "world": _WORLD,
}


@dataclass(frozen=True, slots=True)
class Zone:
    """A place with a yearly mean intensity: code (`DE`, `US-CA`), name, g CO2e/kWh and what kind of value it is."""

    code: str
    name: str
    g_per_kwh: float
    year: int
    factors: str  # lifecycle, or direct (at the power plant only)
    source: str
    kind: str = "average"

    def intensity(self, duration_s: float = 0.0, run_year: int | None = None) -> Figure:
        """Return g CO2e/kWh for a run of this length in this year (None: the value's), with its 90 % interval.

        Basis ASSUMED: a yearly mean. The interval is the measured spread of run means round yearly means, widened
        by the years between (see the module); for the world it is the range of its zones.
        """
        source = f"{self.source} {self.year} ({self.factors})"
        if self.code == _WORLD:
            low, high = _world_ends()
            return Figure(self.g_per_kwh, low, high, Basis.ASSUMED, source)
        _, low, high = next(row for row in _SPREAD if duration_s >= row[0])
        ageing = _YEARLY_CHANGE * sqrt(max(0, (run_year or self.year) - self.year))
        value = self.g_per_kwh
        return Figure(
            value,
            value * exp(-hypot(log(low), ageing)),
            value * exp(hypot(log(high), ageing)),
            Basis.ASSUMED,
            source,
        )


def find_zone(text: str) -> Zone:
    """Return the zone for `DE`, `DEU`, `Germany`, `US-CA` or `California`; raise UnknownName with the nearest.

    A US state that shares its name with a country (Georgia) is meant by its code only.
    """
    names, codes = _names(), _zones()
    wanted = " ".join(text.split()).casefold()
    code = names.get(wanted) or names.get(wanted.replace("_", "-"))
    if code:
        return codes[code]
    country = names.get(wanted.partition("-")[0])
    if country and "-" in wanted and country != "US":
        advice = f"only the US has smaller zones here; use {codes[country].code} for {codes[country].name}"
        raise UnknownName("zone", text, (), advice)
    advice = (
        "name a country (Germany, DE, DEU) or a US state (US-CA); without a zone the world's range is used"
    )
    raise UnknownName("zone", text, _known(wanted), advice)


def zones() -> tuple[Zone, ...]:
    """Return every country and US state with a yearly mean, by code."""
    return tuple(zone for code, zone in sorted(_zones().items()) if code != _WORLD)


def world_range() -> Figure:
    """Return g CO2e/kWh where the zone is unknown: the world's mean, from its cleanest to its dirtiest 5 % of zones."""
    low, high = _world_ends()
    return Figure(
        _zones()[_WORLD].g_per_kwh, low, high, Basis.ASSUMED, "zone unknown: world range (OWID/Ember)"
    )


@cache
def _rows() -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    return list(read_facts("zones.csv")), list(read_facts("us_states.csv"))


@cache
def _zones() -> Mapping[str, Zone]:
    countries, states = _rows()
    kinds = ((countries, "lifecycle", _COUNTRIES_SOURCE), (states, "direct", _STATES_SOURCE))
    return {
        row["code"]: Zone(
            row["code"], row["name"], float(row["intensity_g_per_kwh"]), int(row["year"]), factors, source
        )
        for rows, factors, source in kinds
        for row in rows
    }


@cache
def _names() -> Mapping[str, str]:
    """Return every name and code, case folded, with the code it stands for; countries before states."""
    names = dict(_ALIASES)
    countries, states = _rows()
    for row in states:
        names[row["name"].casefold()] = names[row["code"].casefold()] = row["code"]
    for row in countries:
        for name in (row["name"], row["code"], row["alpha3"]):
            names[name.casefold()] = row["code"]
    return names


def _known(wanted: str) -> list[str]:
    """Return what to search for a near name: codes for something as short as a code, names otherwise."""
    if wanted.startswith("us-"):
        return [code for code in _zones() if code.startswith("US-")]
    if len(wanted) <= 3:
        codes = [code for row in _rows()[0] for code in (row["code"], row["alpha3"])]
        return [code for code in codes if len(code) == len(wanted) and code.casefold()[:1] == wanted[:1]]
    return [zone.name for zone in _zones().values()]


@cache
def _world_ends() -> tuple[float, float]:
    values = sorted(
        zone.g_per_kwh
        for zone in _zones().values()
        if zone.source == _COUNTRIES_SOURCE and zone.code != _WORLD
    )
    cut = int(_WORLD_SHARE * len(values))
    return values[cut], values[-1 - cut]
