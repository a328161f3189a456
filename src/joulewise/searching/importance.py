"""Which parameters matter? The share of the forecast's variance that goes when a parameter is known.

Total effects after Jansen, "Analysis of variance designs for model output" (1999): over random configurations,
S_j = mean((f(x) - f(x with its j-th parameter drawn anew))^2) / (2 Var f). The function is the curve model's forecast of
a trial's end (the scale on which differences between good trials count), and the logarithm of the cost model's joules.
Shares are of their own sum: parameters that act together count in each of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from joulewise.searching.cost import CostModel
from joulewise.searching.curves import Beliefs, CurveModel, fit, see, warp_of
from joulewise.searching.deciding import looked_at
from joulewise.searching.history import State, Trial
from joulewise.searching.space import Space, Vector

_DRAWS = 512
_FEWEST = 8
_STEPS = 30
_EQUAL_COST = 0.02  # below it all settings cost the same, to about a tenth


@dataclass(frozen=True, slots=True)
class Importance:
    """By parameter, the share (0 to 1) of the differences in value, and in cost, that it accounts for."""

    value: Mapping[str, float]
    cost: Mapping[str, float]


def importance(space: Space, trials: Sequence[Trial], epochs: int, seed: int = 0) -> Importance | None:
    """Return what matters, greatest share first; None before eight trials have told anything, or all tell the same."""
    begun = looked_at([t for t in trials if t.epoch and t.state is not State.FAILED])
    if len(begun) < _FEWEST:
        return None
    features = space.features(np.array([t.point for t in begun]))
    warp = warp_of(np.array([v for t in begun for v in t.values]))
    seen = see(begun, features, epochs, warp)
    model = CurveModel(seen, fit(seen, Beliefs.first(features.shape[1]), _STEPS))
    cost = CostModel(begun, features)
    rng = np.random.default_rng(seed)
    width = len(space.names)
    base, other = rng.random((_DRAWS, width)), rng.random((_DRAWS, width))

    def told(points: Vector) -> tuple[Vector, Vector]:
        there = space.features(np.array([space.point(space.configuration(p)) for p in points]))
        end, new = np.ones(len(there)), np.full(len(there), -1.0)
        return model.forecast(there, end, new)[0], np.log(cost.epoch_j(there))

    first = told(base)
    effects = np.empty((2, width))
    for column in range(width):
        moved = base.copy()
        moved[:, column] = other[:, column]
        effects[:, column] = [((a - b) ** 2).mean() for a, b in zip(first, told(moved), strict=True)]
    value, joules = _shares(space, effects[0], 1e-9), _shares(space, effects[1], _EQUAL_COST)
    return Importance(value, joules) if value else None


def _shares(space: Space, effects: Vector, least: float) -> dict[str, float]:
    total = float(effects.sum())
    if total <= least:
        return {}
    order = np.argsort(-effects, kind="stable")
    return {space.names[i]: float(effects[i]) / total for i in order}
