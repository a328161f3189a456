"""What an epoch costs."""

from __future__ import annotations

import numpy as np
import pytest

from joulewise.searching.cost import CostModel
from joulewise.searching.history import Trial


def test_learnt():
    """Where cost is a power of the settings, unseen settings are told within a fifth after 20 trials."""
    rng = np.random.default_rng(0)
    points = rng.random((60, 3))
    costs = np.exp(2 * points[:, 0] - points[:, 1])
    model = CostModel(
        [Trial(i, p, (0.0,) * 2, (c, c)) for i, (p, c) in enumerate(zip(points[:20], costs, strict=False))],
        points[:20],
    )

    told = model.epoch_j(points[20:])

    assert np.median(np.abs(np.log(told / costs[20:]))) < 0.2


def test_free():
    """Epochs that cost nothing, as measured, give a finite cost."""
    model = CostModel([Trial(0, np.zeros(2), (1.0,), (0.0,))], np.zeros((1, 2)))

    assert model.epoch_j(np.ones((1, 2)))[0] == pytest.approx(0.0, abs=1e-6)
