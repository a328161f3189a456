"""What a study spends: what a worker's meter tells, what the others have spent, and what the next epochs will take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from joulewise.vocabulary.budget import Budget, Spent, judge
from joulewise.vocabulary.figures import Figure

Measure: TypeAlias = Callable[[], Spent]


def told(spent: Spent) -> dict[str, float | None]:
    """Return what was spent as a journal's line has it."""
    return {
        "time_s": spent.time_s,
        "energy_j": spent.energy_j.value if spent.energy_j else None,
        "carbon_g": spent.carbon_g.value if spent.carbon_g else None,
        "cost": spent.cost.value if spent.cost else None,
    }


def together(own: Spent, others: Mapping[str, float], offset_s: float) -> Spent:
    """Return what this worker and others have spent; of the time, what passed while any worked.

    `offset_s` is the study's time when this worker joined.
    """
    return replace(
        own,
        time_s=max(others.get("time_s", 0.0), offset_s + own.time_s),
        energy_j=moved(own.energy_j, others.get("energy_j", 0.0)),
        carbon_g=moved(own.carbon_g, others.get("carbon_g", 0.0)),
        cost=moved(own.cost, others.get("cost", 0.0)),
    )


def ahead(spent: Spent, share: float, next_s: float) -> Spent:
    """Return what will be spent after epochs that take `share` of the joules so far, and of this worker `next_s`.

    Grams and money go with the joules.
    """
    return replace(
        spent,
        time_s=spent.time_s + next_s,
        energy_j=spent.energy_j.scaled(1 + share) if spent.energy_j else None,
        carbon_g=spent.carbon_g.scaled(1 + share) if spent.carbon_g else None,
        cost=spent.cost.scaled(1 + share) if spent.cost else None,
    )


def nearly(budget: Budget, limit: str, spent: Spent) -> str:
    """Return in words how far the named limit is used up, where the next epoch would pass it."""
    rest = dict.fromkeys(("energy_j", "carbon_g", "cost", "time_s", "trials"))
    only = replace(budget, **{**rest, limit: getattr(budget, limit)}, soft=1e-9)
    return f"{judge(only, spent).reason}; the next epoch would pass the budget"


def moved(figure: Figure | None, by: float) -> Figure | None:
    """Return a figure with what is exactly known added to it; unknown stays unknown."""
    if figure is None:
        return None
    return replace(figure, value=figure.value + by, low=figure.low + by, high=figure.high + by)
