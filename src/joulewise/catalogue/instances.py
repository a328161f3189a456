"""Instance types of the cloud: cores, memory, GPUs and the watts of an instance's share of its server by load.

The 621 AWS types come from Cloud Carbon Footprint after Teads' EC2 dataset (Apache-2.0; the file says from when). They
are modelled from RAPL, SPEC and thermal design power, not metered on each type, so every watt is MODELLED with an
interval of -30 % to +40 %. Prices are not shipped: `sky_prices` reads them from the user's own SkyPilot catalogue.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from joulewise.catalogue.tables import read_facts
from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.vocabulary.figures import Basis, Boundary, Figure, relative

SOURCE = "Cloud Carbon Footprint/Teads, 2022 (Apache-2.0)"
_LOW, _HIGH = 0.30, 0.40
_LOADS = (0.0, 0.1, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class InstanceType:
    """One type: vCPUs, bytes, GPUs, and watts at 0, 10, 50 and 100 % load (of the whole instance)."""

    provider: str
    name: str
    vcpus: float
    memory_bytes: float
    gpu_model: str
    gpus: int
    watts: tuple[float, float, float, float]
    cpu: str = ""
    source: str = SOURCE

    @property
    def idle_w(self) -> float:
        """Watts standing by."""
        return self.watts[0]

    def power_w(self, load: float) -> Figure:
        """Return watts at a load between 0 and 1, linear between the known loads."""
        if not 0 <= load <= 1:
            raise UsageError(f"load is {load:g}, but must lie between 0 and 1")
        above = next(n for n, at in enumerate(_LOADS) if load <= at)
        below = max(0, above - 1)
        span = _LOADS[above] - _LOADS[below]
        share = (load - _LOADS[below]) / span if span else 0.0
        value = self.watts[below] + share * (self.watts[above] - self.watts[below])
        return relative(value, _LOW, _HIGH, Basis.MODELLED, f"{self.name}: {self.source}", Boundary.WALL)


def instance_types() -> tuple[InstanceType, ...]:
    """Return every type in the catalogue, by name."""
    return tuple(_types()[name] for name in sorted(_types()))


def find_instance(name: str) -> InstanceType:
    """Return the type of this name; raise UnknownName with the nearest."""
    types = _types()
    if name not in types:
        raise UnknownName("instance type", name, types, "'joulewise instances' lists them")
    return types[name]


def sky_prices(folder: Path | None = None, provider: str = "aws") -> Mapping[tuple[str, str], float]:
    """Return dollars an hour by type and region from the user's SkyPilot catalogue; empty where there is none.

    `folder` is the one that holds `v8/aws/vms.csv` and its like (default: ~/.sky/catalogs); the newest version counts.
    """
    base = folder or Path(os.path.expanduser("~")) / ".sky" / "catalogs"
    tables = sorted(base.glob(f"v*/{provider}/vms.csv"), key=_version)
    if not tables:
        return {}
    prices: dict[tuple[str, str], float] = {}
    with tables[-1].open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        wanted = {"InstanceType", "Region", "Price"}
        if not wanted <= set(reader.fieldnames or ()):
            raise UsageError(f"{tables[-1]} is no SkyPilot catalogue: it lacks {', '.join(sorted(wanted))}")
        for row in reader:
            price = _price(row["Price"])
            if price is not None:
                key = row["InstanceType"], row["Region"]
                prices[key] = min(price, prices.get(key, price))
    return prices


def _version(path: Path) -> tuple[int, str]:
    digits = path.parts[-3].lstrip("v")
    return (int(digits) if digits.isdigit() else -1, digits)


def _price(text: str) -> float | None:
    try:
        price = float(text)
    except ValueError:
        return None
    return price if price > 0 else None


@cache
def _types() -> Mapping[str, InstanceType]:
    return {
        row["type"]: InstanceType(
            row["provider"],
            row["type"],
            float(row["vcpus"]),
            float(row["memory_gb"]) * 1e9,
            row["gpu_model"],
            int(row["gpu_count"]),
            (
                float(row["idle_w"]),
                float(row["w_10pct"]),
                float(row["w_50pct"]),
                float(row["w_100pct"]),
            ),
            row["cpu"],
        )
        for row in read_facts("instances.csv")
    }
