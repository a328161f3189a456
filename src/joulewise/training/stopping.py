"""When to stop: as soon as the gain still to be expected is below a tolerance, or not worth its joules.

`decide` looks at the curve so far, its noise, the size of the validation set and the schedule in view, and forecasts
what the rest of the run would gain, with an interval. It stops when the chance of gaining more than the tolerance has
fallen to 8 % (`Rule.doubt`), or when even the high end of that interval is worth fewer joules than the rest of the run
costs. It is pure: `replay` says what it would have done on any stored curve.

Nothing is stopped that is rising, or whose past is too short to have tested a forecast of that length.

Not a number, a curve that has lost more than it ever gained, and one that has never moved stop at once.
Constants and what they save: docs/training/stopping.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import isfinite, sqrt

from joulewise.curves.curve import Curve
from joulewise.curves.forecasting import TASKSET, Constants, Forecast, forecast
from joulewise.training.schedule import Schedule
from joulewise.vocabulary.errors import UsageError

# The share of the horizon that is warm-up, said or not: many real curves stand still first and rise after it.
EARLIEST = 0.15
# What keeps the forecast from being trusted where a curve shows otherwise: docs/decisions/0830-a-guard-for-unseen-curves.md
RISING = 0.5  # of the tolerance: a curve whose newest part, straight on, gains more goes on
TESTED = 3  # evaluations that lie as far back, in ratio, as the forecast looks ahead
_LEAST = 4  # evaluations: below, a curve has neither noise nor growth
_LEAST_OPEN = 8  # evaluations where no horizon is known
_LEAST_AFTER_DROP = 3  # evaluations at the new learning rate
_DEAD_AFTER = 5  # evaluations without any movement
_Z95 = 1.645  # one-sided
_LOST_AFTER = 3  # evaluations in a row far below the first value


class Move(StrEnum):
    """What to do after an evaluation."""

    CONTINUE = "continue"
    STOP = "stop"
    DROP_NOW = "drop now"  # nothing more is to come at this learning rate: bring the planned drop forward


@dataclass(frozen=True, slots=True)
class Rule:
    """When the user wants to stop.

    `tolerance` is the further gain, as a share of the gain in all, that is not worth training for; `doubt` the chance of
    missing more than that which is accepted. `least_gain` is the same in the metric's unit; the larger of the two counts
    (on a noisy metric a hundredth of a small gain is never sure). `joules_per_unit` is what the user would spend for one
    unit of the metric, `joules_per_step` what a step costs; both or neither.
    `target` is a quality with which the run may end at once: where the metric is a share of so many answers, the low end
    (95 %) of what they show must have reached it.
    """

    tolerance: float = 0.01
    doubt: float = 0.08
    least_gain: float = 0.0
    joules_per_unit: float | None = None
    joules_per_step: float | None = None
    target: float | None = None
    constants: Constants = TASKSET

    def __post_init__(self) -> None:
        """Refuse shares outside 0 to 1, and a worth without a cost."""
        for name, share in (("tolerance", self.tolerance), ("doubt", self.doubt)):
            if not 0 < share < 1:
                raise UsageError(f"{name} is {share:g}, but must lie between 0 and 1")
        if not (self.least_gain >= 0 and isfinite(self.least_gain)):
            raise UsageError(
                f"least_gain is {self.least_gain:g}, but must be at least 0, in the metric's unit"
            )
        if (self.joules_per_unit is None) != (self.joules_per_step is None):
            raise UsageError(
                "joules_per_unit and joules_per_step go together: what a unit is worth, what a step costs"
            )
        for cost_name, cost in (
            ("joules_per_unit", self.joules_per_unit),
            ("joules_per_step", self.joules_per_step),
        ):
            if cost is not None and not cost > 0:
                raise UsageError(f"{cost_name} is {cost:g}, but must be above 0")
        if self.target is not None and not isfinite(self.target):
            raise UsageError(f"target is {self.target:g}, but must be a finite value of the metric")


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, why in one line, and which evaluation was the best (None before a finite one)."""

    move: Move
    reason: str
    step: float
    best_step: float | None
    best_value: float | None
    forecast: Forecast | None = None

    @property
    def stops(self) -> bool:
        """Whether the run should end here."""
        return self.move is Move.STOP

    def __str__(self) -> str:
        best = "" if self.best_step is None else f"; best {self.best_value:.5g} at step {self.best_step:g}"
        return f"{self.move} at step {self.step:g}: {self.reason}{best}"


