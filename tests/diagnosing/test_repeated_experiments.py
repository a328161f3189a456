from __future__ import annotations

from dataclasses import replace

import pytest

from joulewise.vocabulary.observed import CurvePoint, OptimiserView, Preparation
from tests.diagnosing.views import causes, found, phases, view

FIT = Preparation("SVC", "fit", "x", "s", 5000, 5, 50.0, 50.0, 0.0, 0.0)


def test_equal_fits():
    """Equal fits beyond the first are saved."""
    finding = found(view(preparations=(FIT,)))[0]

    assert finding.cause == "repeated_experiments"
    assert finding.saving.cpu_s.value == pytest.approx(40.0)


def test_two_are_no_pattern():
    """A second fit may be a refit: it is left alone."""
    assert causes(view(preparations=(replace(FIT, calls=2),))) == []


def test_random_estimators():
    """Repeats of an estimator that draws random numbers measure its spread."""
    assert causes(view(preparations=(replace(FIT, estimator="RandomForestClassifier"),))) == []


def test_seeded_estimators():
    """With a number as its random state such an estimator gives the same model again."""
    seeded = replace(FIT, estimator="RandomForestClassifier", seeded=True)
    assert causes(view(preparations=(seeded,))) == ["repeated_experiments"]


def test_already_handed_out():
    """Where `run --with cache` handed out the fits, their number is no waste any more; another estimator's is."""
    handed = (
        "cache: SVC.fit of equal input and settings came out the same twice: from then on it is handed out",
    )
    assert causes(view(preparations=(FIT,), changed=handed)) == []

    other = replace(FIT, estimator="LinearSVC")
    assert causes(view(preparations=(FIT, other), changed=handed)) == ["repeated_experiments"]


def trainings(*scale: float, **fields):
    """Return a process that trains networks of 500 steps one after another; losses of equal scale are equal."""
    points, made = [], []
    for n, factor in enumerate(scale):
        made.append(OptimiserView("Adam", 2754, 500, ((500 * n, 0.001),), f"lr={0.001 * factor}"))
        points += [
            CurvePoint(n + s / 500, 500 * n + s, 0.0, {"loss": factor / (s + 3)}) for s in (40, 210 + n, 333)
        ]
    told = {
        "steps": 500 * len(scale), "optimisers": tuple(made), "curve": tuple(points),
        "phases": phases(forward=20.0, backward=40.0, optimiser=20.0, validation=10.0), "batch_sizes": {64: 2000},
    }  # fmt: skip
    return view(**{**told, **fields})


def test_equal_trainings():
    """Trainings whose losses are an earlier one's, bit for bit, are saved."""
    finding = found(trainings(1.0, 1.0, 2.0, 1.0))[0]

    assert finding.cause == "repeated_experiments"
    assert finding.saving.cpu_s.value == pytest.approx(45.0)
    assert "2 of 4 trainings repeat" in finding.evidence


def test_other_trainings():
    """Folds with equal settings have other losses; one repetition is a refit; of networks trained in turn nothing is claimed."""
    folds = trainings(1.0, 1.1, 1.2, 1.3)
    assert causes(replace(folds, optimisers=tuple(replace(o, settings="") for o in folds.optimisers))) == []
    assert causes(trainings(1.0, 2.0, 1.0)) == []
    turns = trainings(1.0, 1.0, 1.0)
    assert (
        causes(replace(turns, optimisers=tuple(replace(o, rates=((0, 0.001),)) for o in turns.optimisers)))
        == []
    )
    assert causes(replace(turns, curve=turns.curve[:3])) == []
    early = tuple(p for p in turns.curve if p.step % 500 < 100)  # a schedule would tell them apart later
    assert causes(replace(turns, curve=early)) == []
