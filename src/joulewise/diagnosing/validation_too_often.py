"""Validation too often: the same evaluation many times an epoch, where once an epoch would tell the same.

Counterfactual: of the n evaluations of one set between training steps, one per epoch is kept (ten, where the run has
a single epoch: a curve needs points). Saved is what the others took, at their mean cost.

An evaluation is a row of forward passes without gradient on the same number of items each time. What belongs to the
training algorithm itself (a teacher, a target network, rollouts) also runs without gradient: it comes with every
step, on batches like the training's own, or under such a name, and is left alone.

Estimators that learn batch by batch (`partial_fit`) have no epochs that could be seen, but where the same batch comes again. There two
scorings are kept for every so many trained rows as the scored set has (a training set is rarely half of the set that it is held
against), ten at least. Other rows each time are answers or a test before training, and left alone.
"""

from __future__ import annotations

from collections import defaultdict

from joulewise.diagnosing.case import Case, Estimate, about, around, epochs_made, is_dependent, train_batch
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import Evaluation, Phase, ProcessView

_CURVE_POINTS = 10
_ENDS = 2.0  # batches, at most, that lie outside a row's first and last pass
_LEAST_SCORES = 20
_SAMPLE = 0.2
_SCORES = ("score", "predict", "predict_proba", "decision_function")


def estimate(case: Case) -> list[Estimate]:
    """Return what evaluating once per epoch would have saved, for each process that trains."""
    return [
        found
        for view in case.views
        for found in (_of(view) if view.steps else _in_batches(view), _by_rounds(view))
        if found
    ]


def most_made(view: ProcessView) -> tuple[int, Evaluation] | None:
    """Return how often the evaluation was made that cost most too often, and one of it; None where none was."""
    told = _too_often(view)
    if not told:
        return None
    count, calls = max(told, key=lambda t: round(t[0]) * t[1][0].items)
    return round(count), calls[0]


def steps_between(view: ProcessView) -> int:
    """Return the steps between two evaluations that are kept: an epoch's, or a tenth of a single one's."""
    epochs = epochs_made(view) or 1
    return round(view.steps / epochs) if epochs > 1 else round(view.steps / _CURVE_POINTS)


def _kept(epochs: int) -> int:
    return epochs if epochs > 1 else _CURVE_POINTS


def _unseen(view: ProcessView) -> float:
    """Return by how much there were more evaluations than stand in the list, which is cut at its first thousands."""
    return view.evaluation_calls / len(view.evaluations) if view.evaluations else 1.0


def _too_often(view: ProcessView) -> list[tuple[float, list[Evaluation]]]:
    """Return the evaluations that were made more often than is kept, each with its count."""
    batch = train_batch(view)
    epochs = epochs_made(view)
    if not epochs or batch is None:
        return []
    groups: dict[tuple[str, int], list[Evaluation]] = defaultdict(list)
    for e in view.evaluations:
        if 0 < e.step < view.steps and not e.thread:
            groups[e.where, e.items].append(e)
    return [
        (len(calls) * _unseen(view), calls)
        for (where, items), calls in groups.items()
        if len(calls) * _unseen(view) > _kept(epochs)
        and items >= 4 * batch
        and not is_dependent(where, view.model)
    ]


