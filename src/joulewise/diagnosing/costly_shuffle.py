"""Costly shuffling: choosing the order of the items takes a share of the run.

Counterfactual: one permutation of indices per pass at 0.1 microseconds an item; saved is what the sampler took beyond it.
"""

from __future__ import annotations

from joulewise.diagnosing.case import Case, Estimate, around
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import ProcessView

_PERMUTED_S = 0.1e-6


def estimate(case: Case) -> list[Estimate]:
    """Return what costly sampling took, for each process with loaders."""
    return [found for view in case.views if (found := _of(view))]


def _of(view: ProcessView) -> Estimate | None:
    lost_s = 0.0
    for one in view.loaders:
        items = one.items or 0
        lost_s += max(0.0, one.index_s - one.passes * items * _PERMUTED_S)
    if lost_s <= 0:
        return None
    worst = max(view.loaders, key=lambda one: one.index_s)
    return Estimate(
        Cause.COSTLY_SHUFFLE,
        around(lost_s, 0.3),
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
