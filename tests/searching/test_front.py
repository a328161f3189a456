"""The Pareto front of quality and energy."""

from __future__ import annotations

import numpy as np
import pytest

from joulewise.searching.front import expected_growth, front, hypervolume
from joulewise.searching.history import State
from joulewise.searching.journal import replay
from joulewise.searching.ordering import search
from tests.searching.doubles import SPACE, Meter

POINTS = [(2.0, 5.0), (1.0, 3.0), (4.0, 4.0), (3.0, 8.0), (1.0, 2.0)]


def test_front():
    """What something cheaper, or as cheap, beats is left out; the rest is in the order of joules."""
    assert front(POINTS) == ((1.0, 3.0), (2.0, 5.0), (3.0, 8.0))
    assert front([]) == ()


def test_hypervolume():
    """The area under the staircase, from the reference's value up and to its joules."""
    assert hypervolume(POINTS, (5.0, 1.0)) == pytest.approx(2 * 1 + 4 * 1 + 7 * 2)
    assert hypervolume([], (5.0, 1.0)) == 0
    assert hypervolume([(6.0, 9.0), (1.0, 0.5)], (5.0, 1.0)) == 0


def test_growth_of_what_is_certain():
    """A forecast without doubt adds what the point itself adds to the hypervolume."""
    rng = np.random.default_rng(1)
    for _ in range(200):
        points = [tuple(p) for p in rng.uniform(0, 6, (rng.integers(0, 6), 2))]
        new = tuple(rng.uniform(0, 6, 2))
        added = hypervolume([*points, new], (5.0, 1.0)) - hypervolume(points, (5.0, 1.0))

        told = expected_growth(
            np.array([new[1]]), np.array([0.0]), np.array([new[0]]), points, (5.0, 1.0), lambda v: v
        )
        assert told[0] == pytest.approx(added, abs=1e-9)


def test_growth_in_expectation():
    """With doubt it is the mean over what may come (against draws)."""
    draws = 4.0 + 2.0 * np.random.default_rng(2).normal(size=20_000)
    before = hypervolume(POINTS, (5.0, 1.0))
    mean = np.mean([hypervolume([*POINTS, (1.5, float(y))], (5.0, 1.0)) - before for y in draws])

    told = expected_growth(np.array([4.0]), np.array([2.0]), np.array([1.5]), POINTS, (5.0, 1.0), lambda v: v)
    assert told[0] == pytest.approx(mean, rel=0.03)


def test_study():
    """A study of the front ends with cheap and dear trainings, nothing dominated, and can be replayed."""
    meter = Meter()

    def objective(trial):
        for epoch in trial.epochs():
            meter.used_j += trial["width"]
            yield 1 - (trial["x"] - 0.3) ** 2 - 0.3 / epoch - 0.4 / trial["width"]

    study = search(objective, SPACE, "500J", measure=meter, epochs=9, pareto=True)

    points = study.front
    assert len(points) >= 4
    assert points[0][0] <= 9 * 2 < 9 * 5 <= points[-1][0]
    assert [v for _, v, _ in points] == sorted(v for _, v, _ in points)
    done = [(t.spent_j, t.best) for t in study.trials if t.state is State.COMPLETE]
    assert all(not (e <= energy and v > value) for energy, value, _ in points for e, v in done)
    assert "front: " in study.report()
    assert any("adds" in line["reason"] for line in study.lines if line["kind"] == "decision")
    assert replay(study.lines).differing == ()


def test_nothing_to_add():
    """With a tolerance, a study ends when the front is not expected to grow by that share."""
    meter = Meter()

    def objective(trial):
        for epoch in trial.epochs():
            meter.used_j += 1
            yield 1 - (trial["x"] - 0.3) ** 2 - 0.3 / epoch

    study = search(
        objective, SPACE, "5kJ", measure=meter, epochs=9, pareto=True, tolerance=0.02, minimise=False
    )

    assert study.reason.startswith("the front is expected to grow by")
    assert meter.used_j < 4000
