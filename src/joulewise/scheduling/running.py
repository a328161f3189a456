"""What runs while the queue is planned: what of it may be planned anew, and the room that the rest takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, final

from joulewise.ledger import jobs as queue
from joulewise.ledger.jobs import Line
from joulewise.ledger.leases import Held
from joulewise.ledger.store import Store
from joulewise.scheduling.going import margin_s
from joulewise.scheduling.plan import Grid, Terms, replan
from joulewise.scheduling.saved import placement_as_json, placement_from_json
from joulewise.vocabulary.job import Duration, Job, Placement, after
from joulewise.vocabulary.ticket import Needs, Stage, Ticket

if TYPE_CHECKING:
    from joulewise.scheduling.fleet_plan import Taken

_OVERRUN_S = 900.0  # what a job that is over its time is given in plans


class Board(Protocol):
    """What a planning knows: the grid, the time, its terms, what a start may take, and what jobs count as."""

    grid: Grid
    now: datetime
    terms: Terms

    @property
    def start_s(self) -> float:
        """What 19 of 20 starts stay below."""

    def needs(self, ticket: Ticket) -> Needs:
        """Return what a job counts as."""

    def units(self, zone: str, needs: Needs) -> int:
        """Return how many units that is in a zone."""


@final
class Running:
    """What runs now: what of it may be planned anew, and the room that the rest takes."""

    def __init__(
        self, store: Store, held: Sequence[Held], tickets: Mapping[str, Ticket], board: Board
    ) -> None:
        self._store, self._board = store, board
        self._lines = {h.line.id: h.line for h in held}
        self._ran_s = {
            h.line.id: queue.ran_s(h.attempt.ran, board.now) for h in held if h.line.stage is Stage.RUNNING
        }
        self._tickets = tickets
        told = queue.placements(store, list(self._lines))
        self._plans = {key: placement_from_json(value) for key, value in told.items()}
        self.fresh: dict[str, Placement] = {}
        self.pausable: dict[str, tuple[Job, Needs]] = {}

    def keep(self, settled: Sequence[Line]) -> None:
        """Let jobs that wait keep their plan: it is room that others cannot have."""
        self._lines |= {x.id: x for x in settled}
        told = queue.placements(self._store, [x.id for x in settled])
        self._plans |= {key: placement_from_json(value) for key, value in told.items()}

    def renew(self, held: Sequence[Held]) -> None:
        """Let what is left of jobs that may stand still be planned anew."""
        for one in held:
            ticket = self._tickets[one.line.id]
            if ticket.pausable and ticket.job.duration.known and one.line.zone in self._board.grid.carbon:
                self._renew(one, ticket)

    def taken(self) -> list[Taken]:
        """Return the room that is not to be had."""
        from joulewise.scheduling.fleet_plan import Taken

        now, found = self._board.now, []
        for key, line in self._lines.items():
            if key in self.pausable:
                continue
            ticket = self._tickets[key]
            units = self._board.units(line.zone, self._board.needs(ticket))
            rest = self._plans[key].remaining_from(now) if key in self._plans else ()
            if key in self._ran_s and ticket.job.duration.known and not (ticket.checkpoint and rest):
                # it runs on to its end, whenever it was planned to start; one over its time nobody knows how long
                left_s = (ticket.job.duration.expected_s or 0.0) - self._ran_s[key]
                found.append(Taken(line.zone, now, after(now, max(left_s, _OVERRUN_S)), units))
            elif key not in self._plans:
                found.append(Taken(line.zone, now, max(line.deadline_utc, after(now, 3600.0)), units))
            elif rest:
                found += [Taken(line.zone, s.start_utc, s.end_utc, units) for s in rest]
            else:
                found.append(Taken(line.zone, now, after(now, _OVERRUN_S), units))
        return found

    def write(self) -> int:
        """Write the new plans of what runs; return how many changed."""
        changed = 0
        for key, placed in self.fresh.items():
            line, before = self._lines[key], self._plans.get(key)
            if before is None or placed.stretches != before.remaining_from(self._board.now):
                told = placement_as_json(replace(placed, job=self._tickets[key].job))
                told["signal"] = self._board.grid.said()[placed.zone]
                changed += queue.replace_placement(self._store, key, line.fence, told, self._board.now)
        return changed

    def _renew(self, one: Held, ticket: Ticket) -> None:
        """Let the fleet plan what is left of a job whose pauses are cheap; one that must save its state, only if that pays."""
        job, line, now = ticket.job, one.line, self._board.now
        pause, before = job.interruptible, self._plans.get(line.id)
        ran_s = queue.ran_s(one.attempt.ran, now)
        if ticket.checkpoint and pause and before is not None:
            fresh = replan(before, self._board.grid, now, pause, self._board.terms)
            if fresh is not before:
                self._plans[line.id] = self.fresh[line.id] = fresh
            return
        expected_s, reserve_s = job.duration.expected_s or 0.0, job.duration.reserve_s or 0.0
        rest_s = max(60.0, expected_s - ran_s)
        margin = max(0.0, (reserve_s - ran_s) / rest_s - 1)
        if after(now, rest_s * (1 + margin) + margin_s(reserve_s) + self._board.start_s) >= line.deadline_utc:
            return  # it has to go on
        rest = replace(job, duration=Duration.of(rest_s, margin), release_utc=now, zones=(line.zone,))
        self.pausable[line.id] = (rest, self._board.needs(ticket))
