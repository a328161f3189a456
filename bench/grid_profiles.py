"""Make the shipped profiles (src/joulewise/grid/data/profiles.csv) from a year's public fuel mix, and say how good they are.

    python bench/grid_profiles.py DATA [--write]     (DATA: fuel_mix/*.csv, and forecasts/*.csv to be judged by)

Fuel mix: EIA form 930, hourly net generation by fuel, United States public domain. Factors: grid/mix.py. Judged by another
year and another author: the production intensities of 2021 in forecasts/ (CarbonCast), never used to make them.
"""

from __future__ import annotations

import csv
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from joulewise.grid.mix import intensity
from joulewise.grid.profile import aged, profile_of
from joulewise.vocabulary.signal import Factors, Meaning, Scope, Signal

OUT = Path(__file__).resolve().parents[1] / "src" / "joulewise" / "grid" / "data" / "profiles.csv"
HEAD = """# Typical lifecycle and direct g CO2e/kWh (production) by month and hour in UTC, 2022; mean and middle 90 % of hours.
# Computed by bench/grid_profiles.py from hourly net generation by fuel of EIA form 930 (US public domain).
"""


def main() -> int:
    """Print how well the profiles fit another year; write them with --write."""
    data = Path(sys.argv[1])
    rows = []
    for path in sorted((data / "fuel_mix").glob("*.csv")):
        zone = path.stem.split("_")[0]
        made = {f: profile_of(computed(path, zone, f)) for f in (Factors.LIFECYCLE, Factors.DIRECT)}
        if any(p is None for p in made.values()):
            print(f"{zone}: not four weeks of fuel mix")
            return 1
        for month in range(1, 13):
            for hour in range(24):
                cells = [f"{v:.0f}" for f in made for v in made[f].cells[month, hour]]
                rows.append([zone, month, hour, *cells])
        judge(data, zone, made[Factors.LIFECYCLE])
    if "--write" in sys.argv:
        columns = [f"{f}_{end}" for f in ("lifecycle", "direct") for end in ("g_per_kwh", "low", "high")]
        with open(OUT, "w", encoding="utf-8", newline="") as file:
            file.write(HEAD)
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["zone", "month", "hour_utc", *columns])
            writer.writerows(rows)
        print(f"wrote {OUT.name}: {len(rows)} rows")
    return 0


def computed(path, zone, factors):
    """Return the hourly intensity of a fuel mix."""
    with open(path, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    fuels = [name for name in rows[0] if name.endswith("_mwh")]
    values = [
        intensity({f.removesuffix("_mwh"): float(row[f]) if row[f] else None for f in fuels}, factors)
        for row in rows
    ]
    start = datetime.fromisoformat(rows[0]["datetime_utc"])
    return Signal.of(
        zone, values, start, meaning=Meaning(factors=factors, scope=Scope.PRODUCTION), source="EIA-930"
    )


def judge(data, zone, profile):
    """Print how the profile fits the production intensities of another year."""
    paths = sorted((data / "forecasts").glob(f"{zone}_*.csv"))
    if not paths:
        return
    with open(paths[0], encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if int(r["lead_h"]) < 24]
    typical, actual, inside = [], [], 0
    for row in rows:
        when = datetime.fromisoformat(row["issued_utc"]).astimezone(UTC) + timedelta(hours=int(row["lead_h"]))
        value, low, high = aged(profile.cells[when.month, when.hour])
        typical.append(value)
        actual.append(float(row["actual_g_per_kwh"]))
        inside += low <= actual[-1] <= high
    mean_t, mean_a = sum(typical) / len(typical), sum(actual) / len(actual)
    both = sum((t - mean_t) * (a - mean_a) for t, a in zip(typical, actual, strict=True))
    r = both / (sum((t - mean_t) ** 2 for t in typical) * sum((a - mean_a) ** 2 for a in actual)) ** 0.5
    yearly = sum(abs(a - mean_t) for a in actual) / len(actual)
    error = sum(abs(t - a) for t, a in zip(typical, actual, strict=True)) / len(actual)
    print(
        f"{zone}: mean {mean_t:.0f} against {mean_a:.0f} g/kWh, correlation {r:.2f}, mean error {error:.0f} g "
        f"(a flat mean: {yearly:.0f} g), {100 * inside / len(actual):.0f} % of hours inside the interval"
    )


if __name__ == "__main__":
    raise SystemExit(main())
