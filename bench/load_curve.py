"""How honest is the modelled processor? Leave each measured server out, and predict it as a user's joulewise would.

    python bench/load_curve.py [FOLDER]    (holds turbostress_curves.csv: server, load_percent, package_w, ...; else bench/data)

The data are RAPL package watts of eleven AWS bare-metal servers at 0 to 100 % load (turbostress reports by
benjamin-davy, CC0-1.0). Known of the server left out are its sockets and its processor's TDP, as joulewise knows them
of a machine; unknown are its idle watts, its watts at full load and its settings. Everything is fitted anew on the
other ten. Prints the error of the curve's shape, that of CodeCarbon's (its machine mode, as read in version 3.3.2:
0.1 + 0.9 load^3 of the full-load watts, here known to both), the share of points in the 90 % interval, its width, and the
constants that ship in catalogue/load_curve.py.
"""

from __future__ import annotations

import csv
import statistics
import sys
from collections.abc import Mapping
from math import exp, log
from pathlib import Path

from joulewise.catalogue.load_curve import Spread, fit

SOCKETS = 2
# Watts TDP a socket of the instance type's processor (vendor's and cloud's figures): 8275CL, 8124M, E5-2686 v4,
# 8259CL (m5, r5: newer hosts; older ones have the 8175M of 240 W), 8252C, 8151
TDP_W = {"c5": 240, "c5n": 240, "i3": 145, "m5": 210, "m5zn": 150, "r5": 210, "z1d": 240}

Curves = Mapping[str, Mapping[int, float]]


def curves(folder: Path) -> dict[str, dict[int, float]]:
    """Return package watts by server and load in percent."""
    read: dict[str, dict[int, float]] = {}
    with open(folder / "turbostress_curves.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            read.setdefault(row["server"], {})[int(row["load_percent"])] = float(row["package_w"])
    return read


def known_w(server: str) -> float:
    """Return sockets x TDP of a server, from its instance type."""
    return float(SOCKETS * TDP_W[server.split("_", maxsplit=1)[0]])


def fitted(servers: Curves) -> dict[int, Spread]:
    """Return the fit of log(watts / known watts) at each load."""
    loads = sorted(next(iter(servers.values())))
    return {u: fit([log(c[u] / known_w(s)) for s, c in servers.items()]) for u in loads}


def median_shape(servers: Curves) -> dict[int, float]:
    """Return the median of P(u) / P(100 %) at each load."""
    loads = sorted(next(iter(servers.values())))
    return {u: statistics.median(c[u] / c[100] for c in servers.values()) for u in loads}


def shape_error(servers: Curves) -> float:
    """Return the mean relative error of the median shape for servers left out, full-load watts known."""
    errors = []
    for out, curve in servers.items():
        shape = median_shape({s: c for s, c in servers.items() if s != out})
        errors += [abs(shape[u] * curve[100] / watts - 1) for u, watts in curve.items()]
    return statistics.mean(errors)


def codecarbon_error(servers: Curves) -> float:
    """Return the mean relative error of CodeCarbon's load curve, full-load watts known."""
    return statistics.mean(
        abs((0.1 + 0.9 * (load / 100) ** 3) * curve[100] / watts - 1)
        for curve in servers.values()
        for load, watts in curve.items()
    )


def coverage(servers: Curves) -> tuple[int, int, list[float]]:
    """Return points inside their 90 % interval, all points, and the intervals' high / low, servers left out in turn."""
    inside, points, widths = 0, 0, []
    for out, curve in servers.items():
        spreads = fitted({s: c for s, c in servers.items() if s != out})
        for load, watts in curve.items():
            low, high = (known_w(out) * exp(edge) for edge in spreads[load].interval())
            inside, points = inside + (low <= watts <= high), points + 1
            widths.append(high / low)
    return inside, points, widths


def main() -> None:
    """Print what the method yields."""
    if len(sys.argv) > 2:
        raise SystemExit(f"usage: {sys.argv[0]} [FOLDER_WITH_turbostress_curves.csv]")
    servers = curves(Path(sys.argv[1]) if len(sys.argv) == 2 else Path(__file__).parent / "data")
    print(f"{len(servers)} servers; shape, leave one out: mean error {100 * shape_error(servers):.1f} %")
    print(f"0.1 + 0.9 load^3 (CodeCarbon): mean error {100 * codecarbon_error(servers):.1f} %")
    inside, points, widths = coverage(servers)
    print(
        f"90 % interval, idle and full-load watts unknown, leave one out: {inside} of {points} points = {100 * inside / points:.1f} %"
    )
    middle = statistics.median(widths)
    print(
        f"width: high / low {middle:.2f} (median), that is about -{100 * (1 - middle**-0.5):.0f} / +{100 * (middle**0.5 - 1):.0f} %"
    )
    shape, spreads = median_shape(servers), fitted(servers)
    print("shape:", tuple(round(v, 3) for v in shape.values()))
    print(
        "spread (mean, deviation):",
        tuple((round(s.mean, 3), round(s.deviation, 3)) for s in spreads.values()),
    )
    idle = [c[0] / c[100] for c in servers.values()]
    print(f"idle share: {min(idle):.3f} to {max(idle):.3f}")


if __name__ == "__main__":
    main()
