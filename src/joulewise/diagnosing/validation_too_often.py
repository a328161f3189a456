"""Validation too often: the same evaluation many times an epoch, where once an epoch would tell the same.

Counterfactual: of the n evaluations of one set between training steps, one per epoch is kept (ten, where the run has
a single epoch: a curve needs points). Saved is what the others took, at their mean cost.

An evaluation is a row of forward passes without gradient on the same number of items each time. What belongs to the
training algorithm itself (a teacher, a target network, rollouts) also runs without gradient: it comes with every
step, on batches like the training's own, or under such a name, and is left alone.
"""

from __future__ import annotations

from collections import defaultdict

from joulewise.diagnosing.case import Case, Estimate, around, epochs_made, is_dependent, train_batch
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import Evaluation, Phase, ProcessView

_CURVE_POINTS = 10
_ENDS = 2.0  # batches, at most, that lie outside a row's first and last pass


def estimate(case: Case) -> list[Estimate]:
    """Return what evaluating once per epoch would have saved, for each training process."""
    return [found for view in case.trainers if (found := _of(view))]


def _of(view: ProcessView) -> Estimate | None:
    batch = train_batch(view)
    epochs = epochs_made(view)
    if not epochs or batch is None:
        return None
    keep = epochs if epochs > 1 else _CURVE_POINTS
    groups: dict[tuple[str, int], list[Evaluation]] = defaultdict(list)
    for e in view.evaluations:
        if 0 < e.step < view.steps and not e.thread:
            groups[e.where, e.items].append(e)
    seen = len(view.evaluations)
    unseen = view.evaluation_calls / seen if seen else 1.0  # the list is cut at its first thousands
    taken = view.phase(Phase.VALIDATION)
    own = [e for e in view.evaluations if not e.thread]
    # a row runs from its first pass to its last: its first batch and its end are in the phase only
    batches = sum(e.batches for e in own) / max(1, len(own))
    whole = max(1.0, taken.cpu_s / max(1e-9, unseen * sum(e.cpu_s for e in own)))
    whole = min(whole, 1 + _ENDS / max(1.0, batches))
    cpu_s = wall_s = 0.0
    told: list[tuple[int, Evaluation]] = []
    for (where, items), calls in groups.items():
        count = len(calls) * unseen
        if count <= keep or items < 4 * batch or is_dependent(where, view.model):
            continue
        share = 1 - keep / count
        cpu_s += share * unseen * whole * sum(e.cpu_s for e in calls)
        wall_s += share * unseen * whole * sum(e.wall_s for e in calls)
        told.append((round(count), calls[0]))
    if not told:
        return None
    count, example = max(told, key=lambda t: t[0] * t[1].items)
    every = max(1, round(view.steps / (count + 1)))
    per_epoch = round(view.steps / epochs) if epochs > 1 else round(view.steps / _CURVE_POINTS)
    return Estimate(
        Cause.VALIDATION_TOO_OFTEN,
        around(cpu_s, 0.15),
        around(wall_s, 0.15),
        f"{example.items} items were evaluated {count} times in {epochs} epochs (every {every} steps"
        f"{f', {example.where}' if example.where else ''}); validation took {taken.wall_s:.1f} s, "
        f"training steps {sum(view.phase(p).wall_s for p in ('data', 'forward', 'backward', 'optimiser')):.1f} s",
        Remedy(
            RemedyKind.SETTING, f"evaluate every {per_epoch} steps instead of every {every} (once per epoch)"
        ),
        "none to the weights; the curve has fewer points, and a best checkpoint is chosen from fewer",
        view.process,
        f"{view.process}:validation",
    )
