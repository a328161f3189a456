"""Values of what was seen."""

from __future__ import annotations

import numpy as np

from joulewise.searching.history import Trial


def test_trial():
    """A trial tells its epochs, its best, the best so far and what it cost."""
    trial = Trial(0, np.zeros(1), (1.0, 3.0, 2.0), (1.0, 1.0, 2.0))

    assert (trial.epoch, trial.best, trial.spent_j) == (3, 3.0, 4.0)
    assert Trial(1, np.zeros(1)).best == float("-inf")
