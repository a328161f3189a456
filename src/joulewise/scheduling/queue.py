"""`decide`: which jobs a worker starts, pauses and resumes now; pure.

A plan says when each job should run. What really happens differs: jobs overrun, workers come and go, several plans were
made by different knowledge. So at every look the worker asks anew, for everything it has and everything that is due:

    pressing   its reserve fits only if it runs from now on: it comes first, and a paused job goes on whatever the hour
    priority   the higher one comes first, and may let a pausable one of lower priority stand still
    at hand    of equal priority, what runs stays: no job is paused for one like it
    fair       then the job of the owner who has had least of late, then the one planned earlier

Room is given in that order. While a pressing job does not fit, nothing that is not pressing starts beside it: what
ends makes room for it. A suspended job keeps its GPUs and its memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from joulewise.ledger.jobs import Line
from joulewise.vocabulary.job import Stretch, after
from joulewise.vocabulary.ticket import Needs

LEAST_PAUSE_S = 600.0  # a shorter gap in the plan is no pause
NOTHING = Needs(0)


class Act(StrEnum):
    """What to do with a job."""

    START = "start"
    PAUSE = "pause"
    RESUME = "resume"


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do now, and why."""

    act: Act
    job: str
    reason: str
    pressing: bool = False


@dataclass(frozen=True, slots=True)
class Going:
    """A job that the worker has: whether it stands still, how long it ran, its plan, and what it keeps while paused."""

    line: Line
    paused: bool
    ran_s: float
    reserve_s: float
    stretches: tuple[Stretch, ...] = ()
    pausable: bool = False
    at_rest: Needs = NOTHING

    def pressing(self, now_utc: datetime) -> bool:
        """Whether what may be left of it fits before its deadline only if it runs on."""
        left_s = max(0.0, self.reserve_s - self.ran_s)
        return after(now_utc, left_s + margin_s(left_s)) >= self.line.deadline_utc

    def rests_until(self, now_utc: datetime) -> datetime | None:
        """Return when its plan lets it run again; None if it should run now, or has no plan left."""
        for stretch in self.stretches:
            if stretch.start_utc <= now_utc < stretch.end_utc:
                return None
            if stretch.start_utc > now_utc:
                return stretch.start_utc
        return None


@dataclass(frozen=True, slots=True)
class _Claim:
    """A job's claim to run now, with what orders it among the others."""

    line: Line
    pressing: bool
    going: Going | None
    why: str

    @property
    def runs(self) -> bool:
        return self.going is not None and not self.going.paused

    @property
    def fixed(self) -> bool:
        """Whether it runs and cannot be asked to stand still."""
        return self.going is not None and self.runs and not self.going.pausable


def decide(
    waiting: Sequence[Line],
    going: Sequence[Going],
    room: Needs,
    now_utc: datetime,
    used: Mapping[str, float] | None = None,
) -> tuple[Action, ...]:
    """Return what a worker with `room` does now; `waiting` are the jobs that are due, `used` seconds had by owner."""
    had = dict(used or {})
    claims = [_waiting(line, now_utc) for line in waiting]
    resting: list[tuple[Going, str]] = []
    for one in going:
        until = one.rests_until(now_utc)
        pressing = one.pressing(now_utc)
        long_enough = until is not None and (until - now_utc).total_seconds() >= LEAST_PAUSE_S
        if one.pausable and not pressing and until is not None and (one.paused or long_enough):
            resting.append((one, f"stands still until {until:%Y-%m-%d %H:%M} UTC, as planned"))
        else:
            why = (
                "goes on: its reserve needs the time that is left"
                if pressing
                else "its hour has come, and there is room"
            )
            claims.append(_Claim(one.line, pressing, one, why))
    actions = [Action(Act.PAUSE, one.line.id, why) for one, why in resting if not one.paused]
    free = _Room(room)
    for one, _why in resting:
        free.take(one.at_rest)
    rest = [c for c in claims if not c.fixed]
    for claim in claims:
        if claim.fixed:
            free.take(claim.line.needs)
        elif claim.going is not None:
            free.take(claim.going.at_rest)  # it keeps that much, whether it runs or not
    blocked = False
    while rest:
        rest.sort(key=lambda c: _order(c, had))
        claim = rest.pop(0)
        needs = claim.line.needs
        kept = claim.going.at_rest if claim.going else NOTHING
        held_back = blocked and not claim.pressing and not claim.runs
        if not held_back and free.holds(needs, kept):
            free.take(needs, kept)
            had[claim.line.owner] = had.get(claim.line.owner, 0.0) + needs.cpus + 8 * needs.gpus
            if claim.going is None:
                actions.append(Action(Act.START, claim.line.id, claim.why, claim.pressing))
            elif claim.going.paused:
                actions.append(Action(Act.RESUME, claim.line.id, claim.why, claim.pressing))
        elif claim.runs:
            actions.append(Action(Act.PAUSE, claim.line.id, "makes room for a job that comes first"))
        elif claim.pressing and needs.within(room):
            blocked = True
    order = {Act.PAUSE: 0, Act.RESUME: 1, Act.START: 2}
    return tuple(sorted(actions, key=lambda a: order[a.act]))


def margin_s(reserve_s: float) -> float:
    """Return the seconds before its last possible start from which a job presses: others must make room for it."""
    return 60.0 + 0.05 * reserve_s


def _waiting(line: Line, now_utc: datetime) -> _Claim:
    pressing = line.latest_utc <= now_utc
    why = (
        "its latest start has come"
        if pressing and line.start_utc > now_utc
        else line.reason or "its hour has come"
    )
    return _Claim(line, pressing, None, why)


def _order(claim: _Claim, had: Mapping[str, float]) -> tuple[object, ...]:
    line = claim.line
    if claim.pressing:
        return (0, line.deadline_utc, -line.priority, line.id)
    return (1, -line.priority, not claim.runs, had.get(line.owner, 0.0), line.start_utc, line.id)


class _Room:
    """What is free of a machine; may go below zero where what runs takes more than there is."""

    def __init__(self, room: Needs) -> None:
        self._free = [room.cpus, room.gpus, room.memory_bytes]
        self._limited = room.memory_bytes > 0  # 0: the machine's memory is not known

    def holds(self, needs: Needs, kept: Needs) -> bool:
        """Whether `needs` fit, of which `kept` is taken already."""
        wanted = (needs.cpus - kept.cpus, needs.gpus - kept.gpus, needs.memory_bytes - kept.memory_bytes)
        return all(
            want <= max(0, free) or (n == 2 and not self._limited)
            for n, (want, free) in enumerate(zip(wanted, self._free, strict=True))
        )

    def take(self, needs: Needs, kept: Needs | None = None) -> None:
        """Take `needs`, less what is kept already."""
        kept = kept or NOTHING
        for n, (want, had) in enumerate(
            zip(
                (needs.cpus, needs.gpus, needs.memory_bytes),
                (kept.cpus, kept.gpus, kept.memory_bytes),
                strict=True,
            )
        ):
            self._free[n] -= want - had
