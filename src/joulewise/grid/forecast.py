"""A forecast of our own: published forecast, yesterday, last week and calendar in one, for the hours from now on.

`forecast()` is a pure function of what was known at `now`; it drops the rest itself, so a replay may hand in
everything. Where numpy is installed (`pip install 'joulewise[schedule]'`) the weights are learnt (learning.py);
without it the untuned blend is used and said:

    (2 x published + yesterday + mean of the last seven days at that hour) / 4, half of the last error carried on

Intervals are the forecast's own errors of the last weeks, by hours ahead: nine of ten hours lay inside. Where fewer
than twenty errors are known, grams get the arms that published forecasts of four grids had (California, Germany, Texas,
Sweden, second half of 2021): 0.85 to 1.13 of the value within a day, 0.70 to 1.34 beyond.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import isnan, nan
from typing import TYPE_CHECKING

from joulewise.vocabulary.signal import HOUR_S, Kind, Signal, SignalPoint, require_like, utc

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_HOUR = timedelta(hours=1)
_DAY_H = 24
_LEARN_FROM_H = 120 * _DAY_H  # older hours would change the weights by less than their rounding
_MIN_HISTORY_H = 24
_USUAL_ARMS = (0.85, 1.13), (0.70, 1.34)  # within a day, and beyond: see above
_ERRORS_FROM_H = 14 * _DAY_H
LEARNT, UNTUNED, PUBLISHED = "learnt blend", "untuned blend", "published forecast"


@dataclass(frozen=True, slots=True)
class Forecast:
    """Hourly values from the hour that holds `now`, how they were made, and each member's weight (they add up to 1).

    `kept` is the share of what such forecasts promised of late that came true (1 where nobody could count it).
    """

    signal: Signal
    method: str
    weights: Mapping[str, float] = field(default_factory=dict)
    history_h: int = 0
    kept: float = 1.0


def forecast(
    past: Signal | None, now: datetime, hours: int, published: Iterable[Signal] = ()
) -> Forecast | None:
    """Return the forecast for `hours` hours from the hour of `now`; None where too little is known for any.

    `past` holds measured values, `published` a service's forecasts, each as it was issued; all of one meaning and zone.
    Points are issued at `now` and have low and high where errors of the past tell them.
    """
    now = utc(now)
    origin_utc = now.replace(minute=0, second=0, microsecond=0)
    issues = [s.known_at(now) for s in published]
    require_like([*([past] if past else []), *issues])
    hourly = [_hourly(s) for s in issues]
    hourly = sorted((s for s in hourly if s.points), key=_issued)
    known = _hourly(past).known_at(now) if past else None
    if known is not None:
        known = known.between(origin_utc - _LEARN_FROM_H * _HOUR, origin_utc)
    history = _values(known, origin_utc) if known is not None and known.points else []
    if len(history) < _MIN_HISTORY_H and not hourly:
        return None
    template = hourly[-1] if hourly else known
    if template is None:
        return None
    source = "; ".join(
        dict.fromkeys(s.source for s in (*hourly[-1:], *([known] if history and known else [])) if s.source)
    )
    values, low, high, method, weights, kept = _made(history, origin_utc, hours, hourly)
    # a price may be below zero, grams may not
    floor = None if template.meaning.kind is Kind.PRICE else 0.0
    points = tuple(
        _point(v, lo, hi, now, floor, h) for h, (v, lo, hi) in enumerate(zip(values, low, high, strict=True))
    )
    signal = replace(
        template,
        start_utc=origin_utc,
        step_s=HOUR_S,
        points=points,
        source=f"{method}: {source}" if source else method,
    )
    return Forecast(signal, method, weights, len(history), kept)


_Series = Sequence[float]


def _made(
    history: list[float], origin_utc: datetime, hours: int, issues: list[Signal]
) -> tuple[_Series, _Series, _Series, str, dict[str, float], float]:
    """Return values, arms below and above, the method's name, the members' weights, and the share kept of late."""
    if len(history) < _MIN_HISTORY_H:
        row = _published_rows(issues, origin_utc, 0, hours)[-1]
        return row, [nan] * hours, [nan] * hours, PUBLISHED, {PUBLISHED: 1.0}, 1.0
    try:
        import numpy as np
    except ImportError:
        return *_untuned(history, origin_utc, hours, issues), 1.0
    from joulewise.grid.learning import blend, intervals, kept

    actual = np.array(history, dtype=np.float64)
    rows: NDArray[np.float64] | None = None
    if issues:
        rows = np.array(_published_rows(issues, origin_utc, len(history), hours), dtype=np.float64)
    blended = blend(actual, rows, hours)
    below, above = intervals(actual, blended.values)
    return (
        blended.values[-1].tolist(),
        below.tolist(),
        above.tolist(),
        LEARNT,
        blended.weights_at(len(history)),
        kept(actual, blended.values),
    )


def _published_rows(
    issues: list[Signal], origin_utc: datetime, history_h: int, hours: int
) -> list[list[float]]:
    """Return for every hour of history, and for now, what the newest forecast issued by then says of the hours ahead."""
    issued = [_issued(s) for s in issues]
    rows = []
    for back in range(history_h, -1, -1):
        when = origin_utc - back * _HOUR
        number = bisect_right(issued, when if back else issued[-1])
        row = [nan] * hours
        if number:
            issue = issues[number - 1]
            shift = (when - issue.start_utc) // _HOUR
            for h in range(max(0, -shift), min(hours, len(issue.points) - shift)):
                value = issue.points[shift + h].value
                row[h] = nan if value is None else value
        rows.append(row)
    return rows


def _untuned(
    history: list[float], origin_utc: datetime, hours: int, issues: list[Signal]
) -> tuple[_Series, _Series, _Series, str, dict[str, float]]:
    """Return the untuned blend and the spread of its own errors over the last fortnight (no numpy)."""
    filled = _filled(history)
    rows = _published_rows(issues, origin_utc, len(history), hours) if issues else None
    now = len(filled)
    made = {
        t: _blend_at(filled, rows, t, hours) for t in (*range(max(_DAY_H, now - _ERRORS_FROM_H), now, 3), now)
    }
    low, high = [], []
    for h in range(hours):
        errors = sorted(
            history[t + g] - row[g]
            for t, row in made.items()
            for g in (h - 1, h, h + 1)
            if 0 <= g < hours and t + g < now and not isnan(history[t + g])
        )
        enough = len(errors) >= 20
        low.append(min(0.0, errors[int(0.04 * len(errors))]) if enough else nan)
        high.append(max(0.0, errors[-1 - int(0.04 * len(errors))]) if enough else nan)
    weights = (
        {"published": 0.5, "yesterday": 0.25, "week": 0.25} if issues else {"yesterday": 0.5, "week": 0.5}
    )
    return made[now], low, high, UNTUNED, weights


def _blend_at(filled: list[float], rows: list[list[float]] | None, t: int, hours: int) -> list[float]:
    """Return the untuned blend as hour `t` would have made it from the values before it."""

    def look(h: int, at: int) -> float:
        same = range(at + h - _DAY_H * (h // _DAY_H + 1), -1, -_DAY_H)[:7]
        yesterday = filled[same[0]] if same else filled[at - 1]
        week = sum(filled[i] for i in same) / len(same) if same else yesterday
        told = rows[at][h] if rows is not None else nan
        return (yesterday + week) / 2 if isnan(told) else (2 * told + yesterday + week) / 4

    error = filled[t - 1] - look(0, t - 1) if t > _DAY_H else 0.0
    return [look(h, t) + error * 0.5 * 0.85 ** (h + 1) for h in range(hours)]


def _filled(history: list[float]) -> list[float]:
    filled: list[float] = []
    for t, value in enumerate(history):
        before = filled[t - _DAY_H] if t >= _DAY_H else filled[-1] if filled else 0.0
        filled.append(before if isnan(value) else value)
    return filled


def _values(known: Signal, origin_utc: datetime) -> list[float]:
    """Return the hourly values up to `origin_utc` from the first known one; gaps, also those at the end, are NaN."""
    values = [nan if v is None else v for v in known.values]
    values += [nan] * ((origin_utc - known.end_utc) // _HOUR)
    while values and isnan(values[0]):
        values.pop(0)
    return values


def _hourly(signal: Signal) -> Signal:
    """Return the signal in hours; a first or last hour that is only partly told is taken from its parts."""
    if signal.step_s >= HOUR_S or not signal.points or not any(p.forecast for p in signal.points):
        return signal.aligned(HOUR_S)
    step = timedelta(seconds=signal.step_s)
    before = (signal.start_utc - signal.start_utc.replace(minute=0, second=0, microsecond=0)) // step
    after = -(before + len(signal.points)) % (HOUR_S // signal.step_s)
    points = (signal.points[0],) * before + signal.points + (signal.points[-1],) * after
    return replace(signal, start_utc=signal.start_utc - before * step, points=points).aligned(HOUR_S)


def _issued(signal: Signal) -> datetime:
    return max((p.issued_utc for p in signal.points if p.issued_utc), default=signal.start_utc)


def _point(
    value: float, low: float, high: float, now: datetime, floor: float | None, ahead_h: int
) -> SignalPoint:
    if isnan(value):  # nothing is known of this hour
        return SignalPoint(None, now)
    if isnan(low) or isnan(high):  # too few errors are known
        if floor is None:
            return SignalPoint(value, now)
        below, above = _USUAL_ARMS[ahead_h >= _DAY_H]
        return SignalPoint(
            max(floor, value), now, low=max(floor, value * below), high=max(floor, value * above)
        )
    ends = (value, value + low, value + high)
    mid, lower, upper = ends if floor is None else tuple(max(floor, e) for e in ends)
    return SignalPoint(mid, now, low=lower, high=upper)
