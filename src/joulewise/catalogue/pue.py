"""PUE: how much a building draws for each joule that its machines draw at the wall (cooling, distribution).

It applies to wall power only and is chosen by the kind of place. At a desk there is no data centre: 1, exactly.
The cloud providers' values are yearly fleet means as they state them (single sites differ by 0.1 or so); the
world mean of ordinary data centres is 1.58 (Uptime Institute 2023), where small rooms reach 2 and new halls 1.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cache

from joulewise.catalogue.tables import read_facts
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis, Boundary, Figure


class PlaceKind(StrEnum):
    """What kind of place a machine stands in."""

    DESK = "desk"
    ON_PREMISES = "on-premises"  # a data centre or server room of one's own
    AWS = "aws"
    GCP = "gcp"
    AZURE = "azure"
    UNKNOWN = "unknown"


def pue(kind: PlaceKind, own: float | None = None) -> Figure:
    """Return the factor (ratio) from wall joules to facility joules; `own` is what the user says it is."""
    if own is not None:
        if own < 1:
            raise UsageError(
                f"PUE is {own:g}, but a building draws at least what its machines do: give 1 or more"
            )
        return Figure(own, own, own, Basis.MEASURED, "PUE stated by the user", Boundary.FACILITY)
    value, low, high, source = _table()[kind]
    basis = Basis.MEASURED if kind is PlaceKind.DESK else Basis.ASSUMED
    return Figure(value, low, high, basis, f"PUE {kind}: {source}", Boundary.FACILITY)


@cache
def _table() -> Mapping[str, tuple[float, float, float, str]]:
    return {
        row["place"]: (
            float(row["value"]),
            float(row["low"]),
            float(row["high"]),
            f"{row['source']} ({row['date']})",
        )
        for row in read_facts("pue.csv")
    }
