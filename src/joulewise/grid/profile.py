"""The typical month by hour of a grid: what is expected of 15:00 UTC in June where nothing better is known.

Made from whatever history there is (`profile_of`); for California and Texas one is shipped, computed from the public
fuel mix of 2022 (EIA form 930) by bench/grid_profiles.py with the factors of mix.py. A month without history takes the hours
of all months. The interval is that of nine in ten hours of its month and hour, so it is wide, and meant to be; the
shipped one is wider by what a grid changes from one year to the next.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from math import exp, hypot, log

from joulewise.vocabulary.signal import HOUR_S, Factors, Meaning, Scope, Signal, SignalPoint, utc

_MIN_HOURS = (
    28 * 24
)  # four weeks: each hour of the day was seen in every kind of weather and on every weekday
_YEARLY_CHANGE = 1.645 * 0.15  # as catalogue.zones: 90 % of what a year's mean changes to the next
_SHIPPED_FOR = {"CISO": ("CISO", "US-CAL-CISO", "US-CA"), "ERCO": ("ERCO", "US-TEX-ERCO", "US-TX")}


@dataclass(frozen=True, slots=True)
class Profile:
    """Value, low and high by month (1 to 12) and hour of the day in UTC, with what they mean and where from."""

    zone: str
    meaning: Meaning
    cells: Mapping[tuple[int, int], tuple[float, float, float]]
    source: str

    def signal(self, start: datetime, end: datetime, issued: datetime | None = None) -> Signal:
        """Return the typical hours that touch the time from `start` to `end`, as an estimate issued at `issued` (start)."""
        start, end = utc(start), utc(end)
        issued = utc(issued or start)
        first = start.replace(minute=0, second=0, microsecond=0)
        count = -((first - end) // timedelta(seconds=HOUR_S))
        points = []
        for hour in range(max(0, count)):
            when = first + timedelta(seconds=HOUR_S * hour)
            value, low, high = self.cells[when.month, when.hour]
            points.append(SignalPoint(value, issued, True, low, high))
        return Signal(self.zone, self.meaning, first, HOUR_S, tuple(points), self.source)


def profile_of(past: Signal) -> Profile | None:
    """Return the typical month by hour of measured history; None where there are fewer than four weeks of it."""
    hourly = past.aligned(HOUR_S)
    by_cell: dict[tuple[int, int], list[float]] = {}
    by_hour: dict[int, list[float]] = {}
    for when, point in zip(hourly.times(), hourly.points, strict=True):
        if point.value is not None and not point.forecast:
            by_cell.setdefault((when.month, when.hour), []).append(point.value)
            by_hour.setdefault(when.hour, []).append(point.value)
    known = sum(len(values) for values in by_hour.values())
    if known < _MIN_HOURS or len(by_hour) < 24:
        return None
    cells = {}
    for month in range(1, 13):
        for hour in range(24):
            own = by_cell.get((month, hour), [])
            cells[month, hour] = _typical(own if len(own) >= 7 else by_hour[hour])
    months = len({month for month, _ in by_cell})
    told = f"typical month by hour from {known // 24} days of history ({months} of 12 months)"
    return Profile(past.zone, past.meaning, cells, f"{told}: {past.source}" if past.source else told)


def shipped(zone: str, factors: Factors = Factors.LIFECYCLE) -> Profile | None:
    """Return the shipped profile for a zone of California or Texas; None for every other."""
    for code, names in _SHIPPED_FOR.items():
        if zone.upper() in names:
            cells = {
                (int(row["month"]), int(row["hour_utc"])): aged(
                    (
                        float(row[f"{factors}_g_per_kwh"]),
                        float(row[f"{factors}_low"]),
                        float(row[f"{factors}_high"]),
                    )
                )
                for row in _rows()
                if row["zone"] == code
            }
            source = f"typical month by hour of {code} 2022, computed from EIA-930 fuel mix"
            return Profile(zone, Meaning(factors=factors, scope=Scope.PRODUCTION), cells, source)
    return None


def aged(ends: tuple[float, float, float]) -> tuple[float, float, float]:
    """Return value, low and high for another year than that of the values: the interval is a year's change wider."""
    value, low, high = ends
    if low <= 0:
        return value, 0.0, high * exp(_YEARLY_CHANGE)
    return (
        value,
        value * exp(-hypot(log(low / value), _YEARLY_CHANGE)),
        value * exp(hypot(log(high / value), _YEARLY_CHANGE)),
    )


@cache
def _rows() -> list[dict[str, str]]:
    text = (files("joulewise.grid") / "data" / "profiles.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


def _typical(values: list[float]) -> tuple[float, float, float]:
    """Return mean and the ends of the middle 90 % (widened to hold the mean)."""
    ordered = sorted(values)
    mean = sum(ordered) / len(ordered)
    cut = int(0.05 * len(ordered))
    return mean, min(mean, ordered[cut]), max(mean, ordered[-1 - cut])
