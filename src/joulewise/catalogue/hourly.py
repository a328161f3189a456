"""The intensity of a run by the hours in which it used its joules, where a signal of that time is at hand.

    mean intensity = sum(joules in an hour x the hour's g/kWh) / sum(joules in hours that are known)

**How wrong is an hourly value?** Two honest methods differ. Measured on 2022: the lifecycle intensity that Electricity Maps
gives for California and Texas (as consumed), hour by hour over the one that the public fuel mix and the factors of
IPCC give (as produced, grid/mix.py): 5 % and 95 % of 17,500 hours lie at 0.90 and 1.24. Whichever of two such methods
a value is by, the other is within a factor of 1.24, so that is its interval; a point with an interval of its own (a
forecast, a typical hour) keeps the wider one. A yearly mean's interval is 0.36 to 1.67.

Basis MODELLED: nobody measures intensity, a provider computes it; ASSUMED where more than half of it was estimated
by the provider or comes from a typical profile or a forecast.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from joulewise.vocabulary.figures import Basis, Figure
from joulewise.vocabulary.signal import Kind, Signal

_METHODS = 1.24  # the factor between two methods: see above


def mean_intensity(
    signal: Signal, started: datetime, duration_s: float, series: Sequence[tuple[float, float]] | None = None
) -> tuple[Figure, float] | None:
    """Return g CO2e/kWh over a run weighed by its joules, and the share of them in hours that are known (0 to 1).

    `series` holds seconds since the start and the joules used until then; without it the joules count as spread
    evenly. None where no hour is known, or where the signal is no average intensity.
    """
    if signal.meaning.kind is not Kind.AVERAGE:
        return None
    started = started.astimezone(UTC)
    duration_s = max(duration_s, 1e-3)  # a run without length is in the hour of its moment
    end = started + timedelta(seconds=duration_s)
    grows = bool(series) and series is not None and series[-1][1] > series[0][1]
    points = list(series) if grows and series is not None else [(0.0, 0.0), (duration_s, duration_s)]
    times = [t for t, _ in points]
    part, step = signal.between(started, end), timedelta(seconds=signal.step_s)
    known_j = value = low = high = guessed_j = 0.0
    for begin, point in zip(part.times(), part.points, strict=True):
        if point.value is None:
            continue
        first_s = (max(begin, started) - started).total_seconds()
        last_s = (min(begin + step, end) - started).total_seconds()
        used_j = joules_until(points, times, last_s) - joules_until(points, times, first_s)
        known_j += used_j
        guessed_j += used_j if point.estimated or point.forecast else 0.0
        value += used_j * point.value
        low += used_j * min(point.value / _METHODS, point.value if point.low is None else point.low)
        high += used_j * max(point.value * _METHODS, point.value if point.high is None else point.high)
    whole_j = joules_until(points, times, duration_s) - joules_until(points, times, 0.0)
    if known_j <= 0 or whole_j <= 0:
        return None
    basis = Basis.ASSUMED if guessed_j > known_j / 2 else Basis.MODELLED
    source = f"{signal.source or 'hourly intensity'} ({signal.meaning.factors}, {signal.meaning.scope}, by the hour)"
    return Figure(value / known_j, low / known_j, high / known_j, basis, source), min(1.0, known_j / whole_j)


def joules_until(points: Sequence[tuple[float, float]], times: Sequence[float], t_s: float) -> float:
    """Return the joules used until `t_s`, linear between the points and constant beyond them."""
    index = bisect_right(times, t_s)
    if index == 0:
        return points[0][1]
    if index == len(points):
        return points[-1][1]
    (t0, j0), (t1, j1) = points[index - 1], points[index]
    return j0 + (j1 - j0) * (t_s - t0) / (t1 - t0)
