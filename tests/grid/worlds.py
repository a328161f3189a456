"""Made-up grids with a known truth, for the tests of this room."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import cos, pi
from random import Random

from joulewise.vocabulary.signal import Meaning, Signal

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def weather(days, seed=0):
    """Return hourly intensities: a daily swing of the sun, and wind that comes and goes over days."""
    draw = Random(seed)
    drift, values = 0.0, []
    for hour in range(days * 24):
        drift = 0.97 * drift + draw.gauss(0, 20)
        values.append(max(20.0, 400 - 60 * cos(2 * pi * (hour - 13) / 24) + drift + draw.gauss(0, 5)))
    return values


def sunny(hours, start=START, zone="DE", **others):
    """Return a measured signal that repeats itself every day exactly: cleanest at 13:00 UTC."""
    values = [400 - 100 * cos(2 * pi * ((start + h * HOUR).hour - 13) / 24) for h in range(hours)]
    return Signal.of(zone, values, start, **others)


def signal(values, start=START, zone="DE", meaning=None, **others):
    """Return a measured hourly signal of bare values."""
    return Signal.of(
        zone,
        [None if v is None or v != v else float(v) for v in values],
        start,
        meaning=meaning or Meaning(),
        **others,
    )
