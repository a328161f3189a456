from __future__ import annotations

from dataclasses import replace

import pytest

from joulewise.vocabulary.observed import Preparation
from tests.diagnosing.views import causes, found, view

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
