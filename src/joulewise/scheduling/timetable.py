"""A timetable: what is free on each node of a machine or cluster from now on, and the first place for a job.

A job has to fit on one node: four free processors on two nodes are no room for a job of four. Only what is larger than
every node is spread, in equal parts over as few as hold it. Seconds count from now; room may go below nothing where what
runs takes more than there is.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import final

from joulewise.vocabulary.ticket import Needs

_Three = tuple[float, float, float]  # processors, GPUs, bytes


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount of room that may lie below nothing, as no Needs can."""

    values: _Three

    @classmethod
    def of(cls, needs: Needs, kept: Needs | None = None) -> Amount:
        """Return what a job takes beyond what it keeps already."""
        less = kept or Needs(0)
        return cls((needs.cpus - less.cpus, needs.gpus - less.gpus, needs.memory_bytes - less.memory_bytes))

    def part(self, count: int) -> _Three:
        """Return one of `count` equal parts."""
        if count <= 1:
            return self.values
        cpus, gpus, memory = (float(ceil(v / count)) for v in self.values)
        return cpus, gpus, memory

    def negative(self) -> Amount:
        """Return as much to be given."""
        cpus, gpus, memory = self.values
        return Amount((-cpus, -gpus, -memory))


@dataclass(frozen=True, slots=True)
class Slot:
    """When a job may begin, and on which nodes (several only where none holds it alone)."""

    begin_s: float
    nodes: tuple[int, ...]


NEVER = Slot(inf, ())


@final
class Timetable:
    """The free room of nodes over time. A node whose memory is 0 has memory without end: it is not known."""

    def __init__(self, nodes: Sequence[Needs]) -> None:
        self.nodes = tuple(nodes)
        self._lanes = [_Lane([0.0], [(n.cpus, n.gpus, n.memory_bytes or inf)]) for n in self.nodes]

    def copy(self) -> Timetable:
        """Return another with the same room."""
        other = Timetable(())
        other.nodes, other._lanes = self.nodes, [lane.copy() for lane in self._lanes]
        return other

    def take(self, amount: Amount, begin_s: float, end_s: float, nodes: Sequence[int]) -> None:
        """Take room from one time to another, in equal parts of these nodes."""
        part = amount.part(len(nodes))
        for node in nodes:
            self._lanes[node].take(part, begin_s, end_s)

    def give(self, amount: Amount, begin_s: float, end_s: float, nodes: Sequence[int]) -> None:
        """Give room back."""
        self.take(amount.negative(), begin_s, end_s, nodes)

    def crowded(self, nodes: Sequence[int]) -> bool:
        """Whether more is taken of one of these nodes now than it has."""
        return any(min(self._lanes[n].free[0]) < 0 for n in nodes)

    def holds(self, amount: Amount) -> bool:
        """Whether all of it, if it were empty, would hold this."""
        return bool(self._parts(amount))

    def first(
        self,
        amount: Amount,
        length_s: float,
        from_s: float = 0.0,
        nodes: Sequence[int] | None = None,
    ) -> Slot:
        """Return the first place from `from_s` on, on one of `nodes` (None: any); NEVER where there is none."""
        if nodes is not None:
            return self._together(amount.part(len(nodes)), length_s, from_s, nodes, len(nodes))
        count = self._parts(amount)
        may = range(len(self._lanes))
        if count != 1:
            return self._together(amount.part(count), length_s, from_s, may, count)
        best = NEVER
        for node in may:
            begin_s = self._lanes[node].first(amount.values, length_s, from_s)
            if begin_s < best.begin_s:
                best = Slot(begin_s, (node,))
                if begin_s <= from_s:
                    break
        return best

    def fullest(self, amount: Amount) -> tuple[int, ...]:
        """Return where something that runs already, nobody says where, is likely to be: the first node that has room, else the emptiest."""
        slot = self.first(amount, 1.0)
        if slot.begin_s <= 0.0:
            return slot.nodes
        return (max(range(len(self._lanes)), key=lambda n: self._lanes[n].free[0][0]),)

    def _parts(self, amount: Amount) -> int:
        """Return over how many nodes something has to be spread; 0 where even all together are too small."""
        for count in range(1, len(self.nodes) + 1):
            part = amount.part(count)
            if sum(_within(part, (n.cpus, n.gpus, n.memory_bytes or inf)) for n in self.nodes) >= count:
                return count
        return 0

    def _together(
        self, part: _Three, length_s: float, from_s: float, nodes: Iterable[int], count: int
    ) -> Slot:
        lanes = [(n, self._lanes[n]) for n in nodes]
        if not count or not lanes:
            return NEVER
        times = sorted({from_s, *(t for _n, lane in lanes for t in lane.times if t > from_s)})
        for at in times:
            there = [n for n, lane in lanes if lane.first(part, length_s, at) <= at]
            if len(there) >= count:
                return Slot(at, tuple(there[:count]))
        return NEVER


@dataclass(slots=True)
class _Lane:
    """What is free on one node: `free[n]` from `times[n]` until the next time."""

    times: list[float]
    free: list[_Three]

    def copy(self) -> _Lane:
        return _Lane(self.times.copy(), self.free.copy())

    def take(self, amount: _Three, begin_s: float, end_s: float) -> None:
        if end_s <= begin_s or not any(amount):
            return
        first, last = self._cut(begin_s), len(self.times) if end_s == inf else self._cut(end_s)
        cpus, gpus, memory = amount
        for n in range(first, last):
            had = self.free[n]
            self.free[n] = (had[0] - cpus, had[1] - gpus, had[2] - memory)

    def first(self, amount: _Three, length_s: float, from_s: float) -> float:
        times, free = self.times, self.free
        n, start_s = bisect_right(times, from_s) - 1, from_s
        while n < len(times):
            end_s = times[n + 1] if n + 1 < len(times) else inf
            if not _within(amount, free[n]):
                start_s = end_s
            elif end_s - start_s >= length_s - 1e-6:
                return start_s
            n += 1
        return inf

    def _cut(self, at_s: float) -> int:
        n = bisect_left(self.times, at_s)
        if n == len(self.times) or self.times[n] != at_s:
            self.times.insert(n, at_s)
            self.free.insert(n, self.free[n - 1])
        return n


def _within(amount: _Three, free: _Three) -> bool:
    """Whether there is room: what is not wanted needs none, even where less than nothing is free."""
    a, b, c = amount
    x, y, z = free
    return (a <= x or a <= 0) and (b <= y or b <= 0) and (c <= z or c <= 0)
