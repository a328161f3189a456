"""How many replicas: a pure decision from the traffic so far, its forecast, and what a replica can answer.

    now       the rate of the last seconds, its rise until a new replica is ready, and room for chance
    coming    the same minutes of past days, brought to today's level: replicas wake before the rise, not after the queue
    backlog   what waits already, to be worked off within the latency target
    down      at once up, but down only to the most that was needed within `hold_s`: as long as standing by costs what
              waking costs (`sleeping.py`)

Rooms for chance: arrivals in a window of T seconds spread by the root of their number, so capacity of rate + z sqrt(rate / T)
keeps a share of windows within T that z says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, sqrt
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from joulewise.serving.app import Service

DAY_MIN = 1440
_RECENT_S = 5  # over which the rate of now is taken
_LEVEL_MIN = 10  # over which today is compared with other days
_FURTHEST = 3.0  # today is at most so many times another day, or a part of it
_DAYS = 14
_MINUTES_KEPT = _DAYS * DAY_MIN
_BUSY = 0.8  # of what the fitted line promises: a queue needs room


@dataclass(frozen=True, slots=True)
class Replica:
    """What one replica can do, and what it takes to have one more."""

    per_s: float  # requests a second, within the latency target
    wake_s: float = 1.0  # until a new one answers


@dataclass(frozen=True, slots=True)
class Scaling:
    """Bounds of the decision."""

    least: int = 0
    most: int = 64
    target_s: float = 0.5  # latency
    step_s: float = 2.0  # between decisions
    hold_s: float = 12.0
    z: float = 1.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """What came: requests of each past second (newest last, a minute is enough) and of each past minute, and what waits."""

    seconds: Sequence[float]
    minutes: Sequence[float] = ()
    backlog: float = 0.0


@dataclass(frozen=True, slots=True)
class Scale:
    """So many replicas from now on, why, and what was needed (without the hold)."""

    replicas: int
    why: str
    needed: int


def rise_by_history(minutes: Sequence[float], ahead_s: float) -> float:
    """Return by how many requests a second the traffic will rise within `ahead_s`, as past days have it at today's level.

    The median of the same minutes on up to fourteen days, times how the last ten minutes compare with theirs: at most 3,
    at least a third. 0 without a day of history, or where traffic falls.
    """
    days = min(_DAYS, len(minutes) // DAY_MIN)
    if days < 1:
        return 0.0
    at = len(minutes)

    def usual(minute: int) -> float:
        """Return the usual requests of a minute (an index beyond the end is the future)."""
        past = [
            minutes[minute - day * DAY_MIN] for day in range(1, days + 1) if 0 <= minute - day * DAY_MIN < at
        ]
        return median(past) if past else 0.0

    was = sum(minutes[-_LEVEL_MIN:])
    would = sum(usual(minute) for minute in range(at - _LEVEL_MIN, at))
    level = 1.0 if would <= 0 else min(_FURTHEST, max(1 / _FURTHEST, was / would))
    now, then = (sum(usual(m + k) for k in range(-1, 2)) / 3 for m in (at, at + ceil(ahead_s / 60)))
    return max(0.0, level * (then - now) / 60 * min(1.0, ahead_s / 60))


def scale(traffic: Traffic, replica: Replica, scaling: Scaling, needed_before: Sequence[int] = ()) -> Scale:
    """Return how many replicas from now on. `needed_before` are the needs of the decisions within the last `hold_s`."""
    recent = traffic.seconds[-_RECENT_S:]
    rate = sum(recent) / len(recent) if recent else 0.0
    before = traffic.seconds[-2 * _RECENT_S : -_RECENT_S]
    ahead_s = replica.wake_s + scaling.step_s + _RECENT_S / 2
    rise = (rate - sum(before) / len(before)) / _RECENT_S if before else 0.0
    chance = sqrt(2 * rate / _RECENT_S) / _RECENT_S  # a rise within chance is none
    seen, usual = max(0.0, rise - chance) * ahead_s, rise_by_history(traffic.minutes, ahead_s)
    why = "the last seconds" if seen >= usual else "the same minutes of past days"
    demand = rate + max(seen, usual)
    room = scaling.z * sqrt(demand / scaling.target_s) if demand > 0 else 0.0
    backlog = traffic.backlog / max(scaling.target_s, scaling.step_s)
    needed = ceil((demand + room + backlog) / replica.per_s - 1e-9)
    if backlog > demand:
        why = "what waits"
    needed = min(max(needed, scaling.least), scaling.most)
    held = max((needed, *needed_before))
    return Scale(held, why if held == needed else f"held for {scaling.hold_s:g} s", needed)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a trace would have cost: replica-seconds, those of an oracle, minutes, and those within the latency target."""

    replica_s: float
    oracle_s: float
    minutes: int
    within: int
    wakes: int


