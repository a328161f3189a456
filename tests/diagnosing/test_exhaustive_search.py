from __future__ import annotations

from dataclasses import replace

import pytest

from joulewise.diagnosing.exhaustive_search import left
from joulewise.vocabulary.library_calls import StudyRun, StudyTrial
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


def test_what_no_resource_shrinks():
    """Every rung has its calls: of fits that are nothing else, halving makes forty where 27 would do."""
    assert left(27, 1.0) == pytest.approx(40 / 27)
    assert left(27, 0.5) == pytest.approx(0.5 * (4 + 40) / 27)


def test_small_fits_have_nothing_to_save():
    """Fits of five milliseconds, or forests whose trees are all dispatch, are left alone."""
    short = [fit(f"C={n}", cpu_s=5e-3, data=f"fold{k}") for n in range(20) for k in range(20)]
    forests = [replace(fit(f"depth={n}", cpu_s=0.06), parts=100) for n in range(300)]

    assert causes(view(preparations=tuple(short), cpu_s=4.0, duration_s=4.0), seconds=4) == []
    assert causes(view(preparations=tuple(forests), cpu_s=20.0, duration_s=20.0), seconds=20) == []


def test_grid():
    """A grid search tells how many settings it tried."""
    finding = found(view(preparations=(fit("s", estimator="GridSearchCV", candidates=36, cpu_s=60.0),)))[0]

    assert finding.cause == "exhaustive_search"
    assert finding.saving.cpu_s.value == pytest.approx(60 * (1 - left(36, 4e-3 / (60 / 36 / 5))))
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
    assert finding.saving.cpu_s.value == pytest.approx(60 * (1 - left(20, 4e-3)))


def trials(count, *, reports=0, ended="complete", cpu_s=4.0):
    return tuple(StudyTrial(cpu_s, cpu_s, 0.5, reports, ended) for _ in range(count))


def study(*ran, direction="maximize"):
    return view(
        studies=(StudyRun("TPESampler", "MedianPruner", direction, tuple(t for some in ran for t in some)),)
    )


def test_a_study_that_never_reports():
    """Half of what halving saves is promised of a study whose objective says nothing on its way."""
    finding = found(study(trials(20)))[0]

    assert finding.cause == "exhaustive_search"
    assert finding.saving.cpu_s.value == pytest.approx(0.5 * (1 - left(20)) * 80)
    assert "MedianPruner could end none" in finding.evidence


@pytest.mark.parametrize(
    "seen",
    [
        study(trials(20, reports=5)),
        study(trials(15), trials(5, reports=2, ended="pruned")),
        study(trials(8)),
        study(trials(20), direction="minimize+minimize"),
        study(trials(5), trials(1, ended="failed")),
    ],
)
def test_studies_left_alone(seen):
    """Studies that report, prune, are short, or have two directions."""
    assert causes(seen) == []


def test_failed_trials():
    """What failed bought nothing; three quarters of it are promised."""
    finding = found(study(trials(8, reports=3), trials(4, ended="failed", cpu_s=10.0)))[0]

    assert finding.saving.cpu_s.value == pytest.approx(30.0)
    assert "4 of 12 trials failed" in finding.evidence


def test_a_search_whose_workers_fit():
    """What joblib's workers computed for a search is the search's."""
    searched = view(preparations=(fit("s", estimator="GridSearchCV", candidates=36, cpu_s=0.5),), cpu_s=5.0)
    workers = [
        view(
            process=f"w{n}", pid=10 + n, parent_pid=1, kind="child", cpu_s=40.0, phases=phases(optimiser=40.0)
        )
        for n in (1, 2)
    ]
    finding = found(searched, *workers)[0]

    assert finding.saving.cpu_s.value == pytest.approx((1 - left(36, 4e-3 / (80.5 / 36 / 5))) * 80.5)


def test_settings_shared_by_workers():
    """Folds that two workers fitted are one search over all their settings."""
    fits = [tuple(fit(f"C={n}", data=f"fold{k}", cpu_s=1.0) for n in range(20)) for k in (1, 2)]
    workers = [
        view(process=f"w{k}", pid=10 + k, parent_pid=1, kind="child", preparations=told)
        for k, told in enumerate(fits)
    ]
    (finding,) = found(view(), *workers)

    assert finding.saving.cpu_s.value == pytest.approx(40 * (1 - left(20, 4e-3)))
