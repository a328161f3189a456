"""Which parameters matter."""

from __future__ import annotations

import numpy as np
import pytest

from joulewise.searching.history import State, Trial
from joulewise.searching.importance import importance
from joulewise.searching.space import Float, Int, Space

SPACE = Space({"value": Float(0, 1), "width": Int(1, 64, log=True), "nothing": Float(0, 1)})


def trials(count):
    """Return trials whose value depends on one parameter, and whose cost on another."""
    points = np.random.default_rng(3).random((count, 3))
    made = []
    for number, point in enumerate(points):
        params = SPACE.configuration(point)
        ends = [1 - (params["value"] - 0.4) ** 2 - 0.3 / epoch for epoch in range(1, 10)]
        made.append(Trial(number, point, tuple(ends), (params["width"],) * 9, State.COMPLETE))
    return made


def test_who_matters():
    """The parameter that drives the value comes first, and the one that drives the cost for the cost."""
    told = importance(SPACE, trials(40), 9)

    assert told is not None
    assert next(iter(told.value)) == "value"
    assert told.value["value"] > 0.7
    assert next(iter(told.cost)) == "width"
    assert told.cost["width"] > 0.7
    assert sum(told.value.values()) == pytest.approx(1)


def test_too_few():
    """Before eight trials nothing is said."""
    assert importance(SPACE, trials(7), 9) is None
