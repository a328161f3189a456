"""Many jobs under one capacity: prices on scarce hours, then a packing by those prices, with a bound that is proven.

Where two jobs want the same clean hour, one must go elsewhere. Give every unit of every (zone, step) a price, the
multiplier of its capacity: then each job decides alone, which is fast and vectorises, and the sum of what they pay,
less the value of the capacity, is a bound that no plan can beat (Lagrange; it equals the bound of the linear
program that `lp_bound` hands to HiGHS). The prices are found by subgradient steps (Polyak). A packing then places job
after job by the priced cost, and takes jobs out and puts them back while that helps.

Time-indexed integer programs were measured and are the wrong tool at this size (docs/decisions/0301-fleet.md).
Needs numpy, and scipy for `lp_bound` (extra `schedule`). Everything is in whole steps; a plan of single jobs
(`plan.py`) is exact to the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_INF = np.inf


@dataclass(frozen=True, slots=True)
class Fleet:
    """Jobs and capacity in whole steps.

    `rates` (zone x step) is the cost of one unit of `weight` for a step; `capacity` has the same shape, in units. Of job
    j: `length` steps, to run in steps `release` to `deadline` (exclusive); it costs `weight` x rate a step and takes
    `units`; `allowed` (job x zone); `pausable` may rest between steps, `migrates` may even change zone between them.
    """

    rates: Floats
    capacity: Ints
    length: Ints
    release: Ints
    deadline: Ints
    weight: Floats
    units: Ints
    allowed: Bools
    pausable: Bools
    migrates: Bools

    @property
    def count(self) -> int:
        """The number of jobs."""
        return len(self.length)


@dataclass(frozen=True, slots=True)
class Packing:
    """Where each job runs: its steps and the zone of each (empty: left out), the cost, and a proven bound."""

    steps: tuple[tuple[int, ...], ...]
    zones: tuple[tuple[int, ...], ...]
    cost: float
    bound: float  # of all jobs that can be placed alone
    unplaced: tuple[int, ...]

    @property
    def gap(self) -> float:
        """How far the cost lies above the bound, as a share of the bound; only where no job is left out."""
        return max(0.0, self.cost - self.bound) / self.bound if self.bound > 0 else 0.0


def pack(fleet: Fleet, *, iterations: int = 60, passes: int = 6, seed: int = 0) -> Packing:
    """Return a packing of the fleet with its bound; deterministic for a seed."""
    alone = np.array([_fits_alone(fleet, j) for j in range(fleet.count)])
    groups = [g for kind in (0, 1, 2) if (g := _Group.of(fleet, kind, alone)).jobs.size]
    first = _Packer(fleet, np.zeros_like(fleet.rates), seed)
    first.fill(np.flatnonzero(alone))
    bound, price = _multipliers(fleet, groups, iterations, first.cost())
    packer = _Packer(fleet, price, seed)
    packer.fill(np.flatnonzero(alone))
    packer.improve(passes)
    return packer.packing(bound)


def lp_bound(fleet: Fleet, time_limit_s: float = 120.0) -> float:
    """Return the optimum of the linear relaxation in which every job may pause and migrate (HiGHS)."""
    from scipy import sparse
    from scipy.optimize import linprog

    steps = fleet.rates.shape[1]
    parts: list[tuple[Ints, Ints, Ints]] = []
    for j in range(fleet.count):
        zones = np.flatnonzero(fleet.allowed[j])
        when = np.arange(fleet.release[j], fleet.deadline[j])
        parts.append(
            (np.full(len(zones) * len(when), j), np.repeat(zones, len(when)), np.tile(when, len(zones)))
        )
    job, zone, step = (np.concatenate(column) for column in zip(*parts, strict=True))
    number = np.arange(len(job))
    ones = np.ones(len(job))
    whole = sparse.csr_matrix((ones, (job, number)), shape=(fleet.count, len(job)))
    cells = sparse.csr_matrix(
        (fleet.units[job].astype(float), (zone * steps + step, number)), shape=(fleet.rates.size, len(job))
    )
    _, at_once = np.unique(job * steps + step, return_inverse=True)
    once = sparse.csr_matrix((ones, (at_once, number)), shape=(int(at_once.max()) + 1, len(job)))
    solved: Any = linprog(
        fleet.weight[job] * fleet.rates[zone, step],
        A_ub=sparse.vstack([cells, once]),
        b_ub=np.concatenate([fleet.capacity.ravel().astype(float), np.ones(once.shape[0])]),
        A_eq=whole,
        b_eq=fleet.length.astype(float),
        bounds=(0, 1),
        method="highs-ds",
        options={"time_limit": time_limit_s},
    )
    return float(solved.fun) if solved.status == 0 else float("nan")


def _fits_alone(fleet: Fleet, j: int) -> bool:
    zones = fleet.allowed[j]
    window = fleet.capacity[zones, fleet.release[j] : fleet.deadline[j]] >= fleet.units[j]
    if not window.size:
        return False
    if fleet.pausable[j]:
        open_steps = window.any(0).sum() if fleet.migrates[j] else window.sum(1).max()
        return bool(open_steps >= fleet.length[j])
    blocked = np.concatenate([np.zeros((len(window), 1)), np.cumsum(~window, 1)], 1)
    length = int(fleet.length[j])
    return bool(length < blocked.shape[1] and (blocked[:, length:] == blocked[:, :-length]).any())


@dataclass(frozen=True, slots=True)
class _Group:
    """Jobs of one kind (0: one start, 1: pausable in one zone, 2: pausable and migrating) as padded arrays."""

    kind: int
    jobs: Ints
    when: Ints  # job x place in the window: the step
    base: Floats  # job x zone x place in the window: the cost without prices, inf where it may not be
    length: Ints
    units: Floats
    cells: int

    @classmethod
    def of(cls, fleet: Fleet, kind: int, alone: Bools) -> _Group:
        kinds = np.where(fleet.pausable, np.where(fleet.migrates, 2, 1), 0)
        jobs = np.flatnonzero(alone & (kinds == kind))
        if not jobs.size:
            return cls(kind, jobs, np.zeros((0, 0), np.int64), np.zeros((0, 0, 0)), jobs, np.zeros(0), 0)
        length, release, deadline = fleet.length[jobs], fleet.release[jobs], fleet.deadline[jobs]
        places = deadline - release if kind else deadline - release - length + 1
        when = release[:, None] + np.arange(places.max())[None]
        good = np.arange(places.max())[None] < places[:, None]
        steps = fleet.rates.shape[1]
        if kind:
            rates = fleet.rates[:, np.minimum(when, steps - 1)]
        else:
            summed = np.concatenate([np.zeros((len(fleet.rates), 1)), np.cumsum(fleet.rates, 1)], 1)
            rates = summed[:, np.minimum(when + length[:, None], steps)] - summed[:, np.minimum(when, steps)]
        base = rates.transpose(1, 0, 2) * fleet.weight[jobs][:, None, None]
        base[~(fleet.allowed[jobs][:, :, None] & good[:, None, :])] = _INF
        units = fleet.units[jobs].astype(float)
        return cls(kind, jobs, when, base, length, units, steps)

    def choose(self, price: Floats) -> tuple[float, Floats]:
        """Return the sum of the cheapest priced choices, and the units that they take in each cell."""
        use = np.zeros((price.shape[0], self.cells + 1))
        rows = np.arange(len(self.jobs))
        if self.kind == 0:
            summed = np.concatenate([np.zeros((len(price), 1)), np.cumsum(price, 1)], 1)
            begin = np.minimum(self.when, self.cells)
            end = np.minimum(self.when + self.length[:, None], self.cells)
            toll = (summed[:, end] - summed[:, begin]).transpose(1, 0, 2) * self.units[:, None, None]
            cost = (self.base + toll).reshape(len(rows), -1)
            best = cost.argmin(1)
            zone, place = np.divmod(best, self.when.shape[1])
            start = self.when[rows, place]
            np.add.at(use, (zone, start), self.units)
            np.add.at(use, (zone, start + self.length), -self.units)
            return float(cost[rows, best].sum()), np.cumsum(use, 1)[:, :-1]
        toll = price[:, np.minimum(self.when, self.cells - 1)].transpose(1, 0, 2) * self.units[:, None, None]
        cost = self.base + toll
        wanted = np.arange(cost.shape[2])[None] < self.length[:, None]
        if self.kind == 2:
            zones, cheapest = cost.argmin(1), cost.min(1)
            order = np.argsort(cheapest, 1)
            chosen = np.take_along_axis(cheapest, order, 1)
            value = float(chosen[wanted].sum())
            job, rank = np.nonzero(wanted)
            place = order[job, rank]
            np.add.at(use, (zones[job, place], self.when[job, place]), self.units[job])
            return value, use[:, :-1]
        order = np.argsort(cost, 2)
        ranked = np.take_along_axis(cost, order, 2)
        per_zone = np.where(wanted[:, None, :], ranked, 0.0).sum(2)
        zone = per_zone.argmin(1)
        job, rank = np.nonzero(wanted)
        place = order[job, zone[job], rank]
        np.add.at(use, (zone[job], self.when[job, place]), self.units[job])
        return float(per_zone[rows, zone].sum()), use[:, :-1]


def _multipliers(
    fleet: Fleet, groups: Sequence[_Group], iterations: int, target: float
) -> tuple[float, Floats]:
    """Return the best bound found and the prices per unit that gave it; `target` is the cost of some packing.

    Deflected subgradient steps of Polyak's length: the direction keeps half of the last one, which damps the zigzag.
    """
    price = np.zeros_like(fleet.rates)
    best, best_price = -_INF, price
    share, since, direction = 1.0, 0, np.zeros_like(fleet.rates)
    for _ in range(max(1, iterations)):
        value, use = 0.0, np.zeros_like(fleet.rates)
        for group in groups:
            part, taken = group.choose(price)
            value, use = value + part, use + taken
        value -= float((price * fleet.capacity).sum())
        if value > best:
            best, best_price, since = value, price, 0
        else:
            since += 1
            if since >= 4:
                share, since = share * 0.6, 0
        over = use - fleet.capacity
        over[(price <= 0) & (over < 0)] = 0.0
        if not over.any():
            break
        direction = over + 0.5 * direction
        if not direction.any():  # half of the last step undoes this one exactly
            direction = over
        norm = float((direction * direction).sum())
        price = np.maximum(0.0, price + share * max(target - value, 1e-9 * abs(target)) / norm * direction)
    return best, best_price


class _Packer:
    """Places jobs one after the other by their priced cost, and moves them while that helps."""

    def __init__(self, fleet: Fleet, price: Floats, seed: int) -> None:
        self.fleet, self.price = fleet, price
        self.use = np.zeros_like(fleet.capacity)
        self.where: list[tuple[Ints, Ints] | None] = [None] * fleet.count
        self._random = np.random.default_rng(seed)
        self._zones = [np.flatnonzero(row) for row in fleet.allowed]
        self._summed = np.concatenate([np.zeros((len(fleet.rates), 1)), np.cumsum(fleet.rates, 1)], 1)

    def fill(self, jobs: Ints) -> None:
        """Place all jobs, largest first; what found no place goes to the front and all is done again."""
        order = list(jobs[np.argsort(-(self.fleet.length * self.fleet.units)[jobs], kind="stable")])
        best: tuple[int, list[tuple[Ints, Ints] | None], Ints] | None = None
        for _ in range(12):
            self.use[:] = 0
            self.where = [None] * self.fleet.count
            missed = [j for j in order if not self._place(j, 1.0)]
            if best is None or len(missed) < best[0]:
                best = (len(missed), list(self.where), self.use.copy())
            if not missed:
                break
            front = set(missed)
            order = missed + [j for j in order if j not in front]
        if best is not None:
            self.where, self.use = best[1], best[2]
        for j in jobs:
            if self.where[int(j)] is None and self.fleet.pausable[j]:
                self._augment(int(j))

    def _augment(self, j: int) -> bool:
        """Place a pausable job by chains of moves: a job leaves a cell for another, whose job leaves for a third.

        This is the augmenting path of a transport problem, so with jobs of one size nothing that fits is left out.
        """
        fleet = self.fleet
        kept_use, kept_where = self.use.copy(), list(self.where)
        for zone in [-1] if fleet.migrates[j] else [int(z) for z in self._zones[j]]:
            self.where[j] = (np.zeros(0, np.int64), np.zeros(0, np.int64))
            held = self._held()
            for _ in range(int(fleet.length[j])):
                if not self._chain(j, zone, held):
                    break
            else:
                return True
            self.use[:], self.where = kept_use, list(kept_where)
        return False

    def _held(self) -> dict[tuple[int, int], set[int]]:
        """Return the pausable jobs of each cell."""
        held: dict[tuple[int, int], set[int]] = {}
        for k, where in enumerate(self.where):
            if where is not None and self.fleet.pausable[k]:
                for cell in zip(where[0].tolist(), where[1].tolist(), strict=True):
                    held.setdefault(cell, set()).add(k)
        return held

    def _chain(self, j: int, zone: int, held: dict[tuple[int, int], set[int]]) -> bool:
        """Give job j one cell more (in `zone`, or any with -1) by the shortest chain of moves; False where none is."""
        fleet, capacity = self.fleet, self.fleet.capacity
        came: dict[tuple[int, int], tuple[int, tuple[int, int] | None]] = {}
        queue: list[tuple[int, int]] = []

        def offer(job: int, zones: Sequence[int], leaving: tuple[int, int] | None) -> None:
            where = self.where[job]
            steps = set() if where is None else set(where[1].tolist())
            for step in range(int(fleet.release[job]), int(fleet.deadline[job])):
                if step not in steps:
                    for z in zones:
                        if (z, step) not in came:
                            came[z, step] = (job, leaving)
                            queue.append((z, step))

        offer(j, self._zones[j].tolist() if zone < 0 else [zone], None)
        reached = 0
        while reached < len(queue):
            cell = queue[reached]
            reached += 1
            wants = came[cell][0]
            if self.use[cell] + fleet.units[wants] <= capacity[cell]:
                self._follow(cell, came, held)
                return True
            chain = {wants}
            step_back = came[cell][1]
            while step_back is not None:
                chain.add(came[step_back][0])
                step_back = came[step_back][1]
            for k in sorted(held.get(cell, ())):
                if k not in chain and fleet.units[k] >= fleet.units[wants]:
                    offer(k, self._zones[k].tolist() if fleet.migrates[k] else [cell[0]], cell)
        return False

    def _follow(
        self,
        cell: tuple[int, int],
        came: dict[tuple[int, int], tuple[int, tuple[int, int] | None]],
        held: dict[tuple[int, int], set[int]],
    ) -> None:
        """Carry out a chain of moves from its free cell back to the job that wanted room."""
        at: tuple[int, int] | None = cell
        while at is not None:
            job, leaving = came[at]
            where = self.where[job]
            cells = [] if where is None else list(zip(where[0].tolist(), where[1].tolist(), strict=True))
            if leaving is not None:
                cells.remove(leaving)
                held[leaving].discard(job)
                self.use[leaving] -= self.fleet.units[job]
            cells.append(at)
            cells.sort(key=lambda c: c[1])
            held.setdefault(at, set()).add(job)
            self.use[at] += self.fleet.units[job]
            self.where[job] = (
                np.array([c[0] for c in cells], dtype=np.int64),
                np.array([c[1] for c in cells], dtype=np.int64),
            )
            at = leaving

    def improve(self, passes: int) -> None:
        """Take every job out and put it back where it is cheapest; first by priced costs, at last by bare ones."""
        placed = np.array([j for j, w in enumerate(self.where) if w is not None], dtype=np.int64)
        best = (self.cost(), list(self.where), self.use.copy())
        for number in range(passes):
            factor = max(0.0, 1.0 - 1.5 * number / max(1, passes))
            for j in self._random.permutation(placed):
                self._move(int(j), factor)
            if self.cost() < best[0]:
                best = (self.cost(), list(self.where), self.use.copy())
        _, self.where, self.use = best

    def cost(self) -> float:
        """Return the cost of what is placed."""
        return sum(self._cost_of(j, w) for j, w in enumerate(self.where) if w is not None)

    def packing(self, bound: float) -> Packing:
        """Return the result."""
        steps = tuple(() if w is None else tuple(int(t) for t in w[1]) for w in self.where)
        zones = tuple(() if w is None else tuple(int(r) for r in w[0]) for w in self.where)
        unplaced = tuple(j for j, w in enumerate(self.where) if w is None)
        return Packing(steps, zones, self.cost(), bound, unplaced)

    def _cost_of(self, j: int, where: tuple[Ints, Ints]) -> float:
        return float(self.fleet.rates[where].sum() * self.fleet.weight[j])

    def _move(self, j: int, factor: float) -> None:
        where = self.where[j]
        if where is None:
            return
        self.use[where] -= self.fleet.units[j]
        if not self._place(j, factor):  # its old place is free, so it always finds one
            self.use[where] += self.fleet.units[j]

    def _place(self, j: int, factor: float) -> bool:
        """Put job j where its cost plus `factor` times the price is least; False where it fits nowhere."""
        fleet = self.fleet
        zones, units, length = self._zones[j], int(fleet.units[j]), int(fleet.length[j])
        begin, end = int(fleet.release[j]), int(fleet.deadline[j])
        free = self.use[zones, begin:end] + units <= fleet.capacity[zones, begin:end]
        cost = fleet.rates[zones, begin:end] * fleet.weight[j]
        if factor:
            cost = cost + factor * units * self.price[zones, begin:end]
        if not fleet.pausable[j]:
            if length > end - begin:
                return False
            gaps = np.zeros((len(zones), end - begin + 1))
            np.cumsum(~free, 1, out=gaps[:, 1:])
            summed = np.zeros((len(zones), end - begin + 1))
            np.cumsum(cost, 1, out=summed[:, 1:])
            runs = summed[:, length:] - summed[:, : summed.shape[1] - length]
            runs[gaps[:, length:] != gaps[:, : gaps.shape[1] - length]] = _INF
            best = int(runs.argmin())
            row, place = divmod(best, runs.shape[1])
            if runs[row, place] == _INF:
                return False
            steps = np.arange(begin + place, begin + place + length)
            chosen = np.full(length, zones[row])
        elif fleet.migrates[j]:
            cost = np.where(free, cost, _INF)
            least = cost.min(0)
            order = np.sort(np.argpartition(least, length - 1)[:length]) if length <= end - begin else None
            if order is None or not np.isfinite(least[order]).all():
                return False
            steps = begin + order
            chosen = zones[cost.argmin(0)[order]]
        else:
            if length > end - begin:
                return False
            cost = np.where(free, cost, _INF)
            order = np.argpartition(cost, length - 1, axis=1)[:, :length]
            sums = np.take_along_axis(cost, order, 1).sum(1)
            row = int(sums.argmin())
            if not np.isfinite(sums[row]):
                return False
            steps = begin + np.sort(order[row])
            chosen = np.full(length, zones[row])
        self.use[chosen, steps] += units
        self.where[j] = (chosen, steps)
        return True
