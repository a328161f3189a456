"""Warm-up, stable, decay: a schedule that can be landed from wherever it is, inside the joules left.

A cosine must know its end from the first step. This one holds its rate until somebody says *land*: then a short decay
(by 1 - sqrt, Hägele et al. 2024, "Scaling laws and compute-optimal training beyond fixed training durations") brings the
loss down to where a run planned for that length would have ended. Who says so: the planned end, a stopping rule that
expects no more at this rate (`Move.DROP_NOW`), or a budget: `must_land` leaves just enough joules for the decay.
Pure; `factor(step)` is what the learning rate is multiplied by.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, inf, sqrt

from joulewise.training.schedule import Schedule
from joulewise.vocabulary.errors import UsageError


@dataclass(frozen=True, slots=True)
class Landing:
    """A learning rate that warms up, stays, and decays to 0 once it is told to.

    `warm_up` in steps; `decay` is how long the decay lasts as a share of the steps before it. `lands_at` is the step at
    which the decay begins (None: not yet), `ends_at` the step after the last.
    """

    warm_up: int = 0
    decay: float = 0.25
    lands_at: int | None = None
    ends_at: int | None = None

    def __post_init__(self) -> None:
        """Refuse a negative warm-up, a decay outside 0 to 1, an end before its beginning."""
        if self.warm_up < 0:
            raise UsageError(f"warm_up is {self.warm_up}, but must be at least 0 steps")
        if not 0 < self.decay <= 1:
            raise UsageError(f"decay is {self.decay:g}, but must lie above 0 and at most at 1")
        if (self.lands_at is None) != (self.ends_at is None):
            raise UsageError("lands_at and ends_at go together: where the decay begins and where it ends")
        if self.lands_at is not None and self.ends_at is not None and not 0 <= self.lands_at < self.ends_at:
            raise UsageError(
                f"the decay runs from step {self.lands_at} to {self.ends_at}, but must end after it begins"
            )

    @classmethod
    def planned(cls, steps: int, *, warm_up: int | None = None, decay: float = 0.25) -> Landing:
        """Return the schedule of a run of `steps`, its decay planned so that it ends there."""
        if steps < 1:
            raise UsageError(f"steps is {steps}, but must be at least 1")
        lands_at = min(steps - 1, round(steps / (1 + decay)))
        return cls(ceil(0.05 * steps) if warm_up is None else warm_up, decay, lands_at, steps)

    def factor(self, step: int) -> float:
        """Return what the learning rate is multiplied by at this step (counted from 0); 0 after the end."""
        rising = min(1.0, (step + 1) / (self.warm_up + 1))
        if self.lands_at is None or self.ends_at is None or step < self.lands_at:
            return rising
        done = (step - self.lands_at) / (self.ends_at - self.lands_at)
        return rising * max(0.0, 1 - sqrt(done))

    def decay_steps(self, step: int) -> int:
        """Return how many steps a decay from here would take."""
        return max(1, ceil(self.decay * step))

    def land(self, step: int, within: int | None = None) -> Landing:
        """Return the schedule with its decay begun here; `within` shortens it to so many steps.

        A decay that has begun is only ever brought forward.
        """
        if within is not None and within < 1:
            raise UsageError(f"within is {within} steps, but a landing needs at least 1")
        length = self.decay_steps(step) if within is None else min(within, self.decay_steps(step))
        if self.lands_at is not None and self.ends_at is not None and step >= self.lands_at:
            if within is None or step + within >= self.ends_at:
                return self
            # already landing: the rest of the same curve in fewer steps
            done = (step - self.lands_at) / (self.ends_at - self.lands_at)
            begun = step + within - ceil(within / (1 - done))  # whole steps: never higher than it was
            return replace(self, lands_at=max(0, begun), ends_at=step + within)
        return replace(self, lands_at=step, ends_at=step + length)

    def must_land(self, step: int, joules_left: float, joules_per_step: float) -> Landing | None:
        """Return the schedule to land by, once the joules left pay for no more than the decay; None before.

        Where they pay for less than a whole decay, it is shortened to fit. Refuses where not one step fits.
        """
        if not joules_per_step > 0 or joules_per_step == inf:
            raise UsageError(f"joules_per_step is {joules_per_step:g}, but must be above 0 and finite")
        affordable = int(joules_left / joules_per_step)
        left = inf if self.ends_at is None else self.ends_at - step
        if left <= affordable:
            return None
        if self.lands_at is not None and step >= self.lands_at:
            return self.land(step, max(1, affordable))
        if affordable > self.decay_steps(step):
            return None
        return self.land(step, max(1, affordable))

    def begun(self, step: int) -> bool:
        """Return whether the decay has begun."""
        return self.lands_at is not None and step > self.lands_at

    def over(self, step: int) -> bool:
        """Return whether the landing is complete."""
        return self.ends_at is not None and step >= self.ends_at

    def in_view(self, horizon: float | None = None, steps_per_unit: float = 1.0) -> Schedule:
        """Return what a stopping rule must know of this schedule, in units of `steps_per_unit` steps (an epoch's).

        Before the landing, the planned `horizon` is where a decay would begin at the latest.
        """
        if self.lands_at is None or self.ends_at is None:
            return Schedule(horizon=horizon, warm_up=self.warm_up / steps_per_unit)
        start, end = self.lands_at / steps_per_unit, self.ends_at / steps_per_unit
        return Schedule(horizon=end, warm_up=self.warm_up / steps_per_unit, decays=((start, end),))
