"""`foresee`: when each job would begin if all were served from now on; pure.

Every job is put where it first fits, for as long as it may take, on top of what runs: nobody gives way. The earliest
deadline comes first. Where that makes one late, other orders are tried: the earliest latest start first, nobody overtaking (a
gap that is filled can make another wait longer), and those that would be late further ahead. Whether a deadline can still be met, and
whether something may be started or paused beside it, are questions to this one schedule.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from joulewise.scheduling.timetable import NEVER, Amount, Slot, Timetable
from joulewise.vocabulary.ticket import Needs

NOTHING = Needs(0)
_HAIR_S = 1.0
_TRIES = 8  # orders with a late job further ahead


@dataclass(frozen=True, slots=True)
class Wish:
    """A job that is to have room: how much and for how long, from when on it may begin and by when it must.

    `kept` is what it holds while it stands still, on `nodes` (None: it may run anywhere). Seconds count from now.
    """

    id: str
    needs: Needs
    length_s: float
    latest_s: float
    opens_s: float = 0.0
    kept: Needs = NOTHING
    nodes: tuple[int, ...] | None = None

    @property
    def due_s(self) -> float:
        """When it must be over."""
        return self.latest_s + self.length_s

    def first(self, table: Timetable, from_s: float = 0.0) -> Slot:
        """Return where it first fits; NEVER where it does not."""
        return table.first(Amount.of(self.needs, self.kept), self.length_s, from_s, self.nodes)

    def take(self, table: Timetable, slot: Slot) -> None:
        """Take its room; what it kept until then it gives back when it is over."""
        end_s = slot.begin_s + self.length_s
        table.take(Amount.of(self.needs, self.kept), slot.begin_s, end_s, slot.nodes)
        table.give(Amount.of(self.kept), end_s, float("inf"), slot.nodes)


@dataclass(frozen=True, slots=True)
class Foreseen:
    """When and where each job begins, in the order in which they were served, and by how much each is late that is."""

    slots: dict[str, Slot]
    late: dict[str, float]

    def worse_than(self, other: Foreseen, but: Collection[str] = ()) -> bool:
        """Whether somebody (not one of `but`) is late here who is not there, or later by more than a hair."""
        return any(
            late > other.late.get(job, 0.0) + _HAIR_S for job, late in self.late.items() if job not in but
        )


def foresee(
    table: Timetable, wishes: Sequence[Wish], from_s: float = 0.0, like: Foreseen | None = None
) -> Foreseen:
    """Return how jobs would be served on `table` (which stays as it is) from a time on: none late, or as few as are found.

    With `like` in the order of that one, so that the two can be compared; those it does not know come last.
    """
    row = sorted(wishes, key=lambda w: (w.due_s, w.id))
    if like is not None:
        rank = {job: n for n, job in enumerate(like.slots)}
        row.sort(key=lambda w: rank.get(w.id, len(rank)))
        return _served(table.copy(), row, from_s)
    best = _served(table.copy(), row, from_s)
    if best.late:
        laxity = sorted(wishes, key=lambda w: (w.latest_s, w.id))
        others = _served(table.copy(), laxity, from_s), _served(table.copy(), row, from_s, overtaking=False)
        best = min(best, *others, key=_badness)
    orders, tried = _earlier(best, wishes), 0
    while best.late and tried < _TRIES and (moved := next(orders, None)):
        tried += 1
        found = _served(table.copy(), moved, from_s)
        if _badness(found) < _badness(best):
            best, orders = found, _earlier(found, wishes)
    return best


def _badness(found: Foreseen) -> tuple[int, float]:
    return len(found.late), sum(found.late.values())


def _earlier(found: Foreseen, wishes: Sequence[Wish]) -> Iterator[list[Wish]]:
    """Yield the row in which jobs were served with one that is late further ahead: halfway, then at the front."""
    by_id = {w.id: w for w in wishes}
    row = [by_id[job] for job in found.slots]
    for job in found.late:
        at = next(n for n, w in enumerate(row) if w.id == job)
        for to in dict.fromkeys((at // 2, at // 4, 0)):
            if to < at:
                yield [*row[:to], row[at], *row[to:at], *row[at + 1 :]]


def _served(table: Timetable, row: Sequence[Wish], from_s: float, *, overtaking: bool = True) -> Foreseen:
    slots: dict[str, Slot] = {}
    late: dict[str, float] = {}
    for wish in row:
        slot = wish.first(table, max(from_s, wish.opens_s))
        if slot is not NEVER:
            wish.take(table, slot)
            if not overtaking:
                from_s = max(from_s, slot.begin_s if not wish.opens_s else 0.0)
        slots[wish.id] = slot
        if slot.begin_s > max(wish.latest_s, 0.0) + _HAIR_S:
            late[wish.id] = slot.begin_s - max(wish.latest_s, 0.0)
    return Foreseen(slots, late)
