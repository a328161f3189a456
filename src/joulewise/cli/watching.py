"""How a running recording stands, look by look: spent, progress, the forecast and the verdict of its budget.

Between two ticks of the recorder the joules are carried on at the last known power, so that a limit is met when it is
reached and not up to a tick later, and so that a meter that hangs does not make the budget endless. All joules and
watts here are at the wall, as in the card.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Protocol, final

from joulewise.catalogue.place import Place
from joulewise.measuring.recorder import Snapshot
from joulewise.measuring.watching import carried_on, expected, spent
from joulewise.vocabulary.budget import Budget, Expected, Spent, Verdict, judge
from joulewise.vocabulary.figures import Figure

_UNKNOWN_AFTER_S = 5.0


class SharedPot(Protocol):
    """A budget shared by several processes: say what this run has spent, hear what all have."""

    def share(self, own: Spent) -> Spent:
        """Return what all have spent, with `own` as what this run has."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a running recording. None is unknown; `counted` is what the budget counts (a pot's sum)."""

    now_s: float
    spent: Spent  # of this run
    counted: Spent
    power_w: float | None
    share: float | None  # of the work that is done, 0 to 1
    per_step_j: float | None
    step: str  # what a step is called: step, epoch
    expected: Expected
    verdict: Verdict


@final
class Watch:
    """Looks at a recording, again and again, and remembers which warnings were given.

    `latest` is the recorder's snapshot; `limits` may be None, then the verdict is always to continue.
    """

    def __init__(
        self,
        latest: Callable[[], Snapshot | None],
        place: Place,
        limits: Budget | None = None,
        pot: SharedPot | None = None,
    ) -> None:
        self._latest, self._place, self._limits, self._pot = latest, place, limits, pot
        self._warned: set[str] = set()

    def look(self, now_s: float) -> Look:
        """Return how things stand; a warning is given once."""
        snapshot = self._latest()
        if snapshot is not None:
            snapshot = carried_on(snapshot, now_s)
        own = spent(snapshot, self._place, now_s)
        total = expected(snapshot, own)
        counted = own if self._pot is None else self._pot.share(own)
        verdict = Verdict()
        if self._limits is not None:
            verdict = judge(self._limits, counted, total, self._warned)
        if verdict.warns:
            self._warned.add(verdict.limit)
        share = snapshot.milestones[-1].share if snapshot and snapshot.milestones else None
        step, per_step_j = _per_step(snapshot, own.energy_j)
        return Look(now_s, own, counted, _at_wall_w(snapshot, own), share, per_step_j, step, total, verdict)

    def next_s(self, look: Look) -> float:
        """Return in how many seconds a limit is reached at the present power (inf if none is in sight)."""
        limits = self._limits
        if limits is None:
            return inf
        left = [inf] if limits.time_s is None else [limits.time_s - look.counted.time_s]
        rate_w, own = look.power_w, look.spent.energy_j
        if rate_w and own is not None and own.value > 0:
            for limit, of_run, of_all, high in (
                (limits.energy_j, own, look.counted.energy_j, False),
                (limits.carbon_g, look.spent.carbon_g, look.counted.carbon_g, limits.assume_high),
                (limits.cost, look.spent.cost, look.counted.cost, limits.assume_high),
            ):
                if limit is not None and of_run is not None and of_all is not None and of_run.value > 0:
                    rate = rate_w * _counted(of_run, high) / own.value
                    left.append((limit - _counted(of_all, high)) / rate)
        return max(0.0, min(left))

    def unknown(self, now_s: float) -> str:
        """Return why a limit cannot be held at present: no joules are known; "" if all can."""
        limits = self._limits
        if limits is None or (limits.energy_j is None and limits.carbon_g is None and limits.cost is None):
            return ""
        latest = self._latest()
        if now_s > _UNKNOWN_AFTER_S and (latest is None or latest.energy_j is None):
            return (
                "the energy of this run is not known, so its budget cannot be held (see 'joulewise doctor')"
            )
        return ""

    def overshoot(self, look: Look) -> str:
        """Return by how much the limits were passed, in words; "" if they were not."""
        limits = self._limits
        if limits is None:
            return ""
        parts = []
        for name, unit in (("energy_j", "J"), ("carbon_g", "g"), ("cost", limits.currency), ("time_s", "s")):
            limit, value = getattr(limits, name), getattr(look.counted, name)
            if isinstance(value, Figure):
                value = _counted(value, limits.assume_high and name != "energy_j")
            if limit is not None and value is not None and value > limit:
                parts.append(f"{value - limit:.3g} {unit} ({100 * (value - limit) / limit:.2g} %)")
        return ", ".join(parts)


def _counted(figure: Figure, high: bool) -> float:
    return figure.high if high else figure.value


def _at_wall_w(snapshot: Snapshot | None, own: Spent) -> float | None:
    if snapshot is None or snapshot.power_w is None or not snapshot.energy_j or own.energy_j is None:
        return None
    if snapshot.energy_j.value <= 0:
        return None
    return snapshot.power_w * own.energy_j.value / snapshot.energy_j.value


def _per_step(snapshot: Snapshot | None, energy_j: Figure | None) -> tuple[str, float | None]:
    if snapshot is None or energy_j is None:
        return "", None
    for step in ("step", "epoch"):
        done = snapshot.last_point.get(step)
        if isinstance(done, int | float) and done > 0:
            return step, energy_j.value / done
    return "", None
