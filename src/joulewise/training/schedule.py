"""What is known beforehand about a run: its length, and where its learning rate rises, drops, restarts or decays.

A curve cannot show the gain of a drop that has not come, so no rule that looks only at the curve may stop before it.
"""

from __future__ import annotations

from dataclasses import dataclass

from joulewise.vocabulary.errors import UsageError


@dataclass(frozen=True, slots=True)
class Schedule:
    """The schedule in view, in the curve's own steps.

    `horizon` is the last step planned; None for an open end. `drops` are sudden cuts of the learning rate, `restarts`
    sudden rises; a restart's cycle ends at the next restart or at the horizon. `decays` are phases of falling
    learning rate that end the run or a part of it, as (from, to). A decay over the whole run (cosine from the first
    step) needs no entry: the forecast's constants come from such runs.
    """

    horizon: float | None = None
    warm_up: float = 0.0
    drops: tuple[float, ...] = ()
    restarts: tuple[float, ...] = ()
    decays: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be in view: steps at or before 0, a decay that ends before it starts."""
        if self.horizon is not None and not self.horizon > 0:
            raise UsageError(f"horizon is {self.horizon:g}, but must be above 0; give the last step planned")
        if not self.warm_up >= 0:
            raise UsageError(f"warm_up is {self.warm_up:g}, but must be at least 0")
        for name, steps in (("drops", self.drops), ("restarts", self.restarts)):
            for step in steps:
                if not step > 0:
                    raise UsageError(f"{name} has {step:g}, but each must be a step above 0")
        if self.restarts and self.horizon is None:
            raise UsageError("restarts need a horizon: without it nobody knows where the last cycle ends")
        for start, end in self.decays:
            if not 0 <= start < end:
                raise UsageError(f"a decay runs from {start:g} to {end:g}, but must end after it starts")

    def next_drop(self, step: float) -> float | None:
        """Return the next step after this one at which the learning rate is cut or starts to decay."""
        return min((s for s in (*self.drops, *(start for start, _ in self.decays)) if s > step), default=None)

    def decay_until(self, step: float) -> float | None:
        """Return where the decay that this step lies in ends; None outside of one."""
        return next((end for start, end in self.decays if start <= step < end), None)

    def cycle_until(self, step: float) -> float | None:
        """Return where the cycle after the last restart ends; None before the first restart, and at that end."""
        if self.horizon is None or not any(s <= step for s in self.restarts):
            return None
        end = min((s for s in self.restarts if s > step), default=self.horizon)
        return end if step < end else None

    def settling_since(self, step: float) -> float:
        """Return the last drop before this step (0 without one): before it the curve speaks of another rate."""
        return max((s for s in self.drops if s <= step), default=0.0)
