"""A job that a worker has: how long it may still take, for how long it could stand still, and what its plan says now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import inf

from joulewise.ledger.jobs import Line
from joulewise.scheduling.foresight import NOTHING
from joulewise.vocabulary.job import Stretch
from joulewise.vocabulary.ticket import Needs

_OVERRUN = 0.1  # what a job that is over its time may still take, as a share of it


@dataclass(frozen=True, slots=True)
class Going:
    """A job that the worker has: whether it stands still, how long it ran, its plan, and what it keeps while paused.

    `reserve_s` is all that it may take (0: nobody knows), `resume_s` what going on after a pause costs, `nodes` where it
    is (empty: not known), `since_s` how long it has been running without a pause. `later` says that it has not begun and
    its hour has not come.
    """

    line: Line
    paused: bool
    ran_s: float
    reserve_s: float
    stretches: tuple[Stretch, ...] = ()
    pausable: bool = False
    at_rest: Needs = NOTHING
    resume_s: float = 0.0
    nodes: tuple[int, ...] = ()
    since_s: float = inf
    later: bool = False

    def left_s(self, now_utc: datetime) -> float:
        """Return how long it may still run; of one that is over its time a share of it, of an unknown one all until its deadline."""
        if self.reserve_s <= 0:
            return max(60.0, (self.line.deadline_utc - now_utc).total_seconds())
        return max(self.reserve_s - self.ran_s, _OVERRUN * self.reserve_s)

    def spare_s(self, now_utc: datetime) -> float:
        """Return for how long it could stand still from now on and still be done in time; a paused one: may yet."""
        left_s = max(0.0, self.reserve_s - self.ran_s) + margin_s(self.reserve_s) + self.resume_s
        return (self.line.deadline_utc - now_utc).total_seconds() - left_s

    def pressing(self, now_utc: datetime) -> bool:
        """Whether what may be left of it fits before its deadline only if it runs on."""
        return self.spare_s(now_utc) <= 0

    def rests_until(self, now_utc: datetime) -> datetime | None:
        """Return when its plan lets it run again; None if it should run now, or has no plan left."""
        return rests_until(self.stretches, now_utc)


def margin_s(reserve_s: float) -> float:
    """Return the seconds before its last possible start from which a job presses: others must make room for it."""
    return 60.0 + 0.05 * reserve_s


def rests_until(stretches: Sequence[Stretch], now_utc: datetime) -> datetime | None:
    """Return when a plan lets a job run again; None if it should run now, or no more of the plan is left."""
    for stretch in stretches:
        if stretch.start_utc <= now_utc < stretch.end_utc:
            return None
        if stretch.start_utc > now_utc:
            return stretch.start_utc
    return None
