"""`decide`: which jobs a worker starts, pauses and resumes now; pure.

A plan says when each job should run. What really happens differs: jobs overrun, workers come and go, several plans were
made by different knowledge. So at every look the worker asks anew, for everything it has, everything that is due, and
what must start before long:

    runs       nobody who runs is displaced by one like it, and none whose own deadline a pause would cost, by anything
    pressing   its reserve fits only if it runs from now on, or others that come after it would be late: it comes first,
               and a paused job goes on whatever the hour
    priority   the higher one comes first, and may let a pausable one of lower priority stand still
    fair       then the job of the owner who has had least of late, then the one planned earlier

**Nothing is started, resumed or paused that makes another late.** All that is asked for is served in thought first, the
earliest deadline first, on the nodes there are (`foresee`). What starts beside that must end before the room is needed, or
leave everybody their latest start. A job stands still for another only where that one can then really run, and only
where it has the time: for as long as the other may take, its own resumption, and what is left of itself. So it is not
paused and resumed by turns: the other presses until it is over. A suspended job keeps its GPUs and its memory.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from math import inf

from joulewise.ledger.jobs import Line
from joulewise.scheduling.foresight import NOTHING, Foreseen, Wish, foresee
from joulewise.scheduling.going import Going
from joulewise.scheduling.timetable import NEVER, Amount, Slot, Timetable
from joulewise.vocabulary.ticket import Needs

LEAST_PAUSE_S = 600.0  # a shorter gap in the plan is no pause
SOON = 64  # so many jobs, the most pressing, are looked ahead for
PATIENCE_S = 180.0  # a job is started early where a look that much later would make somebody late
WAITED = "others would be late if it waited"
_PINNED = 8  # of more nodes than these a cluster may take any: there is room on another
_TRIALS = 16  # so many jobs a look are tried out against the schedule


class Act(StrEnum):
    """What to do with a job."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"


