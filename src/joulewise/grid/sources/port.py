"""What every source of grid signals can be asked, and the little arithmetic that they share.

A source that lacks something (marginal only, no prices, no forecast) answers None to it; a fault is a GridError.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Protocol

from joulewise.grid.mix import intensity
from joulewise.vocabulary.errors import GridError
from joulewise.vocabulary.signal import Factors, Meaning, Signal, SignalPoint

LARGEST_STEPS = 400_000  # four years of five minutes: more than any answer has


class Source(Protocol):
    """One service. `past` and `ahead` are of one meaning, so that they may be blended."""

    name: str
    step_s: int

    def covers(self, zone: str) -> bool:
        """Return whether the service knows the zone (without asking it)."""

    def past(self, zone: str, start: datetime, end: datetime) -> Signal | None:
        """Return the measured values from `start` to `end`, as far as they are known."""

    def ahead(self, zone: str) -> Signal | None:
        """Return the newest published forecast; None where the service has none."""

    def prices(self, zone: str, start: datetime, end: datetime) -> Signal | None:
        """Return the price of electricity; None where the service has none."""


def series(
    zone: str,
    meaning: Meaning,
    step_s: int,
    points: Mapping[datetime, SignalPoint],
    source: str,
    lag_s: int = 0,
) -> Signal | None:
    """Return points by their start as one signal, what is missing between them as gaps; None where there are none.

    Points that do not lie on the step are left out; of doubled ones the mapping held the last.
    """
    if not points:
        return None
    step = timedelta(seconds=step_s)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    kept = {when: p for when, p in points.items() if not (when - epoch) % step}
    if not kept:
        return None
    first, last = min(kept), max(kept)
    count = (last - first) // step + 1
    if count > LARGEST_STEPS:
        raise GridError(f"{source} answered times from {first:%Y-%m-%d} to {last:%Y-%m-%d}")
    gap = SignalPoint(None)
    return Signal(
        zone,
        meaning,
        first,
        step_s,
        tuple(kept.get(first + n * step, gap) for n in range(count)),
        source,
        lag_s,
    )


def usual_step_s(times: Iterable[datetime], otherwise_s: int) -> int:
    """Return the most usual distance between neighbouring times, in seconds."""
    ordered = sorted(times)
    steps = Counter(int((b - a).total_seconds()) for a, b in pairwise(ordered))
    return steps.most_common(1)[0][0] if steps else otherwise_s


def from_mix(
    mixes: Mapping[datetime, Mapping[str, float | None]], factors: Factors
) -> dict[datetime, SignalPoint]:
    """Return the intensity of every hour's fuel mix.

    An hour in which a fuel is missing that makes 2 % or more of the whole answer is a gap: services publish
    fuel by fuel, and a mix without its coal would look clean.
    """
    sums: Counter[str] = Counter()
    for mix in mixes.values():
        for fuel, energy in mix.items():
            sums[fuel] += max(0, energy or 0)  # type: ignore[assignment] # a Counter adds floats as well
    whole = sum(sums.values())
    needed = {fuel for fuel, energy in sums.items() if energy >= 0.02 * whole}
    return {
        when: SignalPoint(intensity(mix, factors) if all(mix.get(f) is not None for f in needed) else None)
        for when, mix in mixes.items()
    }


def moment(service: str, told: Any) -> datetime:
    """Return a time that a service told, in UTC; without an offset it is UTC (all of them say so)."""
    try:
        when = datetime.fromisoformat(str(told))
    except ValueError as error:
        raise GridError(f"{service} answered {str(told)[:40]!r} where a time belongs") from error
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def number(service: str, told: Any) -> float | None:
    """Return a number that a service told; null is a gap."""
    if told is None or told == "":
        return None
    try:
        value = float(told)
    except (TypeError, ValueError) as error:
        raise GridError(f"{service} answered {str(told)[:40]!r} where a number belongs") from error
    return value if abs(value) < float("inf") else None


def rows(service: str, told: Any, *path: str) -> list[Mapping[str, Any]]:
    """Return the list of objects under `path` in an answer; raise GridError where the answer has another shape."""
    for key in path:
        told = told.get(key) if isinstance(told, Mapping) else None
    if not isinstance(told, list) or not all(isinstance(row, Mapping) for row in told):
        raise GridError(
            f"{service} answered in a shape that is not its documented one ({'.'.join(path) or 'a list'})"
        )
    return told


def ended(end: datetime, now: datetime, step_s: int) -> datetime:
    """Return `end`, but no later than the last full step before now: so that a question is the same all through a step."""
    return min(end, now - timedelta(seconds=now.timestamp() % step_s))


def chunks(start: datetime, end: datetime, days: int) -> Iterable[tuple[datetime, datetime]]:
    """Yield stretches of at most `days` days from `start` to `end`, in order."""
    while start < end:
        stop = min(end, start + timedelta(days=days))
        yield start, stop
        start = stop