def _of(view: ProcessView) -> Estimate | None:
    epochs = epochs_made(view)
    told = _too_often(view)
    most = most_made(view)
    if not epochs or most is None:
        return None
    taken = view.phase(Phase.VALIDATION)
    own = [e for e in view.evaluations if not e.thread]
    unseen = _unseen(view)
    # a row runs from its first pass to its last: its first batch and its end are in the phase only
    batches = sum(e.batches for e in own) / max(1, len(own))
    whole = max(1.0, taken.cpu_s / max(1e-9, unseen * sum(e.cpu_s for e in own)))
    whole = min(whole, 1 + _ENDS / max(1.0, batches))
    shares = [(1 - _kept(epochs) / count, calls) for count, calls in told]
    cpu_s = sum(share * unseen * whole * sum(e.cpu_s for e in calls) for share, calls in shares)
    wall_s = sum(share * unseen * whole * sum(e.wall_s for e in calls) for share, calls in shares)
    count, example = most
    every = max(1, round(view.steps / (count + 1)))
    return Estimate(
        Cause.VALIDATION_TOO_OFTEN,
        around(cpu_s, 0.15),
        around(wall_s, 0.15),
        f"{example.items} items were evaluated {count} times in {epochs} epochs (every {every} steps"
        f"{f', {example.where}' if example.where else ''}); validation took {taken.wall_s:.1f} s, "
        f"training steps {sum(view.phase(p).wall_s for p in ('data', 'forward', 'backward', 'optimiser')):.1f} s",
        Remedy(
            RemedyKind.SETTING,
            f"evaluate every {steps_between(view)} steps instead of every {every} (once per epoch)",
        ),
        "none to the weights; the curve has fewer points, and a best checkpoint is chosen from fewer",
        view.process,
        f"{view.process}:validation",
    )


def _by_rounds(view: ProcessView) -> Estimate | None:
    """Return what boosters took to evaluate more than a sample of their held-out sets after each round."""
    cpu_s = wall_s = 0.0
    told = []
    for one in view.boostings:
        held = sum(rows for rows, trains in zip(one.set_rows, one.trains, strict=True) if not trains)
        if held <= one.rows:
            continue
        saved = (held - _SAMPLE * one.rows) / sum(one.set_rows)
        cpu_s += saved * one.eval_cpu_s
        wall_s += saved * one.eval_wall_s
        told.append((held, one))
    if not told:
        return None
    held, worst = max(told, key=lambda t: t[1].eval_cpu_s)
    return Estimate(
        Cause.VALIDATION_TOO_OFTEN,
        around(cpu_s, 0.15),
        around(wall_s, 0.2),
        f"{held} held-out rows were evaluated after each of {worst.rounds} rounds on {worst.rows} rows: "
        f"{worst.eval_cpu_s:.1f} of {worst.cpu_s:.1f} CPU-seconds",
        Remedy(
            RemedyKind.SETTING,
            f"evaluate a sample of {round(_SAMPLE * worst.rows)} held-out rows while it trains, and all of them once at the end "
            "(LightGBM: or metric_freq=10)",
        ),
        "none to the model without early stopping; the curve is a little noisier",
        view.process,
        f"{view.process}:validation",
    )


def _in_batches(view: ProcessView) -> Estimate | None:
    fits = [p for p in view.preparations if p.method == "partial_fit"]
    scores = [p for p in view.preparations if p.method in _SCORES and p.calls >= _LEAST_SCORES]
    if not fits or not scores:
        return None
    made = sum(p.calls for p in fits)
    batches = max(made, view.phase(Phase.OPTIMISER).calls)  # the list of inputs is cut at its first hundreds
    rows = batches * sum(p.rows * p.calls for p in fits) / made
    cpu_s = wall_s = 0.0
    for one in scores:
        kept = max(_CURVE_POINTS, 2 * rows / max(1, one.rows), *(p.calls for p in fits))
        saved = 1 - kept / one.calls
        if saved > 0:
            cpu_s += saved * one.cpu_s
            wall_s += saved * one.wall_s
    worst = max(scores, key=lambda p: p.cpu_s)
    if cpu_s <= 0:
        return None
    return Estimate(
        Cause.VALIDATION_TOO_OFTEN,
        about(cpu_s, 0.8 * cpu_s, 1.1 * cpu_s),
        about(wall_s, 0.8 * wall_s, 1.1 * wall_s),
        f"the same {worst.rows} rows were scored {worst.calls} times while {worst.estimator} learnt from {rows:.0f} rows in {batches} batches",
        Remedy(
            RemedyKind.SETTING, f"score once for every {worst.rows} rows that are learnt, or once an epoch"
        ),
        "none to the model; the curve has fewer points, and a best model is chosen from fewer",
        view.process,
        f"{view.process}:validation",
    )