_TURN = (Act.PAUSE, Act.RESUME, Act.START)  # pauses first, then what they make room for


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do now, and why; `away` are the nodes that are not for it."""

    act: Act
    job: str
    reason: str
    pressing: bool = False
    away: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Claim:
    """A job that has no room yet, and what it wishes for; `due` says whether its hour has come."""

    line: Line
    wish: Wish
    due: bool
    why: str
    going: Going | None = None

    @property
    def pressing(self) -> bool:
        return self.wish.latest_s <= 0 and self.wish.opens_s <= 0


def decide(
    waiting: Sequence[Line],
    going: Sequence[Going],
    room: Needs | Sequence[Needs],
    now_utc: datetime,
    used: Mapping[str, float] | None = None,
    soon: Sequence[Line] = (),
    patience_s: float = PATIENCE_S,
) -> tuple[Action, ...]:
    """Return what a worker with `room` (a machine's, or each node's of a cluster) does now.

    `waiting` are the jobs that are due, `used` the seconds had by owner. `soon` are jobs whose hour has not come and whose
    `start_utc` says when they may start at the earliest: room is kept for them, and they start early where they must, since the
    next look may come `patience_s` from now.
    """
    nodes = (room,) if isinstance(room, Needs) else tuple(room)
    return _Desk(waiting, going, nodes, now_utc, soon, patience_s).decide(dict(used or {}))


class _Desk:
    """One look: who runs where, who asks for room, and what is decided so far."""

    def __init__(
        self,
        waiting: Sequence[Line],
        going: Sequence[Going],
        nodes: Sequence[Needs],
        now_utc: datetime,
        soon: Sequence[Line],
        patience_s: float,
    ) -> None:
        self.now, self.patience_s = now_utc, patience_s
        self.table = Timetable(nodes)
        self.actions: list[Action] = []
        self.runs: dict[str, tuple[Going, Slot]] = {}
        self.claims: dict[str, _Claim] = {}
        whole = [line for line in (*waiting, *soon) if self.table.holds(Amount.of(line.needs))]
        due = {line.id for line in waiting}
        for line in whole:
            self.claims.setdefault(line.id, self._waits(line, due=line.id in due))
        placed = sorted(going, key=lambda g: not g.nodes)  # those whose node is known first
        for one in placed:
            if not one.paused:
                self._runs(one)
        for one in placed:
            if one.paused:
                until = one.rests_until(now_utc)
                self._rests(one, due=not one.later and (not one.pausable or until is None))
        for one in placed:
            until = one.rests_until(now_utc)
            if not one.paused and one.pausable and until is not None and self._may_rest(one, until):
                self._pause(one, f"stands still until {until:%Y-%m-%d %H:%M} UTC, as planned", due=False)
        self._relieve()

    def decide(self, had: dict[str, float]) -> tuple[Action, ...]:
        """Return the actions."""
        base = self._foreseen()
        for claim in self._urgent(base):
            slot = base.slots[claim.wish.id]  # they fit together there, and not wherever each first fits
            if slot.begin_s > 0:
                slot = claim.wish.first(self.table)
            if slot.begin_s <= 0:
                self._go(claim, had, slot, pressing=True)
            elif claim.pressing and not self._displace(claim, had, base):
                if slot.begin_s < inf:
                    claim.wish.take(self.table, slot)  # nobody else has it until then
                del self.claims[claim.line.id]
        base = self._foreseen()
        trials = _TRIALS
        candidates = [c for c in self.claims.values() if c.due] + self._early(base)
        while candidates:
            candidates.sort(key=lambda c: _order(c, had))
            claim = candidates.pop(0)
            slot = claim.wish.first(self.table)
            if slot.begin_s > 0:
                lowest = min((g.line.priority for g, _slot in self.runs.values()), default=0)
                if claim.line.priority > lowest and self._displace(claim, had, base):
                    base = self._foreseen()
                continue
            ahead = base.slots.get(claim.wish.id, NEVER)
            if ahead.begin_s <= 0 and ahead.nodes == slot.nodes:
                self._go(claim, had, slot)
                continue
            trials -= 1
            if trials >= 0:
                trial = self.table.copy()
                claim.wish.take(trial, slot)
                after_it = self._foreseen(base, trial, without=claim)
                if not after_it.worse_than(base, but=self._below(claim, base)):
                    self._go(claim, had, slot)
                    base = after_it
                    continue
            if ahead.begin_s <= 0:
                self._go(claim, had, ahead)
        return tuple(sorted(self.actions, key=lambda a: _TURN.index(a.act)))

    def _early(self, base: Foreseen) -> list[_Claim]:
        """Return whose hour has not come, but who come before somebody that is late already: no room idles then."""
        served = list(base.slots)
        last = max((n for n, job in enumerate(served) if job in base.late), default=-1)
        first = [self.claims[job] for job in served[: last + 1] if base.slots[job].begin_s <= 0]
        return [replace(c, why=WAITED) for c in first if not c.due]

    def _below(self, claim: _Claim, base: Foreseen) -> Collection[str]:
        """Return who may be late for a job: nobody, or where it is late itself otherwise, those of lower priority."""
        if claim.wish.id not in base.late:
            return ()
        return {job for job, c in self.claims.items() if c.line.priority < claim.line.priority}

    def _waits(self, line: Line, *, due: bool) -> _Claim:
        latest_s = (line.latest_utc - self.now).total_seconds()
        length_s = (line.deadline_utc - line.latest_utc).total_seconds()
        if length_s <= 0:  # not known: it may take all the time until its deadline, and is promised nothing
            length_s = max(60.0, (line.deadline_utc - self.now).total_seconds())
            latest_s = latest_s if latest_s <= 0 else inf
        opens_s = 0.0 if due else max(0.0, (line.start_utc - self.now).total_seconds())
        early = latest_s <= 0 and line.start_utc > self.now
        why = "its latest start has come" if early else line.reason or "its hour has come"
        return _Claim(line, Wish(line.id, line.needs, length_s, latest_s, opens_s), due, why)

    def _runs(self, one: Going) -> None:
        amount = Amount.of(one.line.needs)
        slot = Slot(0.0, one.nodes or self.table.fullest(amount))
        self.table.take(amount, 0.0, one.left_s(self.now), slot.nodes)
        self.runs[one.line.id] = one, slot

    def _rests(self, one: Going, *, due: bool, nodes: tuple[int, ...] = ()) -> None:
        """Let a job that stands still keep what it keeps, and ask for the rest."""
        keeps = one.at_rest != NOTHING or bool(nodes or one.nodes)
        where = (nodes or one.nodes or self.table.fullest(Amount.of(one.at_rest))) if keeps else None
        if where:
            self.table.take(Amount.of(one.at_rest), 0.0, inf, where)
        wish = self._again(one, where)
        presses, comes = (
            "goes on: its reserve needs the time that is left",
            "its hour has come, and there is room",
        )
        why = presses if wish.latest_s <= 0 else comes
        self.claims[one.line.id] = _Claim(one.line, wish, due, why, one)

    def _may_rest(self, one: Going, until: datetime) -> bool:
        """Whether a planned pause is long enough to be one, leaves the job its time, and does not follow upon another."""
        pause_s = min((until - self.now).total_seconds(), one.spare_s(self.now), one.since_s)
        return pause_s >= LEAST_PAUSE_S

    def _relieve(self) -> None:
        """Where what runs takes more than there is (jobs that shared a machine count in full again), let some stand still."""
        may = [one for one, _slot in self.runs.values() if one.pausable and one.at_rest != one.line.needs]
        for one in sorted(may, key=lambda one: (one.line.priority, -one.spare_s(self.now), one.line.id)):
            if one.spare_s(self.now) >= LEAST_PAUSE_S and self.table.crowded(self.runs[one.line.id][1].nodes):
                self._pause(one, "more runs than there is room for", due=False, relieves=True)

    def _pause(self, one: Going, reason: str, *, due: bool, relieves: bool = False) -> None:
        """Let a running job stand still, if it finds its way back in time and nobody else is late by it.

        Where it `relieves` those who run beside it, only its own deadline counts.
        """
        from_s = max(LEAST_PAUSE_S, self.patience_s)
        before = self._foreseen(from_s=from_s)
        table, claims = self.table, dict(self.claims)
        _, slot = self.runs.pop(one.line.id)
        self.table = table.copy()
        self.table.give(Amount.of(one.line.needs), 0.0, one.left_s(self.now), slot.nodes)
        self._rests(one, due=due, nodes=slot.nodes)
        wish = self.claims[one.line.id].wish
        if relieves:
            late = wish.first(self.table, from_s).begin_s > wish.latest_s
        else:
            late = self._foreseen(from_s=from_s).worse_than(before)
        if late:
            self.table, self.claims = table, claims
            self.runs[one.line.id] = one, slot
            return
        self.actions.append(Action(Act.PAUSE, one.line.id, reason))

    def _foreseen(
        self,
        like: Foreseen | None = None,
        table: Timetable | None = None,
        without: _Claim | None = None,
        from_s: float = 0.0,
    ) -> Foreseen:
        wishes = sorted((c.wish for c in self.claims.values() if c is not without), key=lambda w: w.latest_s)
        return foresee(table or self.table, wishes[:SOON], from_s, like)

    def _urgent(self, base: Foreseen) -> list[_Claim]:
        """Return who has to start now: those that press, and those without whom somebody else would be late."""
        pressing = {job for job in base.slots if self.claims[job].pressing}
        spare_s = min(
            (max(self.claims[job].wish.latest_s, 0.0) - slot.begin_s for job, slot in base.slots.items()),
            default=inf,
        )
        if spare_s < self.patience_s:
            wishes = [self.claims[job].wish for job in base.slots]
            later = foresee(self.table, wishes, self.patience_s, base)
            served, met = list(base.slots), pressing | base.late.keys()
            hurt = [n for n, job in enumerate(served) if job in later.late and job not in met]
            before = served[: max(hurt, default=-1) + 1]
            pressing |= {job for job in before if base.slots[job].begin_s <= 0}
        found = [self.claims[job] for job in pressing]
        found = [c if c.due or c.pressing else replace(c, why=WAITED) for c in found]
        return sorted(
            found,
            key=lambda c: (
                base.slots[c.wish.id].begin_s > 0,
                c.line.deadline_utc,
                -c.line.priority,
                c.line.id,
            ),
        )

    def _go(self, claim: _Claim, had: dict[str, float], slot: Slot, *, pressing: bool = False) -> None:
        """Let a job run from now on, kept off the nodes that were not counted with: a cluster has its own idea of what is full."""
        away: tuple[int, ...] = ()
        if claim.wish.nodes is None and len(self.table.nodes) <= _PINNED:
            away = tuple(n for n in range(len(self.table.nodes)) if n not in slot.nodes)
        claim.wish.take(self.table, slot)
        self.claims.pop(claim.line.id, None)
        needs = claim.line.needs
        had[claim.line.owner] = had.get(claim.line.owner, 0.0) + needs.cpus + 8 * needs.gpus
        stays = [a for a in self.actions if a.job != claim.line.id]
        if len(stays) < len(self.actions):  # it was to stand still, and runs on instead
            self.actions = stays
            return
        act = Act.START if claim.going is None else Act.RESUME
        self.actions.append(Action(act, claim.line.id, claim.why, pressing, away))

    def _displace(self, claim: _Claim, had: dict[str, float], base: Foreseen) -> bool:
        """Let others stand still for a job, where it can then run and each of them still has its time; the fewest."""
        best: tuple[int, float, Timetable, int, list[_Claim]] | None = None
        urgent = claim.pressing or not claim.due
        for node in range(len(self.table.nodes)):
            if claim.wish.nodes not in (None, (node,)):
                continue
            found = self._cleared(claim, node, urgent=urgent)
            if found is None:
                continue
            table, paused = found
            others = [c.wish for c in self.claims.values() if c is not claim] + [c.wish for c in paused]
            then = table.copy()
            claim.wish.take(then, Slot(0.0, (node,)))
            told = foresee(then, others, 0.0, base)
            if any(c.wish.id in told.late for c in paused) or told.worse_than(base):
                continue
            length_s = sum(c.wish.length_s for c in paused)
            if best is None or (len(paused), length_s) < best[:2]:
                best = len(paused), length_s, table, node, paused
        if best is None:
            return False
        for other in best[4]:
            one = other.going
            if one is not None:
                del self.runs[one.line.id]
                self.actions.append(Action(Act.PAUSE, one.line.id, "makes room for a job that comes first"))
                self.claims[one.line.id] = replace(other, due=False)  # not in this look
        self.table = best[2]
        self._go(claim, had, Slot(0.0, (best[3],)), pressing=urgent)
        return True

    def _cleared(self, claim: _Claim, node: int, *, urgent: bool) -> tuple[Timetable, list[_Claim]] | None:
        """Return the room once a job runs on a node, and who stands still for it; None where that is not to be had."""
        may = [
            (one.spare_s(self.now), one)
            for one, slot in self.runs.values()
            if slot.nodes == (node,)
            and one.pausable
            and (urgent or one.line.priority < claim.line.priority)
            and one.spare_s(self.now) >= LEAST_PAUSE_S
        ]
        may.sort(key=lambda pair: (pair[1].line.priority, -pair[0]))
        wish = replace(claim.wish, nodes=(node,))
        table, chosen = self._fewest([one for _spare_s, one in may], wish, node)
        if not chosen:
            return None
        paused = [_Claim(one.line, self._again(one, (node,)), True, "", one) for one in chosen]
        return table, paused

    def _again(self, one: Going, nodes: tuple[int, ...] | None) -> Wish:
        """Return what a job wishes for that stands still, or is to."""
        length_s = one.left_s(self.now) + one.resume_s
        return Wish(
            one.line.id, one.line.needs, length_s, one.spare_s(self.now), kept=one.at_rest, nodes=nodes
        )

    def _fewest(self, may: Sequence[Going], wish: Wish, node: int) -> tuple[Timetable, list[Going]]:
        """Return who makes room together, the first who does so alone if there is one, and the room without them."""
        for one in may:
            table = self.table.copy()
            self._lift(table, one, node)
            if wish.first(table).begin_s <= 0:
                return table, [one]
        table, chosen = self.table.copy(), []
        for one in may:
            self._lift(table, one, node)
            chosen.append(one)
            if wish.first(table).begin_s <= 0:
                break
        else:
            return table, []
        for one in chosen[:-1]:  # who was asked first may not be needed after all
            self._lift(table, one, node, back=True)
            if wish.first(table).begin_s <= 0:
                chosen.remove(one)
            else:
                self._lift(table, one, node)
        return table, chosen

    def _lift(self, table: Timetable, one: Going, node: int, *, back: bool = False) -> None:
        """Take a running job out of a timetable but for what it keeps at rest, or put it back."""
        runs, keeps = Amount.of(one.line.needs), Amount.of(one.at_rest)
        take, give = (table.give, table.take) if back else (table.take, table.give)
        give(runs, 0.0, one.left_s(self.now), (node,))
        take(keeps, 0.0, inf, (node,))


def _order(claim: _Claim, had: Mapping[str, float]) -> tuple[object, ...]:
    line = claim.line
    return (-line.priority, had.get(line.owner, 0.0), line.start_utc, line.id)
