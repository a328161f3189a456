"""What a cap that follows the grid saves and costs: `python bench/throttle.py DIR`, DIR laid out as the carbon data.

Half a year of jobs that nobody knows anything about (Poisson arrivals, 10 minutes to 12 hours, 30 % load on 16 units), served first
come, first served: with all units, and with the units that `throttle` lets run. The cap sees the past only: lowest and highest
are those of the last 48 hours. Grams are of running units by the actual hours; the wait is what the cap adds per job.
"""

from __future__ import annotations

import random
import sys
from collections import deque
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from math import exp
from pathlib import Path

from joulewise.grid.history import read_file
from joulewise.scheduling.throttle import throttle

UNITS, LOAD, DAYS, WARM_H = 16, 0.3, 180, 48
ZONES = ("DE", "GB", "US-CAL-CISO", "AU-NSW")


def jobs(seed: int) -> list[tuple[float, float]]:
    """Return (arrival, length) in hours over the days."""
    chance, came, at = random.Random(seed), [], float(WARM_H)
    lengths = [min(12.0, max(1 / 6, exp(chance.gauss(0.0, 1.0)))) for _ in range(100_000)]
    mean = sum(lengths) / len(lengths)
    for length in lengths:
        at += chance.expovariate(LOAD * UNITS / mean)
        if at > DAYS * 24 - 72:
            break
        came.append((at, length))
    return came


def serve(came: list[tuple[float, float]], values: list[float], least: int | None) -> tuple[float, float]:
    """Return grams per unit and kW, and the mean wait in hours; `least` None: no cap."""
    ends: list[float] = []
    grams = wait = 0.0
    now, waiting, at = 0.0, deque(), 0
    while at < len(came) or waiting:
        hour = int(now)
        cap = UNITS
        if least is not None:
            past = values[max(0, hour - WARM_H) : hour + 1] or values[-WARM_H:]
            cap = throttle(values[hour % len(values)], min(past), max(past), UNITS, least).units
        while ends and ends[0] <= now:
            heappop(ends)
        while at < len(came) and came[at][0] <= now:
            waiting.append(came[at])
            at += 1
        while waiting and len(ends) < cap:
            came_at, length = waiting.popleft()
            wait += now - came_at
            heappush(ends, now + length)
            grams += _between(values, now, now + length)
        upcoming = [hour + 1.0]
        upcoming += [came[at][0]] if at < len(came) else []
        upcoming += [ends[0]] if ends and waiting else []
        now = max(now + 1e-9, min(upcoming))
    return grams, wait / len(came)


def _between(values: list[float], start: float, end: float) -> float:
    total, at = 0.0, start
    while at < end:
        until = min(end, int(at) + 1.0)
        total += (until - at) * values[int(at) % len(values)]
        at = until
    return total


def main() -> None:
    folder = Path(sys.argv[1]) / "hourly"
    came = jobs(1)
    print(
        f"{len(came)} jobs on {UNITS} units at {LOAD:.0%} load over half a year; saved grams (mean wait added)"
    )
    print(f"{'zone':<13} {'least 25 %':>18} {'least 12.5 %':>18} {'least 0':>18}")
    begin = datetime(2023, 1, 1, tzinfo=UTC)
    for zone in ZONES:
        found = sorted(folder.glob(f"{zone}_*.csv"))
        if not found:
            continue
        signal = read_file(found[0], zone).between(begin, begin + timedelta(days=DAYS))
        values = [v if v is not None else 0.0 for v in signal.values]
        plain, waited = serve(came, values, None)
        cells = []
        for share in (0.25, 0.125, 0.0):
            grams, wait = serve(came, values, round(share * UNITS))
            cells.append(f"{1 - grams / plain:8.1%} ({wait - waited:5.2f} h)")
        print(f"{zone:<13} {cells[0]:>18} {cells[1]:>18} {cells[2]:>18}", flush=True)


if __name__ == "__main__":
    main()