def decide(
    curve: Curve, schedule: Schedule | None = None, rule: Rule | None = None, samples: int | None = None
) -> Decision:
    """Return what to do after the last evaluation of `curve`. Pure.

    `samples` is the size of the validation set where the metric is a share of right (or wrong) answers: what so few
    answers cannot resolve is not taken for a standstill.
    """
    schedule, rule = schedule or Schedule(), rule or Rule()
    if not len(curve):
        raise UsageError("the curve is empty: log the metric at least once before asking whether to stop")
    resolution = _resolution(curve, samples)
    broken = _broken(curve)
    if broken:
        return _decision(curve, Move.STOP, broken)
    reached = _reached(curve, rule, resolution)
    if reached:
        return _decision(curve, Move.STOP, reached)
    now = curve.steps[-1]
    waiting = _too_early(curve, schedule)
    if waiting:
        return _decision(curve, Move.CONTINUE, waiting)
    if curve.gain <= 0:
        dead = _dead(curve)
        return _decision(curve, Move.STOP if dead else Move.CONTINUE, dead or "no gain yet to judge by")
    if schedule.horizon is not None and now >= schedule.horizon:
        return _decision(curve, Move.STOP, f"the planned end, step {schedule.horizon:g}, is reached")
    drop = schedule.next_drop(now)
    end = drop or schedule.horizon or 2 * now
    to_come = forecast(curve, end, rule.constants, max(resolution, curve.grain))
    if to_come is None:  # pragma: no cover - a curve with a gain has a forecast
        return _decision(curve, Move.CONTINUE, "no gain yet to judge by")
    until = f"by step {end:g}"
    untested = _untested(curve, end, _tolerated(to_come, rule))
    if untested:
        return _decision(curve, Move.CONTINUE, untested, to_come)
    enough = _enough(to_come, rule, end - now)
    if enough is None:
        return _decision(curve, Move.CONTINUE, f"{_expected(to_come)} is to come {until}", to_come)
    if drop is not None:
        reason = f"{_expected(to_come)} is to come {until}, {enough}; the drop planned there need not wait"
        return _decision(curve, Move.DROP_NOW, reason, to_come)
    return _decision(curve, Move.STOP, f"{_expected(to_come)} is to come {until}, {enough}", to_come)


@dataclass(frozen=True, slots=True)
class Replay:
    """What the rule would have done on a whole curve: where it stops, what that saves and what it loses.

    Shares are of the whole run's steps, and of its whole gain; `lost_share` is None for a run that gained nothing.
    """

    decision: Decision
    evaluations: int
    saved_share: float
    lost_share: float | None


def replay(
    curve: Curve, schedule: Schedule | None = None, rule: Rule | None = None, samples: int | None = None
) -> Replay:
    """Return what `decide` would have done, asked after each evaluation of a stored curve. Pure.

    Without a schedule the curve's last step is taken as the planned end. A drop that the rule would have brought
    forward stays where it was: the stored curve cannot show another.
    """
    if not len(curve):
        raise UsageError("the curve is empty: there is nothing to replay")
    schedule = schedule or Schedule(horizon=curve.steps[-1])
    for count in range(1, len(curve) + 1):
        decision = decide(curve.first(count), schedule, rule, samples)
        if decision.stops:
            break
    heights = [h for h in curve.heights if isfinite(h)]
    kept = [h for h in curve.heights[:count] if isfinite(h)]
    gain = curve.gain
    lost = (max(heights) - max(kept)) / gain if gain > 0 and kept else None
    return Replay(decision, count, 1 - curve.steps[count - 1] / curve.steps[-1], lost)


def _decision(curve: Curve, move: Move, reason: str, to_come: Forecast | None = None) -> Decision:
    best = curve.best
    step, value = (None, None) if best is None else (curve.steps[best], curve.values[best])
    return Decision(move, reason, curve.steps[-1], step, value, to_come)


def _resolution(curve: Curve, samples: int | None) -> float:
    """Return the standard error of the newest value, a share of right answers among `samples`."""
    if samples is None:
        return 0.0
    if samples < 1:
        raise UsageError(f"samples is {samples}, but must be at least 1: the size of the validation set")
    share = curve.values[-1]
    if not isfinite(share):
        return 0.0
    if not 0 <= share <= 1:
        raise UsageError(
            f"the metric is {share:g}, but samples asks for a share of answers between 0 and 1; leave samples out"
        )
    return sqrt(max(share * (1 - share), 1 / samples) / samples)


