"""Which variant answers: a pure decision over what each is worth and costs, with hysteresis.

Usually the cheapest variant that is worth at least `wanted` and meets the latency target. In a tight hour (the grid is dirty,
or more of the budget is spent than its share of the day) the cheapest that is worth at least `floor`: down to the floor,
never below (INFaaS's choice of variants, Clover's switching with the carbon intensity).

A switch must save at least `gain` of the joules, or be needed for the quality wanted, and comes at most every `hold_s`
seconds, so that a price which hovers about a line does not make the server swing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from joulewise.serving.batching import Line

_BAND = 0.1  # a tight hour ends when the intensity is this share below the line that it began at


@dataclass(frozen=True, slots=True)
class Option:
    """A variant as the decision sees it. None is unknown."""

    name: str
    quality: float | None = None  # the larger the better
    joules: Mapping[int, float] = field(default_factory=dict)  # of one request, by the size of its batch
    seconds: Mapping[int, float] = field(default_factory=dict)  # of a whole batch, by its size
    device: str = "cpu"

    def joules_at(self, rows: float) -> float | None:
        """Return the joules of one request in a batch of so many rows, by the line J(n) = a n + b through what was measured."""
        line = line_through({n: n * each for n, each in self.joules.items()})
        return None if line is None else line.at(rows) / rows

    def seconds_at(self, rows: float) -> float | None:
        """Return the seconds of a batch of so many rows."""
        line = line_through(self.seconds)
        return None if line is None else line.at(rows)


@dataclass(frozen=True, slots=True)
class Policy:
    """What the user wants of the choice; None asks for nothing."""

    wanted: float | None = None  # quality in usual hours
    floor: float | None = None  # quality in tight hours; without `wanted`, in all
    latency_target_s: float = inf
    dirty_g_per_kwh: float = inf  # above it an hour is tight
    budget_j_per_day: float = inf
    gain: float = 0.1
    hold_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Hour:
    """The circumstances of a decision."""

    rows: float = 1.0  # of the batches now
    g_per_kwh: float | None = None
    spent_j: float = 0.0  # since this day of serving began
    day_share: float = 0.0  # of it that has passed
    held_s: float = inf  # since the last switch
    tight: bool = False  # whether it was tight at the last look


@dataclass(frozen=True, slots=True)
class Choice:
    """The variant that answers from now on, why, and whether the hour is tight."""

    name: str
    why: str
    tight: bool = False


def line_through(points: Mapping[int, float]) -> Line | None:
    """Return the least-squares line through costs by size, with a, b >= 0; None without a point."""
    if not points:
        return None
    mean_n, mean_y = sum(points) / len(points), sum(points.values()) / len(points)
    spread = sum((n - mean_n) ** 2 for n in points)
    if spread == 0:
        return Line(mean_y / mean_n, 0.0, fitted=False)
    a = sum((n - mean_n) * (y - mean_y) for n, y in points.items()) / spread
    if a < 0:
        return Line(0.0, mean_y)
    b = mean_y - a * mean_n
    return (
        Line(a, b)
        if b >= 0
        else Line(sum(n * y for n, y in points.items()) / sum(n * n for n in points), 0.0)
    )


def tightness(policy: Policy, hour: Hour) -> str:
    """Return why the hour is tight, "" if it is not."""
    dirty = policy.dirty_g_per_kwh * (1 - _BAND if hour.tight else 1)
    if hour.g_per_kwh is not None and hour.g_per_kwh > dirty:
        return f"{hour.g_per_kwh:.0f} g/kWh are above {policy.dirty_g_per_kwh:.0f}"
    if hour.spent_j > policy.budget_j_per_day * hour.day_share:
        return f"{hour.spent_j:.3g} J of {policy.budget_j_per_day:.3g} J a day are spent"
    return ""


def choose(options: Sequence[Option], policy: Policy, hour: Hour, current: str) -> Choice:
    """Return which variant answers. `current` stays unless another is needed, or saves enough and long enough after.

    `options` has at least one; the first is taken where nothing else tells them apart.
    """
    tight = tightness(policy, hour)
    floor = policy.floor if policy.floor is not None else -inf
    need = floor if tight or policy.wanted is None else max(policy.wanted, floor)
    worthy = [one for one in options if _worth(one) >= need] or [max(options, key=_worth)]
    quick = [one for one in worthy if (one.seconds_at(1) or 0.0) <= policy.latency_target_s]
    fitting = quick or [min(worthy, key=lambda one: one.seconds_at(1) or inf)]
    best = min(fitting, key=lambda one: _joules(one, hour.rows))
    now = next((one for one in options if one.name == current), None)
    why = tight or "usual"
    if now is None or best.name == current:
        return Choice(best.name, why, bool(tight))
    if _worth(now) < floor:
        return Choice(best.name, f"{current} is below the floor of {floor:g}", bool(tight))
    if hour.held_s < policy.hold_s:
        return Choice(current, f"{why}; switched {hour.held_s:.0f} s ago", bool(tight))
    if now not in fitting:
        need_why = "is not worth enough" if now not in worthy else "is too slow"
        return Choice(best.name, f"{why}: {current} {need_why}", bool(tight))
    saving = 1 - _joules(best, hour.rows) / _joules(now, hour.rows) if _joules(now, hour.rows) < inf else 0.0
    if saving < policy.gain:
        return Choice(current, f"{why}; {best.name} would save {100 * saving:.0f} % only", bool(tight))
    return Choice(best.name, f"{why}: it saves {100 * saving:.0f} % of the joules", bool(tight))


def _worth(one: Option) -> float:
    return -inf if one.quality is None else one.quality


def _joules(one: Option, rows: float) -> float:
    told = one.joules_at(max(1.0, rows))
    return inf if told is None else told
