"""How often and on how many samples to validate, so that it costs a set share and never blinds the stopping rule.

`plan` is pure: from what a training step and a validated sample cost (joules or seconds, the same for both) it chooses
the step between evaluations and the size of the subset. `settled` compares two models sample by sample and says as soon
as the answers so far decide which is better, so that a plainly worse candidate is not evaluated to the end, and so that
the luckiest of many noisy evaluations is not taken for the best model: keep the latest unless `settled` favours the
earlier.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, exp, floor, inf, lgamma, log, sqrt

from joulewise.vocabulary.errors import UsageError

SHARE = 0.05
_WANTED = 40  # evaluations in a run: the forecast reads its last third, and 40 leave it thirteen points
_ENOUGH = 20  # evaluations below which the last third is too few points to tell growth from noise


@dataclass(frozen=True, slots=True)
class ValidationPlan:
    """Validate every `every_steps` steps on `samples` samples; `share` is what that costs of the whole run.

    `resolves` is the standard error of a share of right answers on so many samples, at its worst (half right).
    `warning` says what the stopping rule will not see; empty where it sees enough. The final model is to be validated
    once on the whole set: `final_share` is what that costs, and is not in `share`.
    """

    every_steps: int
    samples: int
    share: float
    final_share: float
    resolves: float
    warning: str = ""

    @property
    def evaluations_per_1000_steps(self) -> float:
        """How many evaluations a thousand steps have."""
        return 1000 / self.every_steps

    def __str__(self) -> str:
        text = (
            f"validate every {self.every_steps} steps on {self.samples} samples: {self.share:.1%} of the run"
        )
        return f"{text}; {self.warning}" if self.warning else text


def plan(
    horizon: int,
    samples: int,
    step_cost: float,
    sample_cost: float,
    *,
    share: float = SHARE,
    resolve: float = 0.005,
) -> ValidationPlan:
    """Return the plan for a run of `horizon` steps with a validation set of `samples`.

    The largest subset that 40 evaluations within the share can pay for is taken. Where it would be too small to resolve
    `resolve` (a standard error of a share of right answers), evaluations are given up first, down to 20; then the
    subset stays too small, and the plan says so.
    """
    for name, number in (("horizon", horizon), ("samples", samples)):
        if number < 1:
            raise UsageError(f"{name} is {number}, but must be at least 1")
    for name, cost in (("step_cost", step_cost), ("sample_cost", sample_cost), ("resolve", resolve)):
        if not 0 < cost < inf:
            raise UsageError(f"{name} is {cost:g}, but must be above 0 and finite")
    if not 0 < share < 1:
        raise UsageError(f"share is {share:g}, but must lie between 0 and 1")
    training = horizon * step_cost
    affordable = share / (1 - share) * training / sample_cost  # samples in all, over the whole run
    needed = min(samples, ceil(0.25 / resolve**2))
    evaluations = min(_WANTED, horizon, max(min(_ENOUGH, horizon), floor(affordable / needed)))
    every = horizon // evaluations
    evaluations = floor(horizon / every)
    subset = min(samples, floor(affordable / evaluations))
    while subset < 1 and evaluations > 1:  # not even one sample each time: fewer evaluations
        every *= 2
        evaluations = max(1, floor(horizon / every))
        subset = min(samples, floor(affordable / evaluations))
    if subset < 1:
        raise UsageError(
            f"one validated sample costs {sample_cost:g} and the whole run {training:g}: not one fits into {share:.1%}; "
            "raise the share"
        )
    spent = evaluations * subset * sample_cost
    warnings = []
    if subset < needed:
        warnings.append(f"{subset} samples resolve {0.5 / sqrt(subset):.2g}, not {resolve:g}")
    if evaluations < _ENOUGH:
        warnings.append(f"{evaluations} evaluations are too few to stop early by (20 are enough)")
    whole = samples * sample_cost
    return ValidationPlan(
        every, subset, spent / (spent + training), whole / training, 0.5 / sqrt(subset), "; ".join(warnings)
    )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Which of two models the answers so far favour: +1 the candidate, -1 the best so far, 0 undecided.

    `looked_at` is how many pairs were read; `certainty` how much likelier the differing answers are under 'one is
    better' than under 'both are equal' (a betting score: reading it after every pair is allowed).
    """

    favours: int
    looked_at: int
    certainty: float


def settled(pairs: Iterable[tuple[bool, bool]], error: float = 0.05) -> Comparison:
    """Return which model is better, reading (candidate right, best right) only until the answer is sure.

    A sequential sign test on the pairs in which the two differ, with a uniform bet on the chance that the candidate wins
    one: the score k! (n - k)! 2^n / (n + 1)! exceeds 1 / error with a chance of at most `error` where both are equal,
    however often it is looked at (Ville's inequality; Robbins 1970).
    """
    if not 0 < error < 1:
        raise UsageError(f"error is {error:g}, but must lie between 0 and 1")
    wins = losses = looked_at = 0
    score = 0.0
    for candidate, best in pairs:
        looked_at += 1
        if candidate == best:
            continue
        wins, losses = wins + candidate, losses + best
        n = wins + losses
        score = lgamma(wins + 1) + lgamma(losses + 1) - lgamma(n + 2) + n * log(2)
        if score >= -log(error):
            return Comparison(1 if wins > losses else -1, looked_at, exp(min(score, 700)))
    return Comparison(0, looked_at, exp(min(score, 700)))
