"""`admit`: can this job still meet its deadline, given all that was promised before it? Pure.

Every open job is booked for the time that is kept free for it, the earliest deadline first, on the processors that the
engine's workers have. A job is admitted where

    it ends in time in that order, and nobody ends late who would not have been late without it, or
    it fits in time into the room that the others leave

so a job that is admitted was never promised another's room. The order is the one in which pressing jobs are served
(queue.py); within it jobs start one after the other, which promises too little rather than too much.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush


@dataclass(frozen=True, slots=True)
class Booked:
    """Processors that a job is to have: how many, for how long, by when it must be done; all in seconds from now.

    `runs` says that it has them already (then `length_s` is what may be left).
    """

    units: int
    length_s: float
    due_s: float
    runs: bool = False


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a job ends in time beside the others, and when it would end at the earliest (seconds from now)."""

    admitted: bool
    finish_s: float


def admit(fresh: Booked, others: Sequence[Booked], units: int, from_s: float = 0.0) -> Admission:
    """Return whether `fresh`, which may begin at `from_s`, ends by its deadline beside `others` on `units` processors."""
    fits_alone = fresh.units <= units
    if not fits_alone:
        return Admission(False, float("inf"))
    running = [b for b in others if b.runs]
    waiting = sorted((b for b in others if not b.runs), key=lambda b: b.due_s)
    spans = _served(running, waiting, units)
    late = sum(end > b.due_s for (_begin, end), b in zip(spans, waiting, strict=True))
    if not from_s:
        row = list(waiting)
        at = bisect_right([b.due_s for b in waiting], fresh.due_s)
        row.insert(at, fresh)
        mixed = _served(running, row, units)
        if mixed[at][1] <= fresh.due_s:
            later = sum(end > b.due_s for (_begin, end), b in zip(mixed, row, strict=True))
            if later <= late:
                return Admission(True, mixed[at][1])
    taken = [(0.0, b.length_s, b.units) for b in running]
    taken += [(begin, end, b.units) for (begin, end), b in zip(spans, waiting, strict=True)]
    finish_s = _gap(taken, fresh, units, from_s) + fresh.length_s
    return Admission(finish_s <= fresh.due_s, finish_s)


def _served(running: Iterable[Booked], row: Sequence[Booked], units: int) -> list[tuple[float, float]]:
    """Return from when to when each of `row` has its processors, served in this order."""
    ends: list[tuple[float, int]] = []
    free, now = units, 0.0
    for one in running:
        heappush(ends, (one.length_s, one.units))
        free -= one.units
    spans = []
    for one in row:
        wanted = min(one.units, units)
        while free < wanted and ends:
            now, back = heappop(ends)
            free += back
        spans.append((now, now + one.length_s))
        heappush(ends, (now + one.length_s, wanted))
        free -= wanted
    return spans


def _gap(taken: Iterable[tuple[float, float, int]], fresh: Booked, units: int, from_s: float) -> float:
    """Return the first time from which `fresh` finds its processors free for as long as it needs them."""
    held = list(taken)
    steps = sorted(
        [(begin, count) for begin, _end, count in held] + [(end, -count) for _begin, end, count in held]
    )
    used, start, last = 0, from_s, from_s
    for at, change in steps:
        if at > last:
            if used + fresh.units > units:
                start = at
            elif at - start >= fresh.length_s:
                return start
            last = at
        used += change
    return start
