"""What would an epoch cost? Learnt from the epochs that were measured.

The logarithm of a trial's mean joules an epoch is a straight line in the settings plus a Matern 5/2 remainder: most
of what drives cost (width, depth, batch size) acts as a factor. A trial that has begun answers for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import final

import numpy as np

from joulewise.searching.history import Trial
from joulewise.searching.space import Vector

_LEVEL, _LINE, _REMAINDER, _NOISE, _LENGTH = 1.0, 1.0, 0.25, 0.01, 0.7  # variances of log cost; a length
_MOST_TRIALS = 150


@final
class CostModel:
    """Joules an epoch (or whatever `unit_j` tells of a trial) as a function of the settings."""

    def __init__(
        self,
        trials: Sequence[Trial],
        features: Vector,
        unit_j: Callable[[Trial], float] = attrgetter("epoch_j"),
    ) -> None:
        begun = [i for i, t in enumerate(trials) if t.costs_j][-_MOST_TRIALS:]
        self._known = bool(begun)
        if not begun:
            return
        each = np.array([unit_j(trials[i]) for i in begun])
        self._least = max(float(each.max()) * 1e-6, 1e-12)
        logs = np.log(np.maximum(each, self._least))
        self._mean = float(logs.mean())
        self._features = features[begun]
        k = _kernel(self._features, self._features)
        k[np.diag_indices_from(k)] += _NOISE
        self._weights = np.linalg.solve(k, logs - self._mean)

    def epoch_j(self, features: Vector) -> Vector:
        """Return the joules that one epoch is expected to cost, for settings (rows); 1 where nothing is known."""
        if not self._known:
            return np.ones(len(features))
        cross = _kernel(features, self._features)
        return np.asarray(np.exp(self._mean + cross @ self._weights))


def _kernel(one: Vector, other: Vector) -> Vector:
    scale2 = max(one.shape[1], 1) * _LENGTH**2 / 2
    gap2 = ((one**2).sum(1)[:, None] + (other**2).sum(1)[None, :] - 2 * one @ other.T).clip(0.0) / scale2
    r = np.sqrt(5.0 * gap2)
    remainder = _REMAINDER * (1 + r + 5.0 * gap2 / 3) * np.exp(-r)
    return np.asarray(_LEVEL + _LINE * (one - 0.5) @ (other - 0.5).T + remainder)
