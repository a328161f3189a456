"""What a running recording looks like from outside: spent, progress, the forecast and the verdict of its budget.

Between two ticks of the recorder the joules are carried on at the last known power, so that a limit is met when it is
reached and not up to a tick later, and so that a meter that hangs does not make the budget endless. A source that
cannot tell is said once and the other limits go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, final

from joulewise.cli.following import Following
from joulewise.measuring.recorder import Snapshot
from joulewise.vocabulary.budget import (
    Budget,
    Expected,
    Spent,
    Verdict,
    forecast,
    improvement,
    judge,
    progress,
)
from joulewise.vocabulary.figures import Figure

_MOST_MILESTONES = 512
_UNKNOWN_AFTER_S = 5.0


class SharedPot(Protocol):
    """A budget shared by several processes: say what this run has spent, hear what all have."""

    def share(self, own: Spent) -> Spent:
        """Return what all have spent, with `own` as what this run has."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a running recording. None is unknown."""

    now_s: float
    spent: Spent  # of this run
    power_w: float | None
    share: float | None  # of the work that is done, 0 to 1
    per_step_j: float | None
    step: str  # what a step is called: step, epoch
    expected: Expected | None
    verdict: Verdict


def carried_on(energy_j: Figure, power_w: float | None, since_s: float) -> Figure:
    """Return the joules `since_s` seconds after the tick, at the last known power."""
    if not power_w or since_s <= 0 or energy_j.value <= 0:
        return energy_j
    return energy_j.scaled((energy_j.value + power_w * since_s) / energy_j.value)


