"""Repeated experiments: the same fit, of the same settings on the same data, made more than once.

Within a run: an estimator fitted again with equal settings (its random state among them) on equal input gives the same
model; all but the first fit are saved. Estimators that draw random numbers are left alone unless their random state is a
number: without one their repeats measure a spread. Over the runs of an experiment see `experiment.py`.

And the same training of a network, one after another: optimisers with equal settings, weights and steps, and losses that are
equal bit for bit wherever two were seen after the same number of their own steps, the last time behind a quarter of them (the agent looks behind
1, 2, 4, 8 ... steps of each). Folds of a
cross-validation have equal settings, too, and other losses.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from joulewise.diagnosing.case import (
    Case,
    Estimate,
    around,
    is_remedied,
    loop_cpu_s,
    loop_wall_s,
    step_cpu_s,
    step_wall_s,
)
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import OptimiserView, Phase, ProcessView

_LEAST_CALLS = 3
_LATE = 0.25  # of a training: schedules and penalties tell two apart later than their first steps do
_TOLD_DIGITS = 6  # a loss with fewer is a rounded one, or a constant
_RANDOM = re.compile(
    r"forest|extratree|bagging|boost|mlp|sgd|perceptron|kmeans|mixture|isolation|random|tsne|umap|lda|nmf|svd"
    r"|passive|ransac|gaussianprocess|stacking|voting|xgb|lgbm|catboost|cv$",
    re.IGNORECASE,
)


def estimate(case: Case) -> list[Estimate]:
    """Return what equal fits and equal trainings took beyond the first, for each process."""
    return [found for view in case.views for found in (_fits(view), _trainings(view)) if found]


def _fits(view: ProcessView) -> Estimate | None:
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


def _trainings(view: ProcessView) -> Estimate | None:
    again = _again(view)
    if len(again) < _LEAST_CALLS - 1:
        return None
    share = sum(one.steps for one in again) / view.steps
    scored = view.phase(Phase.VALIDATION)
    cpu_s = share * (step_cpu_s(view) + scored.cpu_s + loop_cpu_s(view))
    wall_s = share * (step_wall_s(view) + scored.wall_s + loop_wall_s(view))
    return Estimate(
        Cause.REPEATED_EXPERIMENTS,
        around(cpu_s, 0.1),
        around(wall_s, 0.15),
        f"{len(again)} of {len(view.optimisers)} trainings repeat an earlier one: the same settings, weights and steps, and the same losses "
        f"to the last digit ({again[0].name}, {again[0].parameters:,} weights, {again[0].steps} steps)",
        Remedy(
            RemedyKind.DIFF,
            "keep each trained model (or its scores) by its settings, and look it up before training",
        ),
        "none: the same training gives the same model",
        view.process,
        f"{view.process}:trainings",
    )


def _again(view: ProcessView) -> list[OptimiserView]:
    """Return the optimisers whose training an earlier one has made, where all of them follow one another."""
    if sum(one.steps for one in view.optimisers) != view.steps:
        return []
    alike: dict[tuple[str, str, int, int], list[tuple[OptimiserView, dict[int, float]]]] = defaultdict(list)
    begun = 0
    for one in view.optimisers:
        if not one.rates or one.rates[0][0] != begun:
            return []
        end = begun + one.steps
        losses = {
            p.step - begun: p.values["loss"]
            for p in view.curve
            if begun < p.step < end and len(repr(p.values.get("loss"))) > _TOLD_DIGITS + 2
        }
        alike[one.name, one.settings, one.parameters, one.steps].append((one, losses))
        begun = end
    return [
        one
        for group in alike.values()
        if _same([losses for _, losses in group], group[0][0].steps)
        for one, _ in group[1:]
    ]


def _same(curves: Sequence[Mapping[int, float]], steps: int) -> bool:
    """Say whether curves are one: each is equal to the first wherever both were seen, and they were, late enough."""
    first = curves[0]
    for other in curves[1:]:
        both = first.keys() & other.keys()
        if max(both, default=0) < _LATE * steps or any(first[n] != other[n] for n in both):
            return False
    return True
