"""The ranking: estimates of seconds become findings with prices, the largest saving first.

A finding is shown only if it saves at least 5 % of the run and an absolute floor: half a CPU-second or half a second of
wall time, and, where joules are known, 2 J. One whose remedy would lengthen the run by more than 5 % is shown only if
slower is allowed, or if the longer run still fits into the seconds that a deadline leaves. A remedy that costs CPU time is
shown only if it saves joules in sum. Of several estimates that claim the same seconds, the largest stays.

Joules follow the seconds: processor joules by CPU seconds, everything else (memory, GPUs, the way to the wall) by wall
seconds for the parts that stand by, so a service that stops polling saves its processor's joules and not its memory's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import hypot, sqrt

from joulewise.diagnosing.case import LEAST_SHARE, Case, Estimate
from joulewise.vocabulary.figures import Basis, Figure
from joulewise.vocabulary.finding import Finding, Saving
from joulewise.vocabulary.footprint import Footprint
from joulewise.vocabulary.recording import Component

_NOISE = 0.06  # standard deviation of what a part of a run takes from one time to the next, beside neighbours
LEAST_S = 0.5
LEAST_J = 2.0
_LONGER = 0.05


def rank(
    case: Case, estimates: Iterable[Estimate], *, allow_slower: bool = False, most_s: float | None = None
) -> tuple[Finding, ...]:
    """Return the findings worth showing, the largest saving first; `most_s` is how long the run may last. Pure."""
    by_claim: dict[str, tuple[Estimate, Saving]] = {}
    for estimate in estimates:
        saving = price(case, estimate)
        in_time = most_s is not None and case.wall_s - saving.wall_s.value <= most_s
        if not _worth(saving, allow_slower=allow_slower or in_time):
            continue
        held = by_claim.get(estimate.claim)
        if held is None or saving.share > held[1].share:
            by_claim[estimate.claim] = (estimate, saving)
    ranked = sorted(by_claim.values(), key=lambda pair: (-pair[1].share, pair[0].cause))
    return tuple(Finding(e.cause, e.evidence, saving, e.remedy, e.risk, e.process) for e, saving in ranked)


def price(case: Case, estimate: Estimate) -> Saving:
    """Return an estimate with its shares, joules, grams and money; no more than the run used."""
    cpu_s = _at_most(as_run(estimate.cpu_s, case.cpu_s), case.cpu_s)
    wall_s = _at_most(as_run(estimate.wall_s, case.wall_s), case.wall_s)
    cpu_share = cpu_s.value / case.cpu_s if case.cpu_s > 0 else 0.0
    wall_share = wall_s.value / case.wall_s if case.wall_s > 0 else 0.0
    cost = case.account.footprint
    share = _energy_share(case, cost, cpu_s, wall_s)
    saving = Saving(cpu_s, wall_s, cpu_share, wall_share, currency=cost.currency)
    if share is None or cost.total_j is None:
        return saving
    return replace(
        saving,
        energy_j=cost.total_j.times(share),
        energy_share=share.value,
        carbon_g=None if cost.carbon_g is None else cost.carbon_g.times(share),
        cost=None if cost.cost is None else cost.cost.times(share),
    )


def _worth(saving: Saving, *, allow_slower: bool) -> bool:
    if max(saving.cpu_share, saving.wall_share) < LEAST_SHARE:
        return False
    if max(saving.cpu_s.value, saving.wall_s.value) < LEAST_S:
        return False
    if max(saving.cpu_s.low, saving.wall_s.low) <= 0:
        return False
    if (
        saving.cpu_share < 0 and (saving.energy_share or 0.0) < LEAST_SHARE
    ):  # more work, for fewer joules only
        return False
    if saving.energy_j is not None and saving.energy_j.value < LEAST_J:
        return False
    return allow_slower or saving.wall_share >= -_LONGER


def as_run(figure: Figure, whole: float) -> Figure:
    """Return a saving with the noise of the one run that it was seen in, which the next one has not.

    Saved and left part of the run each vary by themselves, so a share s is known to s (1 - s) sqrt(2) of their noise.
    """
    if whole <= 0:
        return figure
    share = min(1.0, max(0.0, figure.value / whole))
    noise = 1.645 * sqrt(2) * _NOISE * share * (1 - share) * whole
    low, high = hypot(figure.value - figure.low, noise), hypot(figure.high - figure.value, noise)
    return replace(figure, low=figure.value - low, high=figure.value + high)


def _at_most(figure: Figure, most: float) -> Figure:
    return replace(
        figure, value=min(figure.value, most), low=min(figure.low, most), high=min(figure.high, most)
    )


def _energy_share(case: Case, cost: Footprint, cpu_s: Figure, wall_s: Figure) -> Figure | None:
    """Return which share of the run's joules the seconds were; None where no joules are known."""
    parts = {c: f.value for c, f in cost.energy_j.items() if c not in (Component.OTHER, Component.NODE)}
    whole = sum(parts.values())
    if whole <= 0 or case.cpu_s <= 0 or case.wall_s <= 0:
        return None
    by_cpu = parts.get(Component.CPU, 0.0) / whole

    def share(cpu: float, wall: float) -> float:
        return min(1.0, max(0.0, by_cpu * cpu / case.cpu_s + (1 - by_cpu) * wall / case.wall_s))

    value = share(cpu_s.value, wall_s.value)
    low, high = share(cpu_s.low, wall_s.low), share(cpu_s.high, wall_s.high)
    return Figure(value, min(low, value), max(high, value), Basis.MODELLED, "counterfactual estimate")


__all__ = ["LEAST_J", "LEAST_S", "LEAST_SHARE", "as_run", "price", "rank"]
