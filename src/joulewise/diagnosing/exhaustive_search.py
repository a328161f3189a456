"""Exhaustive search: every setting is tried on all of the data, to the end, though most are out of it early.

Counterfactual: successive halving (Jamieson and Talwalkar, AISTATS 2016) with eta = 3: of n settings the best third goes on
with three times the resource, until the last few get all of it. With k = floor(log3 n) the rungs are k + 1, and each costs no
more than n / 3^k full trials where a trial's cost goes with its resource; so of n trials (k + 1) n / 3^k / n are left. Where
cost grows faster than the rows (kernels: their square), the lower rungs cost less than that. What a fit takes however few its rows
(its call, its scoring, each tree of a forest) is left in every rung: small fits have little to save, and may cost more.

Seen are searches of scikit-learn (GridSearchCV, RandomizedSearchCV: how many settings they tried), estimators fitted on one
input with ever other settings, and networks trained one after another by optimisers with other settings. Folds, ensembles and
repeats have equal settings, so they are left alone; so are fewer than a dozen trials.

Of an Optuna study whose objective never reports, no pruner can end a trial. Its sampler draws most settings near the best, where
fewer fall behind than on a grid: half of what halving saves is promised, between a quarter and all of it. What trials took that
failed in the end bought nothing; how much of it a check beforehand would have saved is known to a half.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from math import floor, log

from joulewise.diagnosing.case import Case, Estimate, about, epochs_made, step_cpu_s, step_wall_s
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.library_calls import StudyRun
from joulewise.vocabulary.observed import Phase, Preparation, ProcessView

LEAST = 12
_ETA = 3
_FIT_S, _PART_S = (
    4e-3,
    0.5e-3,
)  # CPU time of a fit of no rows with its scoring; of a tree or round in it, dispatch only
_FOLDS = 5.0  # of a search, unless it tells
_HALVING = re.compile(r"halving|bayes|optuna|hyperband|successive", re.IGNORECASE)


_Told = tuple[
    float, float, int, str, float
]  # CPU and wall seconds, settings, words, the share of a fit that is fixed


def estimate(case: Case) -> list[Estimate]:
    """Return what halving would have saved, for each process that searches exhaustively, and what its studies wasted."""
    found = [one for views in _families(case) if (one := _of(views))]
    return [
        *found,
        *(
            e
            for view in case.views
            for study in view.studies
            for e in (_pruned(view, study), _failed(view, study))
            if e
        ),
    ]


def left(trials: int, fixed: float = 0.0) -> float:
    """Return which share of `trials` full trials successive halving needs; `fixed` is the share of one that no resource shrinks."""
    rungs = floor(log(trials) / log(_ETA) + 1e-9)
    made = sum(1 / _ETA**k for k in range(rungs + 1))  # trials, of any size, over those of the field
    return float((1 - fixed) * (rungs + 1) / _ETA**rungs + fixed * made)


def _fixed(cpu_s: float, fits: float, parts: int | None) -> float:
    """Return which share of a fit is no arithmetic: the call and its scoring, and each tree or round of an ensemble."""
    each_s = cpu_s / max(1.0, fits)
    return min(1.0, (_FIT_S + _PART_S * (parts or 0)) / max(1e-9, each_s))


def _of(views: Sequence[ProcessView]) -> Estimate | None:
    best: _Told | None = None
    for told in (*_searches(views), *_loops(views), *_networks(views[0])):
        if best is None or told[0] * (1 - left(told[2], told[4])) > best[0] * (1 - left(best[2], best[4])):
            best = told
    if best is None:
        return None
    cpu_s, wall_s, trials, words, fixed = best
    saved = 1 - left(trials, fixed)
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
        views[0].process,
        f"{views[0].process}:search",
    )


def _families(case: Case) -> list[list[ProcessView]]:
    """Return each process that none started, with those that it started (joblib's workers, whose fits are its own)."""
    known = {v.pid for v in case.views}
    roots = [v for v in case.views if v.parent_pid not in known]
    return [[root, *(v for v in case.views if v.parent_pid == root.pid)] for root in roots]


def _searches(views: Sequence[ProcessView]) -> list[_Told]:
    """Return the searches of scikit-learn; what they had workers fit and score is theirs, by the time each of them took."""
    found = [p for p in views[0].preparations if p.candidates and not _HALVING.search(p.estimator)]
    whole_s = sum(p.wall_s for p in found)
    theirs_s = sum(
        v.phase(p).cpu_s
        for v in views[1:]
        for p in (Phase.DATA, Phase.FORWARD, Phase.OPTIMISER, Phase.VALIDATION)
    )
    told: list[_Told] = []
    for one in found:
        if one.candidates and one.candidates >= LEAST:
            cpu_s = one.cpu_s + theirs_s * one.wall_s / whole_s
            fixed = _fixed(cpu_s, one.candidates * (one.splits or _FOLDS), one.parts)
            told.append((cpu_s, one.wall_s, one.candidates, f"{one.estimator} on {one.rows} rows", fixed))
    return told


def _loops(views: Sequence[ProcessView]) -> list[_Told]:
    """Return estimators that were fitted on one input with ever other settings; folds with the same settings go together."""
    inputs: dict[tuple[str, str], list[tuple[Preparation, ProcessView]]] = defaultdict(list)
    for view in views:
        for one in view.preparations:
            if one.method == "fit" and one.candidates is None:
                inputs[one.estimator, one.fingerprint].append((one, view))
    searches: dict[tuple[str, frozenset[str]], list[tuple[Preparation, ProcessView]]] = defaultdict(list)
    for (estimator, _), fits in inputs.items():
        settings = frozenset(f.settings for f, _ in fits)
        if len(settings) >= LEAST:
            searches[estimator, settings] += fits
    return [
        (
            sum(f.cpu_s for f, _ in fits),
            sum(f.wall_s for f, _ in fits) / len({v.process for _, v in fits}),
            len(settings),
            f"{estimator} fitted on the same {fits[0][0].rows} rows",
            _fixed(
                sum(f.cpu_s for f, _ in fits),
                sum(f.calls for f, _ in fits),
                max(f.parts or 0 for f, _ in fits),
            ),
        )
        for (estimator, settings), fits in searches.items()
    ]


def _networks(view: ProcessView) -> list[_Told]:
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
    return [
        (cpu_s, wall_s, trials, f"{view.model or 'a network'} trained for {epochs // trials} epochs", 0.0)
    ]


def _pruned(view: ProcessView, study: StudyRun) -> Estimate | None:
    """Return what a pruner would have saved of a study none of whose trials reported on its way."""
    whole = [t for t in study.trials if t.ended == "complete"]
    if (
        len(whole) < LEAST
        or any(t.reports > 1 or t.ended == "pruned" for t in study.trials)
        or "+" in study.direction
    ):
        return None
    cpu_s, wall_s = sum(t.cpu_s for t in whole), sum(t.wall_s for t in whole)
    saved = 1 - left(len(whole))
    return Estimate(
        Cause.EXHAUSTIVE_SEARCH,
        about(0.5 * saved * cpu_s, 0.25 * saved * cpu_s, saved * cpu_s),
        about(0.5 * saved * wall_s, 0.25 * saved * wall_s, saved * wall_s),
        f"{len(whole)} trials of a study ({study.sampler}) ran to their end, {cpu_s:.1f} CPU-seconds; none told its score on the way, so "
        f"its {study.pruner} could end none",
        Remedy(
            RemedyKind.DIFF,
            "trial.report(score, step) after each epoch, fold or part of the rows, and `if trial.should_prune(): raise TrialPruned()`, "
            "with SuccessiveHalvingPruner()",
        ),
        "a setting that starts slowly may be dropped too soon: compare the winner's held-out score",
        view.process,
        f"{view.process}:search",
    )


def _failed(view: ProcessView, study: StudyRun) -> Estimate | None:
    """Return what the failed trials of a study took."""
    failed = [t for t in study.trials if t.ended == "failed"]
    if len(failed) < 2:
        return None
    cpu_s, wall_s = sum(t.cpu_s for t in failed), sum(t.wall_s for t in failed)
    return Estimate(
        Cause.EXHAUSTIVE_SEARCH,
        about(0.75 * cpu_s, 0.5 * cpu_s, cpu_s),
        about(0.75 * wall_s, 0.5 * wall_s, wall_s),
        f"{len(failed)} of {len(study.trials)} trials failed, and took {cpu_s:.1f} CPU-seconds until then",
        Remedy(
            RemedyKind.DIFF,
            "check a trial's settings before its work (raise TrialPruned at once), or leave what fails out of the space",
        ),
        "none: what failed gave no result",
        view.process,
        f"{view.process}:failed",
    )
