"""Too few loader workers: a device waits while the loop makes its items.

Counterfactual: as many workers as the items' making needs to keep up with the steps, no more than there are CPUs beside the
loop. Saved is the loop's waiting that they take off, in wall time; what it costs is CPU time: each worker's start, and a
batch handed over through shared memory. So this saves joules only where something dear stands by, a GPU: the ranking lets it
pass only where the joules are fewer in sum, and on a machine without one it says nothing.
"""

from __future__ import annotations

from math import ceil

from joulewise.diagnosing.case import Case, Estimate, about
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import LoaderView, Phase, ProcessView

START_S = 0.15  # a forked worker of a process with torch: fork, its own threads, its end
HAND_OVER_S = 250e-6  # a batch through a queue and shared memory, both sides


def estimate(case: Case) -> list[Estimate]:
    """Return what feeding with more workers would have saved, for each training process that waits for its items."""
    return [found for view in case.trainers for loader in view.loaders if (found := _of(case, view, loader))]


def _of(case: Case, view: ProcessView, loader: LoaderView) -> Estimate | None:
    if loader.evaluates or not loader.fetched or loader.in_memory or loader.fetch_s <= 0:
        return None
    steps_s = sum(view.phase(p).wall_s for p in (Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMISER))
    most = int(case.cpus / max(1, view.world)) - 1
    needed = ceil(1.2 * loader.fetch_cpu_s / steps_s) if steps_s > 0 else most
    workers = min(most, max(1, needed))
    if workers <= loader.workers:
        return None
    waited_s = max(0.0, loader.wait_s - loader.first_wait_s)
    left_s = max(0.0, loader.fetch_cpu_s / workers - steps_s)
    starts = workers * (1 if loader.persistent else max(1, loader.passes)) - loader.workers * loader.passes
    more_cpu_s = max(0.0, START_S * starts) + (HAND_OVER_S * loader.batches if not loader.workers else 0.0)
    wall_s = waited_s - left_s - START_S * max(1, loader.passes)
    if wall_s <= 0:
        return None
    return Estimate(
        Cause.TOO_FEW_LOADER_WORKERS,
        about(-more_cpu_s, -2 * more_cpu_s, 0.0),
        about(wall_s, 0.7 * wall_s, waited_s),
        f"the loop waited {loader.wait_s:.1f} s for batches of {loader.dataset} and computed {steps_s:.1f} s; an item takes "
        f"{1e6 * (loader.item_s or 0.0):.0f} µs to make, {loader.workers} workers made them on {case.cpus:g} CPUs",
        Remedy(
            RemedyKind.SETTING, f"num_workers={workers} instead of {loader.workers}, persistent_workers=True"
        ),
        "none: the same items; a random augmentation draws other numbers",
        view.process,
        f"{view.process}:waiting-for-items",
    )
