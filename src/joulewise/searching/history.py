"""What was seen: trials with their learning curves and costs, and what was decided about them and why.

Values only. `Trial.values` are the objective's reports, one an epoch, turned so that more is better; `costs_j` is
what each epoch cost (joules, or whatever the study counts).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from joulewise.searching.space import Vector


class State(StrEnum):
    """What became of a trial."""

    PAUSED = "paused"  # can go on
    RUNNING = "running"  # a worker trains it now
    COMPLETE = "complete"  # trained in full
    FAILED = "failed"  # raised, reported NaN, or never reported


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One configuration (a point of the unit cube), its curve so far, and what each epoch cost."""

    number: int
    point: Vector
    values: tuple[float, ...] = ()
    costs_j: tuple[float, ...] = ()
    state: State = State.PAUSED
    why: str = ""
    resumable: bool = True  # whether it can go on from where it paused; if not, it starts again from nothing
    holder: str = ""  # the worker that alone can go on with it, because it stands in that worker's memory
    past: bool = False  # of an earlier study or run: known, but not of this study's doing
    key: str = ""  # what two trials share only if their settings are the same; empty: not worked out yet

    def free_for(self, worker: str) -> bool:
        """Return whether `worker` could go on with it now."""
        return self.state is State.PAUSED and self.holder in ("", worker)

    @property
    def epoch(self) -> int:
        """How many epochs have been trained."""
        return len(self.values)

    @property
    def best(self) -> float:
        """The best value of any epoch; minus infinity before the first."""
        return max(self.values, default=float("-inf"))

    @property
    def spent_j(self) -> float:
        """What it has cost so far."""
        return sum(self.costs_j)

    @property
    def epoch_j(self) -> float:
        """What an epoch of it costs, in the mean; the first holds the start and is left out once others are known."""
        told = self.costs_j[1:] or self.costs_j
        return sum(told) / len(told)

    @property
    def dearest_j(self) -> float:
        """What its next epoch may cost: as much as the dearest so far, without the start."""
        return max(self.costs_j[1:] or self.costs_j)


class Step(StrEnum):
    """What a decision asks for."""

    START = "start"  # a new configuration, to its first rung
    PROMOTE = "promote"  # a paused trial goes on to its next rung
    STOP = "stop"  # nothing left that is worth its joules
    WAIT = "wait"  # nothing to do until what other workers train tells more


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What to do next, and why. `point` is set for START, `trial` for PROMOTE; `until` is the epoch to reach."""

    step: Step
    reason: str
    until: int = 0
    trial: int = -1
    point: Vector | None = None
