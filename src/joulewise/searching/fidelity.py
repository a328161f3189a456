"""From which epoch on can ranks be trusted? The minimum resource, from what was observed.

A trial is first trained to the smallest rung whose order of trials agrees with their order later on (Spearman's
rank correlation). Too small a rung throws away settings that start slowly; too large a one pays for certain losers.
Where not even a third of the epochs tells the order, every trial is trained in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from joulewise.searching.history import Trial
from joulewise.searching.space import Vector

ETA = 3
TRUSTED = 0.6  # rank correlation from which a rung's order is believed
BLIND = 0.2  # below it at a third of the epochs, early values are not used at all
_FEWEST = 6  # trials that a correlation needs
_FEWEST_BLIND = 8


@dataclass(frozen=True, slots=True)
class Minimum:
    """The epoch to which a new trial is first trained, why, and whether early values tell anything."""

    epoch: int
    reason: str
    blind: bool = False


def ladder(epochs: int) -> tuple[int, ...]:
    """Return the rungs that may be the first: 1, 3, 9 ... up to a third of the epochs."""
    rungs = [1]
    while rungs[-1] * ETA * ETA <= epochs:
        rungs.append(rungs[-1] * ETA)
    return tuple(rungs)


def minimum(trials: Sequence[Trial], epochs: int) -> Minimum:
    """Return the smallest rung whose order agrees with the order at three times its epochs or later."""
    rungs = ladder(epochs)
    trials = [t for t in trials if t.epoch >= ETA]  # the others tell nothing of what comes later
    start = rungs[min(1, len(rungs) - 1)]
    told = [(rung, correlation(trials, rung)) for rung in rungs]
    known = [(rung, rho) for rung, rho in told if rho is not None]
    if not known:
        return Minimum(start, f"epoch {start}, until {_FEWEST} trials have gone on and tell")
    last_rung, last_rho = known[-1]
    if last_rung == rungs[-1] and last_rho < BLIND and _deep(trials, epochs) >= _FEWEST_BLIND:
        return Minimum(
            epochs, f"all {epochs} epochs: even at epoch {last_rung} ranks hold at {last_rho:.2f} only", True
        )
    for rung, rho in known:
        if rho >= TRUSTED:
            return Minimum(rung, f"epoch {rung}: ranks hold at {rho:.2f}")
    beyond = min(last_rung * ETA, rungs[-1])
    return Minimum(beyond, f"epoch {beyond}: at epoch {last_rung} ranks hold at {last_rho:.2f} only")


def correlation(trials: Sequence[Trial], rung: int) -> float | None:
    """Return Spearman's rank correlation of the values at `rung` and at the last epoch that enough trials reached.

    None until six trials went to three times the rung. Those that went on were chosen, which makes the figure
    smaller than it would be over all, so that a rung is trusted late rather than early.
    """
    reached = sorted((t.epoch for t in trials if t.epoch >= ETA * rung), reverse=True)
    if len(reached) < _FEWEST:
        return None
    later = reached[_FEWEST - 1]
    both = [t for t in trials if t.epoch >= later]
    one = _ranks(np.array([max(t.values[:rung]) for t in both]))
    other = _ranks(np.array([max(t.values[:later]) for t in both]))
    spread = float(one.std() * other.std())
    return 0.0 if spread == 0 else float(((one - one.mean()) * (other - other.mean())).mean() / spread)


def _deep(trials: Sequence[Trial], epochs: int) -> int:
    return sum(t.epoch >= epochs for t in trials)


def _ranks(values: Vector) -> Vector:
    """Return ranks; equal values share their mean rank."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count + 1) / 2)[place])
