"""Exhaustive search: every setting is tried on all of the data, to the end, though most are out of it early.

Counterfactual: successive halving (Jamieson and Talwalkar, AISTATS 2016) with eta = 3: of n settings the best third goes on
with three times the resource, until the last few get all of it. With k = floor(log3 n) the rungs are k + 1, and each costs no
more than n / 3^k full trials where a trial's cost goes with its resource; so of n trials (k + 1) n / 3^k / n are left. Where
cost grows faster than the rows (kernels: their square), the lower rungs cost less than that.

Seen are searches of scikit-learn (GridSearchCV, RandomizedSearchCV: how many settings they tried), estimators fitted on one
input with ever other settings, and networks trained one after another by optimisers with other settings. Folds, ensembles and
repeats have equal settings, so they are left alone; so are fewer than a dozen trials.
"""

from __future__ import annotations

import re
from collections import defaultdict
from math import floor, log

from joulewise.diagnosing.case import Case, Estimate, about, epochs_made, step_cpu_s, step_wall_s
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import Phase, Preparation, ProcessView

LEAST = 12
_ETA = 3
_HALVING = re.compile(r"halving|bayes|optuna|hyperband|successive", re.IGNORECASE)


def estimate(case: Case) -> list[Estimate]:
    """Return what halving would have saved, for each process that searches exhaustively."""
    return [found for view in case.views if (found := _of(view))]


def left(trials: int) -> float:
    """Return which share of `trials` full trials successive halving needs, where cost goes with the resource."""
    rungs = floor(log(trials) / log(_ETA) + 1e-9)
    return float((rungs + 1) / _ETA**rungs)


def _of(view: ProcessView) -> Estimate | None:
    best: tuple[float, float, int, str] | None = None
    for told in (*_searches(view), *_loops(view), *_networks(view)):
        if best is None or told[0] > best[0]:
            best = told
    if best is None:
        return None
    cpu_s, wall_s, trials, words = best
    saved = 1 - left(trials)
    return Estimate(
        Cause.EXHAUSTIVE_SEARCH,
        about(saved * cpu_s, 0.75 * saved * cpu_s, 0.98 * cpu_s),
        about(saved * wall_s, 0.7 * saved * wall_s, 0.98 * wall_s),
        f"{words}: {trials} settings, each to the end, {cpu_s:.1f} CPU-seconds",
        Remedy(
            RemedyKind.DIFF,
            "halve the field instead: joulewise.search, or sklearn's HalvingGridSearchCV(factor=3, min_resources='exhaust')",
        ),
        "a setting that starts slowly may be dropped too soon: compare the winner's held-out score",
        view.process,
        f"{view.process}:search",
    )


def _searches(view: ProcessView) -> list[tuple[float, float, int, str]]:
    return [
        (one.cpu_s, one.wall_s, one.candidates, f"{one.estimator} on {one.rows} rows")
        for one in view.preparations
        if one.candidates and one.candidates >= LEAST and not _HALVING.search(one.estimator)
    ]


def _loops(view: ProcessView) -> list[tuple[float, float, int, str]]:
    """Return estimators that were fitted on one input with ever other settings; folds with the same settings go together."""
    inputs: dict[tuple[str, str], list[Preparation]] = defaultdict(list)
    for one in view.preparations:
        if one.method == "fit" and one.candidates is None:
            inputs[one.estimator, one.fingerprint].append(one)
    searches: dict[tuple[str, frozenset[str]], list[Preparation]] = defaultdict(list)
    for (estimator, _), fits in inputs.items():
        settings = frozenset(f.settings for f in fits)
        if len(settings) >= LEAST:
            searches[estimator, settings] += fits
    return [
        (
            sum(f.cpu_s for f in fits),
            sum(f.wall_s for f in fits),
            len(settings),
            f"{estimator} fitted on the same {fits[0].rows} rows",
        )
        for (estimator, settings), fits in searches.items()
    ]


def _networks(view: ProcessView) -> list[tuple[float, float, int, str]]:
    """Return the training of networks one after another, where their optimisers' settings or sizes differ."""
    trials = len(view.optimisers)
    settings = {(o.settings, o.parameters) for o in view.optimisers}
    epochs = epochs_made(view) or 0
    if trials < LEAST or len(settings) < trials / 2 or epochs < 3 * trials:
        return []
    if sum(view.batch_sizes.values()) > 1.5 * view.steps:  # several optimisers share a step
        return []
    cpu_s = step_cpu_s(view) + view.phase(Phase.VALIDATION).cpu_s
    wall_s = step_wall_s(view) + view.phase(Phase.VALIDATION).wall_s
    return [(cpu_s, wall_s, trials, f"{view.model or 'a network'} trained for {epochs // trials} epochs")]
