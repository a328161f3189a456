"""Charts as SVG text: down-sampling, axes, stacked steps and lines, made of numbers and nothing else.

A chart is as wide as its page: its picture is a nested `<svg>` of 1000 x 1000 units that stretches, and its text
stands outside of that at percentages, so that letters keep their size on a phone. Positions on both are shares of
the axis between 0 and 1; y grows upwards. No function here takes text from a recording.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, inf, isfinite, log10

from joulewise.vocabulary.quantities import format_duration, format_si

UNITS = 1000  # the width and height of a stretched picture
_CLOCK_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_NICE = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Bin:
    """What a series of rates did between two moments: its mean over that time, and its least and largest value.

    All three are None where nothing is known in the whole stretch; `known_s` is how much of it is known.
    """

    start_s: float
    end_s: float
    mean: float | None
    low: float | None
    high: float | None
    known_s: float


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: from `low` to `high`, with ticks (values) and their labels."""

    low: float
    high: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]

    def at(self, value: float) -> float:
        """Return where a value stands: 0 at the axis' low end, 1 at its high end, held between the two."""
        span = self.high - self.low
        return min(1.0, max(0.0, (value - self.low) / span)) if span > 0 else 0.0


def bin_edges(t_s: Sequence[float], most: int, least_s: float = 0.0) -> list[int]:
    """Return indices into `t_s`, first and last included, that cut it into at most `most` stretches.

    Stretches are of about equal time. They end only where a window of `least_s` ends, counted from the first
    moment as attribution counts it (a tick that is early by a tenth ends it, too).
    """
    if len(t_s) < 2:
        return list(range(len(t_s)))
    step = (t_s[-1] - t_s[0]) / most
    edges, window_s, due = [0], t_s[0], t_s[0] + step
    for at in range(1, len(t_s) - 1):
        if t_s[at] - window_s < least_s * 0.9:
            continue
        window_s = t_s[at]
        if t_s[at] >= due:
            edges.append(at)
            due = t_s[at] + step
    edges.append(len(t_s) - 1)
    return edges


def downsample(t_s: Sequence[float], rates: Sequence[float | None], edges: Sequence[int]) -> list[Bin]:
    """Return one bin for each stretch between two edges (`bin_edges`).

    `rates[i]` holds from `t_s[i]` to `t_s[i + 1]`. What is known keeps its integral: mean times `known_s`, summed,
    is the sum of the rates times their time; and no peak is lost, because every bin keeps its extremes.
    """
    bins = []
    for first, last in pairwise(edges):
        area = known_s = 0.0
        low, high = inf, -inf
        for at in range(first, last):
            rate = rates[at]
            if rate is not None:
                span_s = t_s[at + 1] - t_s[at]
                area += rate * span_s
                known_s += span_s
                low, high = min(low, rate), max(high, rate)
        known = known_s > 0
        mean = min(high, max(low, area / known_s)) if known else None
        bins.append(
            Bin(t_s[first], t_s[last], mean, low if known else None, high if known else None, known_s)
        )
    return bins


