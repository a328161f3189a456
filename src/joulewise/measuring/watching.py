"""A budget held against a recording as it goes on: what was spent, what is to be expected, and the verdict.

The shells ask once in a while (`run` every tick, `track` at its safe points) and act; the rules are
`vocabulary.budget`'s. A warning is given once.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import final

from joulewise.catalogue.place import Place
from joulewise.catalogue.pricing import footprint
from joulewise.measuring.recorder import Snapshot
from joulewise.vocabulary.budget import Budget, Expected, Spent, Verdict, forecast, judge
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.recording import Component


@final
class Watch:
    """One budget, one place, and which warnings were given."""

    def __init__(self, budget: Budget, place: Place) -> None:
        self._budget = budget
        self._place = place
        self._warned: set[str] = set()

    def look(self, snapshot: Snapshot | None, now_s: float, others: Spent | None = None) -> Verdict:
        """Return the verdict at `now_s`; `others` is what the other members of a shared pot have spent."""
        own = spent(snapshot, self._place, now_s)
        verdict = judge(self._budget, together(own, others), expected(snapshot, own), self._warned)
        if verdict.warns:
            self._warned.add(verdict.limit)
        return verdict


def spent(snapshot: Snapshot | None, place: Place, now_s: float) -> Spent:
    """Return what a recording has used so far: seconds, joules at the wall, grams, money, trials."""
    if snapshot is None:
        return Spent(time_s=now_s)
    if snapshot.energy_j is None:
        return Spent(time_s=now_s, trials=snapshot.trials, improvement=snapshot.improvement)
    cost = footprint(
        {Component.CPU: snapshot.energy_j}, place, started_utc=datetime.now(UTC), duration_s=max(now_s, 1e-3)
    )
    return Spent(now_s, cost.total_j, cost.carbon_g, cost.cost, snapshot.trials, snapshot.improvement)


def carried_on(snapshot: Snapshot, now_s: float) -> Snapshot:
    """Return the snapshot with the joules that it will have at `now_s`, at its power (at first: its mean power)."""
    energy_j, since_s = snapshot.energy_j, now_s - snapshot.t_s
    if energy_j is None or energy_j.value <= 0 or snapshot.t_s <= 0:
        return snapshot
    power_w = energy_j.value / snapshot.t_s if snapshot.power_w is None else snapshot.power_w
    grown = energy_j.scaled(1 + power_w * max(0.0, since_s) / energy_j.value)
    return replace(snapshot, energy_j=grown, power_w=power_w)


def expected(snapshot: Snapshot | None, own: Spent) -> Expected:
    """Return the totals to expect at the end from the milestones so far; grams and money go with the joules."""
    if snapshot is None or own.energy_j is None or not snapshot.energy_j or snapshot.energy_j.value <= 0:
        return Expected()
    time_s = forecast([(m.share, m.t_s) for m in snapshot.milestones])
    energy_j = forecast([(m.share, m.energy_j) for m in snapshot.milestones if m.energy_j is not None])
    if energy_j is None:
        return Expected(time_s)
    at_wall = energy_j.scaled(own.energy_j.value / snapshot.energy_j.value)

    def along(figure: Figure | None) -> Figure | None:
        return at_wall.scaled(figure.value / own.energy_j.value) if figure and own.energy_j else None

    return Expected(time_s, at_wall, along(own.carbon_g), along(own.cost))


def together(own: Spent, others: Spent | None) -> Spent:
    """Return what a pot's members have spent together; time and plateau are each member's own."""
    if others is None:
        return own
    return replace(
        own,
        energy_j=_plus(own.energy_j, others.energy_j),
        carbon_g=_plus(own.carbon_g, others.carbon_g),
        cost=_plus(own.cost, others.cost),
        trials=own.trials + others.trials,
        time_s=own.time_s + others.time_s,
    )


def _plus(one: Figure | None, other: Figure | None) -> Figure | None:
    if one is None or other is None:
        return one or other
    return Figure(
        one.value + other.value,
        one.low + other.low,
        one.high + other.high,
        max(one.basis, other.basis),
        one.source,
        one.boundary,
    )
