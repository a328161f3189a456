"""Costly shuffling: choosing the order of the items takes a share of the run.

Counterfactual: one permutation of indices per pass at 0.1 microseconds an item; saved is what the sampler took beyond it. The
sampler is timed by the wall clock; its CPU time is what the loop's data phase used beside making the items.
"""

from __future__ import annotations

from joulewise.diagnosing.case import Case, Estimate, around
from joulewise.diagnosing.overhead import BATCH_S
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import Phase, ProcessView

_PERMUTED_S = 0.1e-6


def estimate(case: Case) -> list[Estimate]:
    """Return what costly sampling took, for each process with loaders."""
    return [found for view in case.views if (found := _of(view))]


def _of(view: ProcessView) -> Estimate | None:
    loaders = [one for one in view.loaders if not one.evaluates]
    lost_s = sum(max(0.0, one.index_s - one.passes * (one.items or 0) * _PERMUTED_S) for one in loaders)
    if lost_s <= 0:
        return None
    data = view.phase(Phase.DATA)
    making_s = sum(one.fetch_cpu_s for one in loaders if not one.workers)
    handing_s = BATCH_S * sum(one.batches for one in loaders)
    ran = min(1.0, data.cpu_s / data.wall_s) if data.wall_s > 0 else 1.0
    cpu_s = min(lost_s, max(ran * lost_s, data.cpu_s - making_s - handing_s))
    worst = max(loaders, key=lambda one: one.index_s)
    return Estimate(
        Cause.COSTLY_SHUFFLE,
        around(cpu_s, 0.2),
        around(lost_s, 0.3),
        f"the sampler of {worst.dataset} took {worst.index_s:.1f} s for {worst.passes} passes",
        Remedy(
            RemedyKind.SETTING,
            "shuffle indices once per pass (torch.randperm, as shuffle=True does), not the items",
        ),
        "none: another random order",
        view.process,
        f"{view.process}:sampler",
    )
