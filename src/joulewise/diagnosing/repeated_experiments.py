"""Repeated experiments: the same fit, of the same settings on the same data, made more than once.

Within a run: an estimator fitted again with equal settings (its random state among them) on equal input gives the same
model; all but the first fit are saved. Estimators that draw random numbers are left alone unless their random state is a
number: without one their repeats measure a spread. Over the runs of an experiment see `experiment.py`.
"""

from __future__ import annotations

import re

from joulewise.diagnosing.case import Case, Estimate, around, is_remedied
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import ProcessView

_LEAST_CALLS = 3
_RANDOM = re.compile(
    r"forest|extratree|bagging|boost|mlp|sgd|perceptron|kmeans|mixture|isolation|random|tsne|umap|lda|nmf|svd"
    r"|passive|ransac|gaussianprocess|stacking|voting|xgb|lgbm|catboost|cv$",
    re.IGNORECASE,
)


def estimate(case: Case) -> list[Estimate]:
    """Return what equal fits took beyond the first, for each process."""
    return [found for view in case.views if (found := _of(view))]


def _of(view: ProcessView) -> Estimate | None:
    again = [
        p
        for p in view.preparations
        if p.method == "fit" and p.calls >= _LEAST_CALLS and (p.seeded or not _RANDOM.search(p.estimator))
        if not is_remedied(view, "cache", f"{p.estimator}.fit ")
    ]
    if not again:
        return None
    cpu_s = sum(p.cpu_s * (p.calls - 1) / p.calls for p in again)
    wall_s = sum(p.wall_s * (p.calls - 1) / p.calls for p in again)
    worst = max(again, key=lambda p: p.wall_s)
    return Estimate(
        Cause.REPEATED_EXPERIMENTS,
        around(cpu_s, 0.1),
        around(wall_s, 0.15),
        f"{worst.estimator} was fitted {worst.calls} times with the same settings on the same {worst.rows} rows",
        Remedy(RemedyKind.DIFF, "keep the fitted model (or its scores) by settings and data, and look it up"),
        "none: an estimator that draws no random numbers gives the same model",
        view.process,
        f"{view.process}:fits",
    )
