"""Embodied carbon: this work's share of making the hardware, by the SCI specification (ISO/IEC 21031:2024).

    M = TE x (TiR / EL) x (RR / ToR)

`TE` is what making all the hardware emitted, `TiR` the time that the work reserved it, `EL` its expected life
(four years here, three to six), `RR / ToR` the share of the hardware reserved. TE figures come from vendors'
product carbon footprints and published inventories; these differ by factors (one server by its SSDs alone from
845 to 4,288 kg), so the intervals are wide, and a figure of one's own (`own_kg`) is the better one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

from joulewise.catalogue.tables import read_facts
from joulewise.catalogue.uplift import Chassis
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis, Figure, total

YEAR_S = 365.25 * 86400.0
_LIFE_YEARS = (4.0, 3.0, 6.0)
_GRAMS_PER_KG = 1000.0


def expected_life(own_years: float | None = None) -> Figure:
    """Return the hardware's expected life in seconds (EL): four years (three to six), or what the user says."""
    if own_years is not None:
        if own_years <= 0:
            raise UsageError(f"hardware life is {own_years:g} years, but must be more than 0")
        life_s = own_years * YEAR_S
        return Figure(life_s, life_s, life_s, Basis.MEASURED, "hardware life stated by the user")
    value, low, high = (years * YEAR_S for years in _LIFE_YEARS)
    return Figure(value, low, high, Basis.ASSUMED, "hardware life of 4 years (3 to 6)")


def machine_g(chassis: Chassis, own_kg: float | None = None) -> Figure:
    """Return the grams that making one machine emitted (TE), without discrete GPUs."""
    if own_kg is not None:
        if own_kg <= 0:
            raise UsageError(f"embodied carbon of the machine is {own_kg:g} kg, but must be more than 0")
        grams = own_kg * _GRAMS_PER_KG
        return Figure(grams, grams, grams, Basis.MEASURED, "embodied carbon stated by the user")
    return _table()["machine", chassis]


def vcpus_g(vcpus: float) -> Figure:
    """Return the grams of a cloud machine's share of its server (TE x RR/ToR), by its vCPUs."""
    return _table()["vcpu", "vcpu"].scaled(vcpus)


def gpu_g(model: str) -> Figure:
    """Return the grams of one GPU board; a model that is not known gets the range of all."""
    words = set(re.split(r"[^a-z0-9]+", model.casefold()))
    known = (
        figure for (kind, name), figure in _table().items() if kind == "gpu" and name.casefold() in words
    )
    return next(known, _table()["gpu", "unknown"])


def gpus_g(models: Sequence[str]) -> Figure | None:
    """Return the grams of several GPU boards (None: no board); boards of one kind share one error."""
    counts: dict[Figure, int] = {}
    for model in models:
        figure = gpu_g(model)
        counts[figure] = counts.get(figure, 0) + 1
    return total(figure.scaled(count) for figure, count in counts.items()) if counts else None


def embodied_share(whole_g: Figure, time_s: float, share: float, life_s: Figure) -> Figure:
    """Return M in grams: TE times the share of its life that was reserved times the share of it reserved."""
    if time_s < 0 or not 0 <= share <= 1:
        raise ValueError(f"time is {time_s} s and share {share}, but must be at least 0 and between 0 and 1")
    per_s = Figure(1 / life_s.value, 1 / life_s.high, 1 / life_s.low, life_s.basis, life_s.source)
    return whole_g.times(per_s).scaled(time_s * share)


@cache
def _table() -> Mapping[tuple[str, str], Figure]:
    table = {}
    for row in read_facts("embodied.csv"):
        value, low, high = (float(row[key]) * _GRAMS_PER_KG for key in ("value_kg", "low_kg", "high_kg"))
        table[row["kind"], row["name"]] = Figure(
            value, low, high, Basis.ASSUMED, f"{row['source']} ({row['date']})"
        )
    return table