def thin(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """Return at most `most` of the points of a line: first and last, and the extremes of each stretch between.

    Points are in the order of x; `most` is at least 4. The least and the largest y of all stay in.
    """
    if len(points) <= most:
        return list(points)
    stretches = (most - 2) // 2
    inner = points[1:-1]
    kept = [points[0]]
    for number in range(stretches):
        part = inner[number * len(inner) // stretches : (number + 1) * len(inner) // stretches]
        if part:
            ends = {
                min(range(len(part)), key=lambda i: part[i][1]),
                max(range(len(part)), key=lambda i: part[i][1]),
            }
            kept += [part[i] for i in sorted(ends)]
    return [*kept, points[-1]]


def value_axis(low: float, high: float, label: Callable[[float, float], str], most: int = 4) -> Axis:
    """Return an axis with round ticks that holds `low` to `high`; `label` takes a tick and the step between ticks."""
    if not (isfinite(low) and isfinite(high)):
        low, high = 0.0, 1.0
    least = max(abs(low), abs(high)) * 1e-9  # below that, neighbouring ticks would be one number
    if high - low <= least:
        high = low + (least * 1e9 or 1.0)
    raw = (high - low) / most
    scale = 10.0 ** floor(log10(raw))
    step = next(n * scale for n in _NICE if n * scale >= raw * (1 - 1e-9))
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    ticks = tuple(n * step for n in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks, tuple(label(t, step) for t in ticks))


def time_axis(end_s: float, most: int = 6) -> Axis:
    """Return the axis of a run's time from 0 to `end_s`: ticks at whole seconds, minutes, hours or days."""
    if end_s <= 0 or not isfinite(end_s):
        return Axis(0.0, 1.0, (0.0,), ("0 s",))
    if end_s < _CLOCK_STEPS_S[0] * 2:
        step = next(
            n * 10.0 ** floor(log10(end_s / most))
            for n in _NICE
            if n * 10.0 ** floor(log10(end_s / most)) >= end_s / most
        )
    else:
        days = 86400.0 * max(1, ceil(end_s / most / 86400))
        step = next((float(s) for s in _CLOCK_STEPS_S if s >= end_s / most), days)
    ticks = tuple(n * step for n in range(floor(end_s / step * (1 + 1e-9)) + 1))
    return Axis(0.0, end_s, ticks, tuple(_clock(t, step) for t in ticks))


def watt_label(value: float, _step: float) -> str:
    """Return a tick of power: `150 W`, `1.5 kW`."""
    return _trimmed(format_si(value, "W", 3))


def joule_label(value: float, _step: float) -> str:
    """Return a tick of energy: `150 J`, `1.5 MJ`."""
    return _trimmed(format_si(value, "J", 3))


def number_label(value: float, step: float) -> str:
    """Return a tick of a plain number, with the digits that tell it from its neighbour."""
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.2g}"
    places = max(0, -floor(log10(step * (1 + 1e-9))))
    if round(step, places) != round(step, places + 1):
        places += 1
    return f"{value:.{places}f}"


def steps(bins: Sequence[tuple[float, float, float]]) -> str:
    """Return the path of filled steps from the ground: (left, right, height) as shares of the axes."""
    path: list[str] = []
    end = level = ""
    for left, right, height in bins:
        x, y = _x(left), _y(height)
        if x != end:
            path.append(f"{f'V{UNITS}Z' if path else ''}M{x} {UNITS}V{y}")
        elif y != level:
            path.append(f"V{y}")
        else:
            path.pop()  # the step before goes on
        end, level = _x(right), y
        path.append(f"H{end}")
    return "".join(path) + (f"V{UNITS}Z" if path else "")


def band(bins: Sequence[tuple[float, float, float, float]]) -> str:
    """Return the path of the area between two step lines: (left, right, low, high) as shares of the axes."""
    return "".join(f"M{_x(a)} {_y(lo)}V{_y(hi)}H{_x(b)}V{_y(lo)}Z" for a, b, lo, hi in bins if hi > lo)


def line(points: Sequence[tuple[float, float]]) -> str:
    """Return the path of a line through points at shares of the axes."""
    return "".join(f"{'L' if at else 'M'}{_x(x)} {_y(y)}" for at, (x, y) in enumerate(points))


def stretches(
    spans: Iterable[tuple[float, float]], end_s: float, most: int = 200
) -> list[tuple[float, float]]:
    """Return spans as (left, width) shares of a run's time, those closer than a part in `most` joined."""
    if end_s <= 0:
        return []
    gap = 1.0 / most
    joined: list[tuple[float, float]] = []
    for start_s, stop_s in sorted(spans):
        left, right = (min(1.0, max(0.0, t / end_s)) for t in (start_s, stop_s))
        if joined and left - joined[-1][1] < gap / 2:
            joined[-1] = (joined[-1][0], max(joined[-1][1], right))
        else:
            joined.append((left, right))
    return [(left, max(right - left, gap / 4)) for left, right in joined]


def _trimmed(text: str) -> str:
    """Return `20.0 W` as `20 W`: a tick is a round number."""
    number, _, unit = text.partition(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"


def _clock(seconds: float, step: float) -> str:
    if seconds == 0:
        return "0"
    if step < 1:
        return f"{seconds:.{-floor(log10(step * (1 + 1e-9)))}f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds % 86400 == 0:
        return f"{seconds / 86400:.0f} d"
    if step % 3600 == 0 and seconds < 86400:
        return f"{seconds / 3600:.0f} h"
    if step % 60 == 0 and seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return format_duration(seconds)


def _x(share: float) -> str:
    return _short(share * UNITS)


def _y(share: float) -> str:
    return _short((1 - share) * UNITS)


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