@final
class Watch:
    """Looks at a recording, again and again; remembers milestones and which warnings were given.

    `snapshot` is the recorder's latest; `price` tells what was spent as of a snapshot and a time (with grams and money
    where they are asked for).
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot | None],
        price: Callable[[Snapshot | None, float], Spent],
        limits: Budget | None = None,
        following: Following | None = None,
        pot: SharedPot | None = None,
    ) -> None:
        self._snapshot, self._price, self._limits = snapshot, price, limits
        self._following, self._pot = following, pot
        self._warned: set[str] = set()
        self._before: tuple[float, float] = (0.0, 0.0)  # time and joules at the tick before
        self._milestones: list[tuple[float, float, float | None]] = []
        self._epochs: list[Mapping[str, Any]] = []
        self._trials: set[str] = set()
        self._from_zero = False
        self._last: dict[str, Any] = {}

    def look(self, now_s: float) -> Look:
        """Return how things stand; a warning is given once."""
        latest = self._snapshot()
        self._listen(latest)
        energy_j = latest.energy_j if latest else None
        power_w = latest.power_w if latest else None
        if latest and energy_j is not None:
            energy_j = carried_on(energy_j, power_w, now_s - latest.t_s)
            latest = replace(latest, energy_j=energy_j)
        spent = self._price(latest, now_s)
        spent = replace(
            spent,
            trials=max(len(self._trials), latest.trials if latest else 0),
            improvement=improvement(self._epochs),
        )
        expected = self._expected(spent)
        step, per_step_j = self._per_step(energy_j)
        share = self._milestones[-1][0] if self._milestones else None
        return Look(now_s, spent, power_w, share, per_step_j, step, expected, self._verdict(spent, expected))

    def next_s(self, look: Look) -> float:
        """Return in how many seconds a limit is reached at the present power (inf if none is in sight)."""
        left = [float("inf")]
        if self._limits is not None and self._limits.time_s is not None:
            left.append(self._limits.time_s - look.now_s)
        if self._limits is not None and look.power_w and look.spent.energy_j is not None:
            used = look.spent.energy_j.value
            for limit, value in (
                (self._limits.energy_j, look.spent.energy_j),
                (self._limits.carbon_g, look.spent.carbon_g),
                (self._limits.cost, look.spent.cost),
            ):
                if limit is not None and value is not None and value.value > 0:
                    ratio = (value.high if self._limits.assume_high else value.value) / used
                    left.append((limit / ratio - used) / look.power_w)
        return max(0.0, min(left))

    def unknown(self, now_s: float) -> str:
        """Return why a limit cannot be held at present, "" if all can: no joules are known."""
        limits = self._limits
        if limits is None or (limits.energy_j is None and limits.carbon_g is None and limits.cost is None):
            return ""
        latest = self._snapshot()
        if now_s > _UNKNOWN_AFTER_S and (latest is None or latest.energy_j is None):
            return (
                "the energy of this run is not known, so its budget cannot be held (see 'joulewise doctor')"
            )
        return ""

    def overshoot(self, spent: Spent) -> str:
        """Return by how much the spent limit was passed, in words; "" if it was not."""
        limits = self._limits
        if limits is None:
            return ""
        parts = []
        for name, unit in (("energy_j", "J"), ("carbon_g", "g"), ("cost", limits.currency), ("time_s", "s")):
            limit, value = getattr(limits, name), getattr(spent, name)
            if isinstance(value, Figure):
                value = value.high if limits.assume_high and name != "energy_j" else value.value
            if limit is not None and value is not None and value > limit:
                over = value - limit
                parts.append(f"{over:.3g} {unit} ({100 * over / limit:.2g} %)")
        return ", ".join(parts)

    def _verdict(self, spent: Spent, expected: Expected | None) -> Verdict:
        if self._limits is None:
            return Verdict()
        if self._pot is not None:
            spent, expected = self._pot.share(spent), None
        verdict = judge(self._limits, spent, expected, self._warned)
        if verdict.warns:
            self._warned.add(verdict.limit)
        return verdict

    def _listen(self, latest: Snapshot | None) -> None:
        points = self._following.look() if self._following else []
        now = (latest.t_s, latest.energy_j.value) if latest and latest.energy_j else None
        for point in points:
            values = point.values
            self._last = {**self._last, **values}
            if "trial" in values:
                self._trials.add(str(values["trial"]))
            if "epoch" in values:
                self._epochs.append(values)
            if values.get("epoch", values.get("step")) == 0:
                self._from_zero = True
            share = progress(values, from_zero=self._from_zero)
            if share is not None and share > (self._milestones[-1][0] if self._milestones else 0.0):
                joules = None if now is None else _between(self._before, now, point.t_s)
                self._milestones.append((share, point.t_s, joules))
        del self._epochs[: -_MOST_MILESTONES * 8]
        if len(self._milestones) > _MOST_MILESTONES:  # every second one, the newest always
            self._milestones = self._milestones[::-2][::-1]
        if now is not None and now[0] > self._before[0]:
            self._before = now

    def _expected(self, spent: Spent) -> Expected | None:
        time_s = forecast([(s, t) for s, t, _ in self._milestones])
        if time_s is None:
            return None
        energy_j = forecast([(s, j) for s, _, j in self._milestones if j is not None])
        used = spent.energy_j.value if spent.energy_j else 0.0
        if energy_j is None or used <= 0:
            return Expected(time_s, energy_j)
        high = self._limits is not None and self._limits.assume_high
        carbon_g, cost = (
            None if f is None else energy_j.scaled((f.high if high else f.value) / used)
            for f in (spent.carbon_g, spent.cost)
        )
        return Expected(time_s, energy_j, carbon_g, cost)

    def _per_step(self, energy_j: Figure | None) -> tuple[str, float | None]:
        for step in ("step", "epoch"):
            done = self._last.get(step)
            if isinstance(done, int | float) and not isinstance(done, bool) and energy_j is not None:
                count = done + self._from_zero
                if count > 0:
                    return step, energy_j.value / count
        return "", None


def _between(before: tuple[float, float], now: tuple[float, float], t_s: float) -> float:
    """Return the joules at `t_s`, linear between two ticks."""
    (t0, j0), (t1, j1) = before, now
    if t1 <= t0:
        return j1
    return j0 + (j1 - j0) * min(1.5, max(0.0, (t_s - t0) / (t1 - t0)))
