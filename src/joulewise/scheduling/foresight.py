"""`foresee`: when each job would begin if all were served now, the earliest deadline first; pure.

Every job is put where it first fits, for as long as it may take, on top of what runs: nobody gives way. Where that makes
one late, the same is tried with nobody overtaking, since a gap that is filled can make another wait longer. Whether a
deadline can still be met, and whether something may be started or paused beside it, are questions to this one schedule:
admission (admission.py) and the worker (queue.py) ask them alike.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from joulewise.scheduling.timetable import NEVER, Amount, Slot, Timetable
from joulewise.vocabulary.ticket import Needs

NOTHING = Needs(0)
_HAIR_S = 1.0


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

    def first(self, table: Timetable, from_s: float = 0.0, away: Sequence[int] = ()) -> Slot:
        """Return where it first fits, not on the nodes `away`; NEVER where it does not."""
        return table.first(Amount.of(self.needs, self.kept), self.length_s, from_s, self.nodes, away)

    def take(self, table: Timetable, slot: Slot) -> None:
        """Take its room; what it kept until then it gives back when it is over."""
        end_s = slot.begin_s + self.length_s
        table.take(Amount.of(self.needs, self.kept), slot.begin_s, end_s, slot.nodes)
        table.give(Amount.of(self.kept), end_s, float("inf"), slot.nodes)


@dataclass(frozen=True, slots=True)
class Foreseen:
    """When and where each job begins, the room that is left then, and by how much each is late that is."""

    slots: dict[str, Slot]
    table: Timetable
    late: dict[str, float] = field(default_factory=dict)

    def worse_than(self, other: Foreseen, but: Collection[str] = ()) -> bool:
        """Whether somebody (not one of `but`) is late here who is not there, or later by more than a hair."""
        return any(
            late > other.late.get(job, 0.0) + _HAIR_S for job, late in self.late.items() if job not in but
        )


def foresee(table: Timetable, wishes: Sequence[Wish], from_s: float = 0.0) -> Foreseen:
    """Return how jobs would be served on `table` (which stays as it is) from a time on, the earliest deadline first."""
    row = sorted(wishes, key=lambda w: (w.due_s, w.id))
    found = _served(table.copy(), row, from_s, overtaking=True)
    if found.late:
        other = _served(table.copy(), row, from_s, overtaking=False)
        if len(other.late) < len(found.late):
            return other
    return found


def _served(table: Timetable, row: Sequence[Wish], from_s: float, *, overtaking: bool) -> Foreseen:
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
    return Foreseen(slots, table, late)
