"""`admit`: can this job still meet its deadline, given all that was promised before it? Pure.

Every open job is booked for the time that is kept free for it, the earliest deadline first, on the processors that the
engine's workers have. A job is admitted where

    it ends in time in that order, and nobody ends late who would not have been late without it, or
    it fits in time into the room that the others leave

so a job that is admitted was never promised another's room. A job has to fit on one node; one that is larger than every
node takes several. The order is the one in which pressing jobs are served (queue.py, whose `foresee` tries it, too); within
it jobs start one after the other, which promises too little rather than too much.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush


@dataclass(frozen=True, slots=True)
class Booked:
    """Processors that a job is to have: how many, for how long, by when it must be done; all in seconds from now.

    `runs` says that it has them already (then `length_s` is what may be left), `node` where (-1: not known).
    """

    units: int
    length_s: float
    due_s: float
    runs: bool = False
    node: int = -1


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a job ends in time beside the others, and when it would end at the earliest (seconds from now)."""

    admitted: bool
    finish_s: float


def admit(
    fresh: Booked, others: Sequence[Booked], units: int | Sequence[int], from_s: float = 0.0
) -> Admission:
    """Return whether `fresh`, which may begin at `from_s`, ends by its deadline beside `others` on `units` processors.

    Several numbers of units are those of the nodes.
    """
    nodes = (units,) if isinstance(units, int) else tuple(units)
    if fresh.units > sum(nodes):
        return Admission(False, float("inf"))
    running = [b for b in others if b.runs]
    waiting = sorted((b for b in others if not b.runs), key=lambda b: b.due_s)
    spans = _served(running, waiting, nodes)
    late = sum(span.end_s > b.due_s for span, b in zip(spans[len(running) :], waiting, strict=True))
    if not from_s:
        row = list(waiting)
        at = bisect_right([b.due_s for b in waiting], fresh.due_s)
        row.insert(at, fresh)
        mixed = _served(running, row, nodes)[len(running) :]
        if mixed[at].end_s <= fresh.due_s:
            later = sum(span.end_s > b.due_s for span, b in zip(mixed, row, strict=True))
            if later <= late:
                return Admission(True, mixed[at].end_s)
    finish_s = _gap(spans, fresh.units, fresh.length_s, nodes, from_s) + fresh.length_s
    return Admission(finish_s <= fresh.due_s, finish_s)


@dataclass(frozen=True, slots=True)
class _Span:
    """When a job has its processors, and how many on which nodes."""

    begin_s: float
    end_s: float
    taken: tuple[tuple[int, int], ...]


def _served(running: Iterable[Booked], row: Sequence[Booked], nodes: Sequence[int]) -> list[_Span]:
    """Return when what runs, and then each of `row`, served in this order, has its processors."""
    free, now = list(nodes), 0.0
    ends: list[tuple[float, tuple[tuple[int, int], ...]]] = []
    spans: list[_Span] = []
    for one in running:
        # where it is nobody knows: on the emptiest it leaves the least for one that needs a whole node
        node = one.node if one.node >= 0 else max(range(len(free)), key=lambda n: free[n])
        taken = ((node, one.units),)
        spans.append(_Span(0.0, one.length_s, taken))
        heappush(ends, (one.length_s, taken))
        _take(free, taken)
    for one in row:
        wanted = min(one.units, sum(nodes))
        while (fits := _fit(wanted, free, nodes)) is None and ends:
            now, back = heappop(ends)
            _take(free, back, sign=-1)
        spans.append(_Span(now, now + one.length_s, fits or ()))
        heappush(ends, (now + one.length_s, fits or ()))
        _take(free, fits or ())
    return spans


def _fit(wanted: int, free: Sequence[int], nodes: Sequence[int]) -> tuple[tuple[int, int], ...] | None:
    """Return the first node that has as many processors free, or the nodes where none is as large; None without."""
    if wanted <= max(nodes):
        return next((((n, wanted),) for n, have in enumerate(free) if have >= wanted), None)
    taken = []
    for n, have in enumerate(free):
        if have > 0 and wanted > 0:
            taken.append((n, min(have, wanted)))
            wanted -= min(have, wanted)
    return tuple(taken) if wanted <= 0 else None


def _take(free: list[int], taken: Iterable[tuple[int, int]], sign: int = 1) -> None:
    for n, count in taken:
        free[n] -= sign * count


def _gap(spans: Iterable[_Span], wanted: int, length_s: float, nodes: Sequence[int], from_s: float) -> float:
    """Return the first time from which a job finds its processors free for as long as it needs them."""
    if wanted > max(nodes):  # it takes several nodes: their sum is asked
        spans = [_Span(s.begin_s, s.end_s, ((0, sum(count for _n, count in s.taken)),)) for s in spans]
        nodes = (sum(nodes),)
    steps: list[list[tuple[float, int]]] = [[] for _node in nodes]
    for span in spans:
        for n, count in span.taken:
            steps[n] += [(span.begin_s, count), (span.end_s, -count)]
    found = []
    for there, has in zip(steps, nodes, strict=True):
        if has < wanted:
            continue
        used, start, last = 0, from_s, from_s
        for at, change in sorted(there):
            if at > last:
                if used + wanted > has:
                    start = at
                elif at - start >= length_s:
                    break
                last = at
            used += change
        found.append(start)
    return min(found)
