"""What does the question need? Configurations, fidelities, seeds, and what they will cost: a plan before a search.

The question is: which settings are among the best hundredth? Random search, trained in full, answers it with 95 %
after ln 0.05 / ln 0.99 = 299 trainings. What this search needs was measured: the 10, 50 and 90 % quantiles of LCBench's
tasks (docs/searching/figures.md), in trainings' worth of epochs and in configurations. Joules are the measured epochs' of the
trials so far. Seeds tell two settings apart that differ by `difference`: n = 2 ((z95 + z80) sigma / difference)^2,
where sigma is the noise from epoch to epoch (second differences of the curves; var = 6 sigma^2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log, sqrt

import numpy as np

from joulewise.searching.deciding import Rules, next_rung
from joulewise.searching.fidelity import ladder
from joulewise.searching.history import State, Trial
from joulewise.vocabulary.budget import Budget
from joulewise.vocabulary.quantities import format_duration, format_si

_SHARE, _SURE = 0.01, 0.95
_TRAININGS = (3.3, 6.8, 20.0)  # quantiles .1 .5 .9 on LCBench
_CONFIGURATIONS = (18, 40, 90)
_LEAST_SEEDS = 3
_Z = 1.645 + 0.842
_FEWEST_EPOCHS = 5

Spread = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """What a search needs; spreads are the 10, 50 and 90 % quantiles. `epoch` and `total` are in the study's unit."""

    configurations: Spread
    trainings: Spread
    rungs: tuple[int, ...]
    seeds: int
    why_seeds: str
    random_trainings: int
    epoch: Spread | None  # least, mean and most of the trials so far
    total: Spread | None
    unit: str

    def lines(self, limits: Budget) -> list[str]:
        """Return the plan in words, held against a budget."""
        low, mid, high = self.trainings
        told = [
            "to find settings among the best hundredth:",
            f"  configurations  {self.configurations[1]:.0f} ({self.configurations[0]:.0f} to {self.configurations[2]:.0f})",
            f"  fidelities      epochs {', '.join(map(str, self.rungs))}",
            f"  training        {mid:.0f} full trainings' worth ({low:.0f} to {high:.0f}); random search in full needs {self.random_trainings} for 95 %",
            f"  seeds           {self.seeds} of the best in the end: {self.why_seeds}",
        ]
        if self.epoch is None or self.total is None:
            return [*told, "  cost            unknown: nothing has been trained yet"]
        shown = [_shown(v, self.unit) for v in (*self.epoch, *self.total)]
        told.append(f"  an epoch        {shown[1]} ({shown[0]} to {shown[2]})")
        told.append(f"  cost            {shown[4]} ({shown[3]} to {shown[5]})")
        limit = limits.energy_j if self.unit == "J" else limits.time_s
        if limit is not None:
            told.append(f"  budget          {_shown(limit, self.unit)}: {_judged(limit, self.total)}")
        return told


def plan_search(
    rules: Rules, trials: Sequence[Trial], most_trials: int | None = None, difference: float | None = None
) -> SearchPlan:
    """Return what a search by `rules` needs, with what `trials` so far have cost and how noisy they are."""
    begun = [t for t in trials if t.costs_j and t.state is not State.FAILED]
    epoch = total = None
    if begun:
        each = [t.epoch_j for t in begun]
        mean = float(np.mean(each))
        epoch = (min(each), mean, max(each))
        low, mid, high = (mean * rules.epochs * t for t in _TRAININGS)
        total = (low, mid, high)
    seeds, why = _seeds(noise(begun), difference)
    a, b, c = (min(n, most_trials or n) for n in _CONFIGURATIONS)
    return SearchPlan(
        (a, b, c), _TRAININGS, _rungs(rules), seeds, why, ceil(log(1 - _SURE) / log(1 - _SHARE)), epoch, total,
        rules.unit,
    )  # fmt: skip


def noise(trials: Sequence[Trial]) -> float | None:
    """Return the standard deviation of a value from epoch to epoch; None before a curve of five epochs is known."""
    bends = [np.diff(t.values[-ceil(2 * t.epoch / 3) :], 2) for t in trials if t.epoch >= _FEWEST_EPOCHS]
    every = np.concatenate(bends) if bends else np.empty(0)
    return float(sqrt((every**2).mean() / 6)) if len(every) else None


def _seeds(sigma: float | None, difference: float | None) -> tuple[int, str]:
    if difference is None:
        return _LEAST_SEEDS, "the least for a claim; --difference says how little matters"
    if sigma is None:
        return _LEAST_SEEDS, f"the least for a claim; no curve of {_FEWEST_EPOCHS} epochs tells the noise yet"
    count = max(_LEAST_SEEDS, ceil(2 * (_Z * sigma / difference) ** 2))
    return count, f"to tell {difference:g} apart where values vary by {sigma:.2g} from epoch to epoch"


def _rungs(rules: Rules) -> tuple[int, ...]:
    first = ladder(rules.epochs)[min(1, len(ladder(rules.epochs)) - 1)]
    rungs = [first]
    while rungs[-1] < rules.epochs:
        rungs.append(next_rung(rungs[-1], rules))
    return tuple(rungs)


def _judged(limit: float, total: Spread) -> str:
    low, mid, high = total
    if limit < low:
        return "too little, random settings would do as well"
    if limit < mid:
        return "less than half of such searches need; the rest would not be solved"
    return "enough for most" if limit < high else "enough"


def _shown(value: float, unit: str) -> str:
    return format_duration(value) if unit == "s" else format_si(value, "J")
