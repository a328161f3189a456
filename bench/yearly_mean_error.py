"""How wrong is a yearly mean? The figures in catalogue/zones.py, from a folder of hourly series.

    python bench/yearly_mean_error.py FOLDER

FOLDER holds `<grid>_2022-2023.csv` files with the columns datetime_utc and ci_lifecycle_g_per_kwh (Electricity Maps'
open data, ODbL: not shipped here), 17,520 rows each. For every run of a given length in 2023, its mean is divided
by what this catalogue says for the grid's place; 5 % and 95 % of all grids' runs are printed, and the log standard
deviation of one year's change.
"""

from __future__ import annotations

import csv
import sys
from itertools import accumulate
from math import log
from pathlib import Path
from statistics import quantiles, stdev

from joulewise.catalogue.zones import find_zone

ZONES = {
    "AU-NSW": "AU",
    "CA-ON": "CA",
    "DE": "DE",
    "ES": "ES",
    "GB": "GB",
    "IN-WE": "IN",
    "NO": "NO",
    "SG": "SG",
    "US-CAL-CISO": "US-CA",
    "US-TEX-ERCO": "US-TX",
}
YEAR_HOURS = 8760
RUNS_HOURS = {"1 hour": 1, "1 day": 24, "1 week": 168, "1 month": 720}


def series(folder: Path, grid: str) -> list[float]:
    """Return a grid's hourly lifecycle intensity of two years."""
    with (folder / f"{grid}_2022-2023.csv").open(newline="") as file:
        return [float(row["ci_lifecycle_g_per_kwh"]) for row in csv.DictReader(file)]


def main() -> None:
    """Print the spread by length of run, and the yearly change."""
    hourly = {grid: series(Path(sys.argv[1]), grid) for grid in ZONES}
    for name, hours in RUNS_HOURS.items():
        ratios: list[float] = []
        for grid, values in hourly.items():
            until = list(accumulate(values[YEAR_HOURS:], initial=0.0))
            mean = find_zone(ZONES[grid]).g_per_kwh
            ratios += [(b - a) / hours / mean for a, b in zip(until, until[hours:], strict=False)]
        cuts = quantiles(ratios, n=20)
        print(f"{name:8} {cuts[0]:.2f} {cuts[-1]:.2f}")
    changes = [log(sum(v[YEAR_HOURS:]) / sum(v[:YEAR_HOURS])) for v in hourly.values()]
    print(f"one year's change: log standard deviation {stdev(changes):.2f}")


if __name__ == "__main__":
    main()
