"""Batch too small: what a step costs whatever its batch dominates.

Counterfactual: the same epochs with a batch of 32 and so many fewer steps. What a step costs apart from its items is
saved for each step that is not made: the optimiser whole; of forward and backward pass what remains when the arithmetic of
the items is taken off; of the loader what remains when the making of the items is; and the loop's own code, where it has a
loader to make its items. That arithmetic is known from the run's own evaluations with a large batch (a forward pass with
gradient takes 1.25 of it, its backward pass twice that), and what making an item takes from a loader with large batches;
without them little is claimed. Heavy items therefore accuse nobody.

Batches of 16 and more are left alone, and a run that would be left with fewer than 200 steps.
"""

from __future__ import annotations

from joulewise.diagnosing.case import Case, Estimate, about, hooks_s, loop_cpu_s, loop_wall_s, mean_batch
from joulewise.diagnosing.overhead import BACKWARD, BATCH_S, GRADIENT, LOOP_S, item_arithmetic, load_item
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import Phase, ProcessView

_TARGET = 32
_LEAST_STEPS = 200
_LEAST_FACTOR = 4


def estimate(case: Case) -> list[Estimate]:
    """Return what a batch of 32 would have saved, for each training process with a small one."""
    return [found for view in case.trainers if (found := _of(view))]


def _of(view: ProcessView) -> Estimate | None:
    batch = mean_batch(view)
    if not batch or batch >= _TARGET / 2:
        return None
    passes = sum(view.batch_sizes.values())
    if (
        passes > 1.5 * view.steps
    ):  # gradients are added up over several batches: the batch is larger than it looks
        return None
    target = _TARGET
    while target >= _LEAST_FACTOR * batch and view.steps * batch / target < _LEAST_STEPS:
        target //= 2
    if target < _LEAST_FACTOR * batch:
        return None
    reference = item_arithmetic(view, 4 * batch)
    fewer = 1 - batch / target
    cpu_s = fewer * _fixed(view, batch, None if reference is None else reference.cpu_s, cpu=True)
    wall_s = fewer * _fixed(view, batch, None if reference is None else reference.wall_s, cpu=False)
    compared = (
        "the optimiser alone"
        if reference is None
        else f"a forward pass costs {1e6 * reference.cpu_s:.1f} µs an item with batch {reference.batch:.0f}, "
        f"{1e6 * view.phase(Phase.FORWARD).cpu_s / max(1, view.samples):.0f} µs in training"
    )
    return Estimate(
        Cause.SMALL_BATCH,
        about(cpu_s, 0.8 * cpu_s, 1.25 * cpu_s),
        about(wall_s, 0.7 * wall_s, 1.25 * wall_s),
        f"{view.steps} steps of {batch:.0f} items; most of a step does not depend on its items: {compared}",
        Remedy(
            RemedyKind.SETTING,
            f"batch size {target} instead of {batch:.0f}, with the learning rate raised ({(target / batch) ** 0.5:.1f} to "
            f"{target / batch:.0f} times), for the same epochs",
        ),
        "the learning rate must be set anew; check the quality on a short run first",
        view.process,
        f"{view.process}:steps",
    )


def _fixed(view: ProcessView, batch: float, item_s: float | None, *, cpu: bool) -> float:
    """Return the seconds of all steps that do not depend on their items."""

    def taken(phase: Phase) -> float:
        total = view.phase(phase)
        return total.cpu_s if cpu else total.wall_s

    own_s = loop_cpu_s(view) if cpu else loop_wall_s(view)
    load = load_item(view, 4 * batch)
    fixed = taken(Phase.OPTIMISER) - hooks_s(view, Phase.DATA, Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMISER)
    if load is None:
        fixed += min(taken(Phase.DATA), BATCH_S * view.steps) + min(own_s, LOOP_S * view.steps)
    else:
        making_s = (load.cpu_s if cpu else load.wall_s) * batch * view.steps
        fixed += max(0.0, taken(Phase.DATA) - making_s) + own_s
    if item_s is not None:
        arithmetic = GRADIENT * item_s * batch * sum(view.batch_sizes.values())
        fixed += max(0.0, taken(Phase.FORWARD) - arithmetic)
        fixed += max(0.0, taken(Phase.BACKWARD) - BACKWARD * arithmetic)
    return fixed
