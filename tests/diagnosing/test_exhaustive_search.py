from __future__ import annotations

import pytest

from joulewise.diagnosing.exhaustive_search import left
from joulewise.vocabulary.observed import OptimiserView, Preparation
from tests.diagnosing.views import causes, found, phases, view


def fit(settings: str, *, estimator="SVC", candidates=None, cpu_s=2.0, data="d"):
    return Preparation(
        estimator, "fit", data, settings, 1000, 1, cpu_s, cpu_s, 0.0, 0.0, 0.0, None, candidates
    )


def test_left():
    """Of 27 trials successive halving needs four rungs of one full trial each: as many as four full trials."""
    assert left(27) == pytest.approx(4 / 27)
    assert left(12) == pytest.approx(3 / 9)


def test_grid():
    """A grid search tells how many settings it tried."""
    finding = found(view(preparations=(fit("s", estimator="GridSearchCV", candidates=36, cpu_s=60.0),)))[0]

    assert finding.cause == "exhaustive_search"
    assert finding.saving.cpu_s.value == pytest.approx(60 * (1 - left(36)))
    assert "36 settings" in finding.evidence


def test_own_loop():
    """Fits of one estimator on one input with ever other settings are a search."""
    assert causes(view(preparations=tuple(fit(f"C={n}") for n in range(30)))) == ["exhaustive_search"]


def test_networks():
    """Networks trained one after another by optimisers with other settings are a search; folds are none."""
    steps = phases(forward=40.0, backward=40.0)
    tried = tuple(OptimiserView("Adam", 1000, 100, (), f"lr={n}") for n in range(16))
    folds = tuple(OptimiserView("Adam", 1000, 100, (), "lr=0.1") for n in range(16))
    told = {"steps": 1600, "epochs": 160, "batch_sizes": {64: 1600}, "phases": steps}

    assert causes(view(optimisers=tried, **told)) == ["exhaustive_search"]
    assert causes(view(optimisers=folds, **told)) == []


@pytest.mark.parametrize(
    "fits",
    [
        [fit("s", estimator="GridSearchCV", candidates=6, cpu_s=60.0)],
        [fit("s", estimator="HalvingGridSearchCV", candidates=36, cpu_s=60.0)],
        [fit(f"C={n}", cpu_s=10.0) for n in range(6)],
        [fit("C=1", data=f"fold{n}") for n in range(30)],
    ],
)
def test_left_alone(fits):
    """Few settings, a search that halves already, and folds of one setting."""
    assert causes(view(preparations=tuple(fits))) == []


def test_folds_of_a_search():
    """Settings that were tried on three folds are one search with the cost of all three."""
    fits = tuple(fit(f"C={n}", data=f"fold{k}", cpu_s=1.0) for n in range(20) for k in range(3))
    finding = found(view(preparations=fits))[0]

    assert "20 settings" in finding.evidence
    assert finding.saving.cpu_s.value == pytest.approx(60 * (1 - left(20)))