def _broken(curve: Curve) -> str | None:
    """Return why the run cannot recover; None where it may."""
    if not isfinite(curve.values[-1]):
        return f"the metric is {curve.values[-1]}"
    best = curve.best
    if best is None or len(curve) <= _LOST_AFTER or not isfinite(curve.heights[0]):
        return None
    calm = curve.first(len(curve) - _LOST_AFTER)  # the noise before the fall, which is no noise itself
    fall = max(calm.gain, 0.5 * abs(curve.heights[0]), 5 * calm.noise)
    lost = curve.heights[-_LOST_AFTER:]
    if fall > 0 and all(h < curve.heights[0] - fall for h in lost) and lost[-1] <= lost[0]:
        return f"diverged: {curve.values[-1]:.5g} is worse than the first value by more than was ever gained"
    return None


def _reached(curve: Curve, rule: Rule, resolution: float) -> str | None:
    """Return that the target is reached, beyond what the size of the validation set leaves open; None where it is not."""
    if rule.target is None:
        return None
    sign = 1 if curve.higher_is_better else -1
    sure = curve.values[-1] - sign * _Z95 * resolution
    if sign * (sure - rule.target) < 0:
        return None
    least = f", and {sure:.5g} with 95 %" if resolution else ""
    return f"the target {rule.target:g} is reached: {curve.values[-1]:.5g}{least}"


def _dead(curve: Curve) -> str | None:
    """Return that the curve has never moved; None where it has."""
    if len(curve) < _DEAD_AFTER:
        return None
    low, high = min(curve.values), max(curve.values)
    if high - low <= 1e-6 * max(abs(low), abs(high)):
        return f"dead: {len(curve)} evaluations and the metric has not moved from {curve.values[-1]:.5g}"
    return None


def _too_early(curve: Curve, schedule: Schedule) -> str | None:
    """Return what the curve cannot show yet; None where it can be judged."""
    now = curve.steps[-1]
    if now < schedule.warm_up:
        return f"warm-up until step {schedule.warm_up:g}"
    if schedule.horizon is not None and now >= schedule.horizon:
        return None
    if schedule.horizon is not None and now < EARLIEST * schedule.horizon:
        return f"the first {EARLIEST:.0%} of the run show too little"
    least = _LEAST if schedule.horizon is not None else _LEAST_OPEN
    if len(curve) < least:
        return f"{len(curve)} of the {least} evaluations that a forecast needs"
    cycle = schedule.cycle_until(now)
    if cycle is not None:
        return f"the cycle after the restart runs until step {cycle:g}"
    decay = schedule.decay_until(now)
    if decay is not None:
        return f"the learning rate decays until step {decay:g}"
    since = schedule.settling_since(now)
    seen = sum(s > since for s in curve.steps)
    if since and seen < _LEAST_AFTER_DROP:
        return f"{seen} of the {_LEAST_AFTER_DROP} evaluations needed since the drop at step {since:g}"
    return None


def _tolerated(to_come: Forecast, rule: Rule) -> float:
    """Return the further gain that is not worth training for, in the metric's unit."""
    # tolerance is a share of the gain in all: x of the gain so far is x / (1 + x) of the gain in all
    return max(to_come.gain * rule.tolerance / (1 - rule.tolerance), rule.least_gain)


def _untested(curve: Curve, end: float, tolerated: float) -> str | None:
    """Return why the curve itself speaks against trusting its forecast; None where it does not."""
    behind = curve.tested(end)
    if behind < TESTED:
        return f"{behind} of the {TESTED} evaluations so far back that a forecast to step {end:g} has been tested"
    rise = curve.rise(end)
    if rise > RISING * tolerated:
        return f"it is rising: straight on, {rise:.2g} above the best by step {end:g}"
    return None


def _enough(to_come: Forecast, rule: Rule, steps: float) -> str | None:
    """Return why the gain to come is not worth the steps; None where it is."""
    tolerated = _tolerated(to_come, rule)
    chance = to_come.chance(tolerated)
    if chance <= rule.doubt:
        share = tolerated / (to_come.gain + tolerated)
        return f"more than {tolerated:.2g} ({share:.1%} of the gain) with a chance of {chance:.0%} only"
    if rule.joules_per_unit is not None and rule.joules_per_step is not None:
        worth_j = to_come.exceeded_with(0.05) * rule.joules_per_unit
        cost_j = steps * rule.joules_per_step
        if worth_j < cost_j:
            return f"worth at most {worth_j:.3g} J, and costs {cost_j:.3g} J"
    return None


def _expected(to_come: Forecast) -> str:
    low, median, high = to_come.interval
    return f"a gain of {median:.2g} ({low:.2g} to {high:.2g})"
