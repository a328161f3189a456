"""What a search needs, before it begins."""

from __future__ import annotations

import numpy as np
import pytest

from joulewise.searching.deciding import Rules
from joulewise.searching.history import Trial
from joulewise.searching.ordering import search
from joulewise.searching.planning import noise, plan_search
from joulewise.vocabulary.budget import Budget
from tests.searching.doubles import SPACE, Meter, valley


def trial(values, cost=2.0, number=0):
    return Trial(number, np.array([0.5]), tuple(values), (cost,) * len(values))


def test_cost():
    """The cost is the mean measured epoch, times the epochs of a training, times the trainings that are needed."""
    plan = plan_search(Rules(10), [trial([1, 2], 2.0), trial([1], 4.0)])

    assert plan.epoch == (2.0, 3.0, 4.0)
    assert plan.total == pytest.approx([30 * t for t in plan.trainings])
    assert plan.rungs == (3, 6, 10)
    assert plan.random_trainings == 299
    told = plan.lines(Budget.parse("1J"))
    assert told[-1] == "  budget          1.00 J: too little, random settings would do as well"
    assert plan.lines(Budget.parse("1MJ"))[-1].endswith(": enough")


def test_nothing_known():
    """Before anything was trained the cost is unknown, not nothing."""
    plan = plan_search(Rules(10), [])

    assert plan.total is None
    assert plan.lines(Budget.parse("1kJ"))[-1] == "  cost            unknown: nothing has been trained yet"


def test_noise():
    """The noise from epoch to epoch is found on a curve that still rises."""
    rng = np.random.default_rng(5)
    curves = [trial(np.linspace(0, 1, 60) + rng.normal(0, 0.03, 60)) for _ in range(5)]

    assert noise(curves) == pytest.approx(0.03, rel=0.2)
    assert noise([trial([1, 2, 3])]) is None


def test_seeds():
    """Few seeds suffice for a large difference, and many are needed for one within the noise."""
    rng = np.random.default_rng(5)
    curves = [trial(rng.normal(0, 0.03, 60)) for _ in range(5)]

    assert plan_search(Rules(60), curves, difference=0.2).seeds == 3
    assert 9 <= plan_search(Rules(60), curves, difference=0.03).seeds <= 18
    assert "--difference says" in plan_search(Rules(60), curves).why_seeds


def test_trials_of_the_budget():
    """No more configurations are planned than the budget allows."""
    assert plan_search(Rules(10), [], most_trials=20).configurations == (18, 20, 20)


def test_tolerance():
    """A search ends by itself when its best is not expected to improve by more than the tolerance."""
    meter = Meter()
    study = search(valley(meter), SPACE, "2kJ", measure=meter, minimise=True, tolerance=0.002)

    assert study.reason.startswith("the best is expected to improve by")
    assert meter.used_j < 1500
    assert study.best_value == pytest.approx(0.5 / 27, abs=0.004)
