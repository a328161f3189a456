"""A plan for many jobs under the capacity of their places: jobs put into whole steps, packed, and taken out again.

Durations are rounded up to whole steps, releases up, deadlines (less the reserve) down, so what is planned fits. A
job that may pause is given room for the dead time of its pauses. A job with data to move stays at home: moving it is
priced for single jobs (plan.py). Jobs are packed at their first pace. Needs numpy (extra `schedule`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import ceil

import numpy as np

from joulewise.scheduling.fleet import Fleet, Floats, Ints, Packing, pack
from joulewise.scheduling.ladder import FREE
from joulewise.scheduling.plan import Grid, Terms, refusal
from joulewise.scheduling.slots import Slot, window
from joulewise.vocabulary.job import (
    Checkpoint,
    Job,
    Objective,
    Place,
    Placement,
    Plan,
    Stretch,
    Toll,
    Unplaced,
    after,
)
from joulewise.vocabulary.quantities import format_duration
from joulewise.vocabulary.signal import utc

_EPS, _EPS_S = 1e-9, 1e-6
_HAIR = 1e-6  # bounds are of prices with it, so they are lowered by as much
_SMALL = 2000  # jobs; a larger fleet gets fewer steps of the search for prices
_UNLIMITED = 1 << 30


@dataclass(frozen=True, slots=True)
class Taken:
    """Units of a zone that other work holds from one time to another."""

    zone: str
    start_utc: datetime
    end_utc: datetime
    units: int


def plan_fleet(
    jobs: Sequence[Job],
    grid: Grid,
    at_utc: datetime,
    terms: Terms,
    places: Mapping[str, Place],
    taken: Sequence[Taken] = (),
    nodes: Mapping[str, Sequence[int]] | None = None,
) -> Plan:
    """Return a plan that holds every place's capacity in every step; what found no room is left out with the reason.

    `taken` is capacity that is not to be had: what runs already. `nodes` are the capacities of a zone's nodes: there each job
    has to fit on one of them, and stays on it.
    """
    out = [Unplaced(job, why) for job in jobs if (why := refusal(job, grid, at_utc))]
    refused = {id(u.job) for u in out}
    kept = [job for job in jobs if id(job) not in refused]
    if not kept:
        return Plan(at_utc, terms.objective, (), tuple(out), grid.said(), grid.currency, 0.0, "fleet")
    board = _Board(kept, grid, at_utc, terms, places, taken, nodes or {})
    small = len(kept) <= _SMALL
    packing = pack(board.fleet, iterations=120 if small else 60, passes=8 if small else 4)
    packing = board.joined(packing)
    left = set(packing.unplaced)
    out += [Unplaced(kept[j], board.why_not(j)) for j in packing.unplaced]
    placements = tuple(board.placement(j, packing) for j in range(len(kept)) if j not in left)
    method = f"fleet of {len(kept)} jobs: priced hours, packed; bound proven by the prices"
    return Plan(
        at_utc,
        terms.objective,
        placements,
        tuple(out),
        grid.said(),
        grid.currency,
        packing.bound / (1 + _HAIR) if not left else sum(p.bound for p in placements),
        method,
    )


class _Board:
    """The fleet in whole steps, and the way back to times."""

    def __init__(
        self,
        jobs: Sequence[Job],
        grid: Grid,
        at_utc: datetime,
        terms: Terms,
        places: Mapping[str, Place],
        taken: Sequence[Taken],
        nodes: Mapping[str, Sequence[int]],
    ) -> None:
        self.jobs, self.grid, self.terms = jobs, grid, terms
        self.step_s = min(s.step_s for s in grid.carbon.values())
        since = int(utc(at_utc).timestamp())
        self.origin = datetime.fromtimestamp(-(-since // self.step_s) * self.step_s, UTC)
        count = max(1, ceil((max(j.deadline_utc for j in jobs) - self.origin).total_seconds() / self.step_s))
        named = [z for z in grid.carbon if any(z in j.zones for j in jobs)]
        whole = {z: places[z].capacity if z in places else None for z in named}
        rooms = [(z, room) for z in named for room in nodes.get(z) or (whole[z],)]
        self.zones = [z for z, _room in rooms]  # a row for each node
        end = self.origin + timedelta(seconds=count * self.step_s)
        self.slots = {z: self._slots(z, end, count, places.get(z)) for z in self.zones}
        self.notes = tuple(
            dict.fromkeys(n for z in self.zones for n in window(grid.carbon[z], self.origin, end).notes)
        )
        self.gram = np.array([[s.g_per_j for s in self.slots[z]] for z in self.zones])
        self.money = np.array([[s.money_per_j for s in self.slots[z]] for z in self.zones])
        self.rates = self._rates(count)
        capacity = [_UNLIMITED if room is None else room for _zone, room in rooms]
        length = np.array([self._length(j) for j in jobs])
        release = np.array([self._release(j) for j in jobs])
        deadline = np.array([min(count, self._deadline(j)) for j in jobs])
        # a window that does not hold the reserve gives the job no room to move: it runs at once, at its risk
        self.tight = deadline - release < length
        plain = np.array([min(count, self._deadline(j, reserved=False)) for j in jobs])
        deadline = np.where(self.tight, np.maximum(release, np.minimum(plain, release + length)), deadline)
        self.fleet = Fleet(
            self.rates,
            self._free(np.tile(np.array(capacity, dtype=np.int64)[:, None], (1, count)), taken),
            length,
            release,
            deadline,
            np.array([j.power_w * self.step_s for j in jobs], dtype=float),
            np.array([j.units for j in jobs]),
            np.array([[self._may(j, z) for z in self.zones] for j in jobs]),
            np.array([j.interruptible is not None for j in jobs]),
            np.array(
                [j.interruptible is not None and j.interruptible == FREE and not j.data_bytes for j in jobs]
            ),
        )

    def joined(self, packing: Packing) -> Packing:
        """Return the packing with jobs run in one go where the idle power of their pauses costs more than pausing saves.

        The packer knows nothing of it; each such job is put into the room that the others leave, if that is cheaper.
        """
        fleet, steps, zones = self.fleet, list(packing.steps), list(packing.zones)
        draws = [
            j
            for j, job in enumerate(self.jobs)
            if job.interruptible and job.interruptible.idle_w and steps[j]
        ]
        draws = [j for j in draws if len(_runs(steps[j], zones[j])) > 1 and len(set(zones[j])) == 1]
        if not draws:
            return packing
        free = fleet.capacity.copy()
        for j, when in enumerate(steps):
            free[list(zones[j]), list(when)] -= fleet.units[j]
        saved = 0.0
        for j in draws:
            zone, own, units = zones[j][0], list(steps[j]), fleet.units[j]
            pause, span = self.jobs[j].interruptible or FREE, slice(own[0], own[-1] + 1)
            rates = self.rates[zone]
            paid = float(rates[own].sum() * fleet.weight[j])
            resumed = [first for _, first, _ in _runs(steps[j], zones[j])[1:]]
            idle_j = (rates[span].sum() - rates[own].sum()) * pause.idle_w * self.step_s
            paid_all = paid + float(idle_j + rates[resumed].sum() * pause.energy_j)
            free[zone, own] += units
            length = max(1, ceil((self.jobs[j].duration.expected_s or 0.0) / self.step_s - _EPS))
            window = np.arange(fleet.release[j], fleet.deadline[j] - length + 1)
            fits = np.concatenate([[0], np.cumsum(free[zone] >= units)])
            summed = np.concatenate([[0.0], np.cumsum(rates)])
            window = window[fits[window + length] - fits[window] == length]
            cost = (summed[window + length] - summed[window]) * fleet.weight[j]
            if len(window) and cost.min() < paid_all:
                first = int(window[cost.argmin()])
                steps[j], zones[j] = tuple(range(first, first + length)), (zone,) * length
                saved += paid - float(cost.min())
            free[zone, list(steps[j])] -= units
        return replace(packing, steps=tuple(steps), zones=tuple(zones), cost=packing.cost - saved)

    def placement(self, j: int, packing: Packing) -> Placement:
        """Return where job j was packed."""
        job = self.jobs[j]
        steps, zones = packing.steps[j], packing.zones[j]
        expected = job.duration.expected_s or 0.0
        runs = _runs(steps, zones)
        pause = job.interruptible or FREE
        needed_s = expected + pause.dead_s * (len(runs) - 1)
        stretches: list[Stretch] = []
        used: list[tuple[int, float, float]] = []
        moves = len({self.zones[zone] for zone in zones}) > 1
        for zone, first, count in runs:
            begin_s = float(first * self.step_s)
            run_s = min(float(count * self.step_s), needed_s)
            needed_s -= run_s
            if run_s > 0:
                begin, end = after(self.origin, begin_s), after(self.origin, begin_s + run_s)
                stretches.append(Stretch(begin, end, job.paces[0].name, self.zones[zone] if moves else ""))
                used.append((zone, begin_s, run_s))
        toll = self._toll(job, used, pause)
        now = self._now(j)
        where = self.zones[used[0][0]]
        value, value_now = self._value(toll), self._value(now)
        return Placement(
            job,
            where,
            tuple(stretches),
            "fleet",
            Toll(
                toll.energy_j,
                toll.carbon_g,
                toll.cost,
                (stretches[-1].end_utc - max(job.release_utc, self.origin)).total_seconds() - expected,
            ),
            now,
            value,
            value_now,
            min(value, self._bound(j)),
            job.duration.reserve_s or expected,
            self._risk(j, needed_s),
            self.notes,
            self.grid.trust.get(where, 1.0) if where == job.zones[0] and not moves else 1.0,
        )

    def why_not(self, j: int) -> str:
        """Return why a job found no room."""
        job, fleet = self.jobs[j], self.fleet
        zones = fleet.allowed[j]
        hours = format_duration(float(fleet.length[j] * self.step_s))
        names = ", ".join(dict.fromkeys(z for z, may in zip(self.zones, zones, strict=True) if may))
        if int(fleet.capacity[zones].max(initial=0)) < job.units:
            return f"it takes {job.units} units, but {names} have at most {int(fleet.capacity[zones].max(initial=0))}"
        if fleet.deadline[j] - fleet.release[j] < fleet.length[j]:
            return (
                f"in whole steps of {format_duration(self.step_s)} it needs {hours}, and its window is shorter; "
                f"give it one step more"
            )
        return f"the capacity of {names} is taken by other jobs in every {hours} before its deadline"

    def _free(self, capacity: Ints, taken: Sequence[Taken]) -> Ints:
        """Return the capacity less what is taken in every step that it touches; never below 0."""
        for held in sorted(taken, key=lambda t: -t.units):
            rows = [row for row, zone in enumerate(self.zones) if zone == held.zone]
            if rows:
                first, last = (
                    (t - self.origin).total_seconds() / self.step_s for t in (held.start_utc, held.end_utc)
                )
                steps = slice(max(0, int(first + _EPS)), max(0, ceil(last - _EPS)))
                least = [int(capacity[row, steps].min(initial=_UNLIMITED)) for row in rows]
                # nobody says which node it is on: the first with room, as schedulers fill them
                fits = next((n for n, room in enumerate(least) if room >= held.units), int(np.argmax(least)))
                capacity[rows[fits], steps] -= held.units
        return np.maximum(capacity, 0)

    def _slots(self, zone: str, end: datetime, count: int, there: Place | None) -> list[Slot]:
        price = self.grid.price_of(zone)
        cut = window(self.grid.carbon[zone], self.origin, end, price, there.pue if there else 1.0).slots
        merged: list[Slot] = []
        index = 0
        for n in range(count):
            begin, stop = n * self.step_s, (n + 1) * self.step_s
            grams = money = 0.0
            while index < len(cut) and cut[index].begin_s < stop - 1e-6:
                part = cut[index]
                share = (min(part.end_s, stop) - max(part.begin_s, begin)) / self.step_s
                grams, money = grams + share * part.g_per_j, money + share * part.money_per_j
                if part.end_s > stop + 1e-6:
                    break
                index += 1
            merged.append(Slot(begin, stop, grams, money))
        return merged

    def _rates(self, count: int) -> Floats:
        objective = self.terms.objective
        if objective is Objective.CARBON:
            self._weigh = (1.0, 0.0, 0.0)
        elif objective is Objective.COST:
            self._weigh = (0.0, 1.0, 0.0)
        elif objective is Objective.JOULES:
            self._weigh = (0.0, 0.0, 1.0)
        else:
            share = self.terms.carbon_weight
            self._weigh = (
                share / max(float(self.gram.mean()), 1e-18),
                (1 - share) / max(float(self.money.mean()), 1e-18),
                0.0,
            )
        gram, money, joule = self._weigh
        rates = gram * self.gram + money * self.money + joule * np.ones((len(self.zones), count))
        # of equal steps the earlier counts as cheaper by a hair: pieces of one hour stay together
        return rates * (1 + _HAIR * np.arange(count) / count)

    def _value(self, toll: Toll) -> float:
        gram, money, joule = self._weigh
        return gram * toll.carbon_g + money * (toll.cost or 0.0) + joule * toll.energy_j

    def _length(self, job: Job) -> int:
        expected = job.duration.expected_s or 0.0
        steps = ceil(expected / self.step_s - _EPS)
        if job.interruptible and job.interruptible.dead_s:
            spare = steps * self.step_s - expected
            steps += ceil(max(0.0, job.interruptible.dead_s * (steps - 1) - spare) / self.step_s - _EPS)
        return max(1, steps)

    def _release(self, job: Job) -> int:
        return max(0, ceil((job.release_utc - self.origin).total_seconds() / self.step_s - _EPS))

    def _deadline(self, job: Job, *, reserved: bool = True) -> int:
        expected = job.duration.expected_s or 0.0
        room = max(0.0, (job.duration.reserve_s or expected) - expected) if reserved else 0.0
        return int(((job.deadline_utc - self.origin).total_seconds() - room) / self.step_s + _EPS)

    def _may(self, job: Job, zone: str) -> bool:
        if zone == job.zones[0]:
            return True
        return zone in job.zones and not job.data_bytes and (not job.residency or zone in job.residency)

    def _toll(self, job: Job, used: Sequence[tuple[int, float, float]], pause: Checkpoint) -> Toll:
        energy = grams = money = 0.0
        rested = None
        for zone, begin_s, run_s in used:
            first = round(begin_s / self.step_s)
            parts = list(self._parts(begin_s, run_s, job.power_w))
            if rested is not None:
                parts.append((first, pause.energy_j))
                parts += self._parts(rested, begin_s - rested, pause.idle_w)
            for step, joules in parts:
                energy += joules
                grams += joules * float(self.gram[zone, step])
                money += joules * float(self.money[zone, step])
            rested = begin_s + run_s
        return Toll(energy, grams, money if self.grid.prices else None)

    def _parts(self, begin_s: float, length_s: float, power_w: float) -> Iterator[tuple[int, float]]:
        """Yield each step that a stretch touches with the joules drawn in it."""
        end_s = begin_s + length_s
        while end_s - begin_s > _EPS_S and power_w:
            step = int(begin_s / self.step_s + _EPS)
            until = min(end_s, (step + 1.0) * self.step_s)
            yield min(step, self.gram.shape[1] - 1), (until - begin_s) * power_w
            begin_s = until

    def _now(self, j: int) -> Toll:
        job = self.jobs[j]
        home = self.zones.index(job.zones[0])
        return self._toll(
            job, [(home, self._release(job) * self.step_s, job.duration.expected_s or 0.0)], FREE
        )

    def _bound(self, j: int) -> float:
        """Return the least that this job alone could cost, with free pauses and moves."""
        fleet = self.fleet
        cheapest = np.sort(self.rates[fleet.allowed[j], fleet.release[j] : fleet.deadline[j]].min(0))
        expected = (self.jobs[j].duration.expected_s or 0.0) / self.step_s
        whole = int(expected)
        part = cheapest[whole] * (expected - whole) if whole < len(cheapest) else 0.0
        return float((cheapest[:whole].sum() + part) * fleet.weight[j]) / (1 + _HAIR)

    def _risk(self, j: int, needed_s: float) -> str:
        if needed_s > 1.0:
            return f"{format_duration(needed_s)} of dead time found no room: its deadline may be missed"
        if self.tight[j]:
            return "its window does not hold the time that such a job may take: if it overruns it misses its deadline"
        return ""


def _runs(steps: Sequence[int], zones: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return the unbroken runs of one zone: zone, first step, number of steps."""
    runs: list[tuple[int, int, int]] = []
    for step, zone in zip(steps, zones, strict=True):
        if runs and runs[-1][0] == zone and runs[-1][1] + runs[-1][2] == step:
            runs[-1] = (zone, runs[-1][1], runs[-1][2] + 1)
        else:
            runs.append((zone, step, 1))
    return runs
