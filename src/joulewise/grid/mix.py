"""From a fuel mix to intensity: grams per kWh of what the plants of a zone generate.

    intensity = sum(energy by fuel x the fuel's factor) / sum(energy by fuel)

Lifecycle factors are the medians of IPCC AR5 WG III, annex III, table A.III.2 (2014), and for oil and for what is not
told the values in use at Electricity Maps (650 and 700). Direct factors are those of US plants by EIA (2022: pounds
per kWh of coal 2.31, gas 0.96, oil 2.46, as grams); lignite, peat, oil shale and waste are not in either table and are taken by
their carbon content against hard coal (IPCC 2006 guidelines, table 2.2: 101, 106, 107 and 92 of 95 t/TJ).

Storage gives back what was generated before and counts neither way; a plant that draws more than it gives (solar at
night) counts zero. The result is production: imports are not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from joulewise.vocabulary.signal import Factors

LIFECYCLE: Mapping[str, float] = MappingProxyType(
    {
        "coal": 820.0,
        "lignite": 870.0,
        "peat": 915.0,
        "oil shale": 925.0,
        "gas": 490.0,
        "oil": 650.0,
        "waste": 795.0,
        "biomass": 230.0,
        "solar": 45.0,
        "geothermal": 38.0,
        "hydro": 24.0,
        "nuclear": 12.0,
        "wind": 11.0,
        "marine": 17.0,
        "other": 700.0,
    }
)
DIRECT: Mapping[str, float] = MappingProxyType(
    {
        "coal": 1048.0,
        "lignite": 1114.0,
        "peat": 1169.0,
        "oil shale": 1180.0,
        "gas": 435.0,
        "oil": 1116.0,
        "waste": 1015.0,
        "biomass": 0.0,
        "solar": 0.0,
        "geothermal": 0.0,
        "hydro": 0.0,
        "nuclear": 0.0,
        "wind": 0.0,
        "marine": 0.0,
        "other": 575.0,
    }
)
STORAGE = frozenset({"pumped", "storage"})


def intensity(mix: Mapping[str, float | None], factors: Factors = Factors.LIFECYCLE) -> float | None:
    """Return g CO2e/kWh of a mix of energies (or mean powers) by fuel; None where nothing was generated or told.

    A fuel that is told as None is not known; fuels without a factor of their own count as `other`.
    """
    table = DIRECT if factors is Factors.DIRECT else LIFECYCLE
    generated = {f: e for f, e in mix.items() if e is not None and e > 0 and f not in STORAGE}
    total = sum(generated.values())
    if total <= 0:
        return None
    return sum(energy * table.get(fuel, table["other"]) for fuel, energy in generated.items()) / total