def replay(
    arrivals: Sequence[float], replica: Replica, scaling: Scaling, minutes: Sequence[float] = ()
) -> Replayed:
    """Return what the decisions would have done on arrivals by the second, after past `minutes`.

    Requests are a fluid: those of a second wait until what is before them is answered. A minute is within the target if no
    request of it waits longer. The oracle knows each minute beforehand and keeps the fewest replicas that hold the target in it.
    """
    past, backlog, wakes = list(minutes), 0.0, 0
    waking: list[float] = []  # when each of the replicas that wake will be ready
    ready, used_s = 0, 0.0
    needs: list[tuple[int, int]] = []
    late: set[int] = set()
    for second in range(len(arrivals)):
        if second % 60 == 0 and second:
            past.append(sum(arrivals[second - 60 : second]))
        if second % int(scaling.step_s) == 0:
            seen = arrivals[max(0, second - 60) : second]
            kept = [need for at, need in needs if second - at <= scaling.hold_s]
            told = scale(Traffic(seen, past, backlog), replica, scaling, kept)
            needs = [(at, need) for at, need in needs if second - at <= scaling.hold_s] + [
                (second, told.needed)
            ]
            more = told.replicas - ready - len(waking)
            if more > 0:
                waking += [second + replica.wake_s] * more
                wakes += more
            elif more < 0:
                dropped = min(-more, len(waking))
                del waking[len(waking) - dropped :]
                ready -= -more - dropped
        ready += sum(at <= second for at in waking)
        waking = [at for at in waking if at > second]
        used_s += ready + len(waking)
        backlog = max(0.0, backlog + arrivals[second] - ready * replica.per_s)
        if backlog > scaling.target_s * ready * replica.per_s:
            late.add(second // 60)
    count = ceil(len(arrivals) / 60)
    best = sum(fewest(arrivals[60 * k : 60 * k + 60], replica, scaling) for k in range(count))
    return Replayed(used_s, 60.0 * best, count, count - len(late), wakes)


def fewest(arrivals: Sequence[float], replica: Replica, scaling: Scaling) -> int:
    """Return the fewest replicas that, kept for all of these seconds, hold the latency target."""
    for replicas in range(1 if any(arrivals) else 0, scaling.most + 1):
        backlog, rate = 0.0, replicas * replica.per_s
        for came in arrivals:
            backlog = max(0.0, backlog + came - rate)
            if backlog > scaling.target_s * rate:
                break
        else:
            return replicas
    return scaling.most


def per_s(service: Service) -> float:
    """Return how many requests a second this replica can answer, by the fitted lines of its models; 0 is not known."""
    best = 0.0
    for endpoint in service.endpoints.values():
        engine = endpoint.hosted[endpoint.default].engine
        line = None if engine is None else engine.seconds_line
        if engine is not None and line is not None and line.at(engine.most) > 0:
            best = max(best, _BUSY * engine.most / line.at(engine.most))
    return best


def watched(
    state: Mapping[str, Any], now_s: float, totals: Mapping[str, float], queued: float
) -> tuple[dict[str, Any], Traffic]:
    """Return the state with what came since the last call, and the traffic so far. Pure.

    `totals` are the requests of each replica since it began; one that has gone takes nothing away.
    """
    last: Mapping[str, float] = state.get("last", {})
    came = state.get("came", 0.0) + sum(
        max(0.0, total - last.get(name, 0.0)) for name, total in totals.items()
    )
    seconds, minutes = list(state.get("seconds", [])), list(state.get("minutes", []))
    minute, second = state.get("minute", 0.0), state.get("second", now_s)
    while now_s - second >= 1.0:
        passed = max(1.0, now_s - second)
        seconds.append(came / passed)  # what came over a longer pause is spread over it
        minute, second = minute + came / passed, second + 1.0
        came -= came / passed
        state_seconds = int(state.get("count", 0)) + 1
        state = {**state, "count": state_seconds}
        if state_seconds % 60 == 0:
            minutes.append(minute)
            minute = 0.0
    told = {
        "last": {**last, **totals},
        "came": came,
        "seconds": seconds[-60:],
        "minutes": minutes[-_MINUTES_KEPT:],
        "minute": minute,
        "second": second,
        "count": state.get("count", 0),
        "needs": state.get("needs", []),
        "per_s": state.get("per_s", 0.0),
    }
    return told, Traffic(told["seconds"], told["minutes"], queued)


def minutes_of(periods: Iterable[tuple[float, Sequence[tuple[float, float]]]], now_s: float) -> list[float]:
    """Return the requests of each past minute up to `now_s`, from the recordings of serving periods.

    A period is when it began and its points: seconds since then, and requests so far. What came between two points is
    spread over the time between. No minute without a recording had a request. At most fourteen days; times in seconds since 1970.
    """
    kept = [(began_s, points) for began_s, points in periods if points]
    if not kept:
        return []
    first = max(min(int(began_s // 60) for began_s, _ in kept), int(now_s // 60) - _MINUTES_KEPT)
    minutes = [0.0] * max(0, int(now_s // 60) - first)
    for began_s, points in kept:
        for (t0, before), (t1, after) in pairwise(((0.0, 0.0), *points)):
            start, end = (began_s + t0) / 60, (began_s + t1) / 60
            for minute in range(max(first, int(start)), min(first + len(minutes), int(end) + 1)):
                inside = max(0.0, min(end, minute + 1) - max(start, minute))
                share = inside / (end - start) if end > start else 1.0
                minutes[minute - first] += max(0.0, after - before) * share
    return minutes
