"""Right-sizing: how many GPUs or cores a job should ask for, and with what limits.

    X(n) = n x(1) / (1 + spreading log2(n) + serial (n - 1))

`spreading` is what a tree of messages costs (all-reduce: it grows with the tree's depth), `serial` what cannot be
shared (Amdahl 1967: in this form exactly). A short probe at two sizes, or like runs in the ledger, give both, never
below zero; one further size alone fits either term, and is read as spreading, the milder one: on 46 published curves
that was right more often (docs/scheduling/rightsize.md). The joules of a unit of work are (fixed watts + n x watts
each) / X(n). The advice keeps an efficiency floor, meets a deadline where one is given, and then takes the least joules: on a machine
that burns fixed watts anyway a second GPU may be the leaner choice, beyond some size it never is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf, log2

from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.job import Duration


@dataclass(frozen=True, slots=True)
class Sized:
    """A measurement: so many workers did so many units of work a second."""

    workers: int
    units_per_s: float

    def __post_init__(self) -> None:
        """Refuse what cannot have been measured."""
        if self.workers < 1 or not self.units_per_s > 0:
            raise UsageError(
                f"{self.workers} workers at {self.units_per_s:g} units/s: workers must be at least 1 and the rate above 0"
            )


@dataclass(frozen=True, slots=True)
class Scaling:
    """How speed grows with workers: the rate of one, and what they lose by talking to each other and by serial work."""

    one_per_s: float
    spreading: float
    serial: float

    def rate(self, workers: int) -> float:
        """Return units per second on so many workers."""
        loss = self.spreading * log2(workers) + self.serial * (workers - 1)
        return workers * self.one_per_s / (1 + loss)

    def efficiency(self, workers: int) -> float:
        """Return the share of perfect scaling that is reached (0 to 1)."""
        return self.rate(workers) / (workers * self.one_per_s)


@dataclass(frozen=True, slots=True)
class Advice:
    """How many workers to ask for: their rate, efficiency, joules per unit, and what the size in use now wastes.

    `wasted_share` is the share of the present joules per unit that the advised size would spare; None where no present
    size is given.
    """

    workers: int
    units_per_s: float
    efficiency: float
    joules_per_unit: float
    wasted_share: float | None
    reason: str


def fit(measured: Iterable[Sized]) -> Scaling:
    """Return the scaling that fits the measurements best (least squares of the loss); one size scales perfectly.

    Where no measurement has one worker, the smallest size stands for it, its own loss counted as none.
    """
    rates: dict[int, list[float]] = {}
    for each in measured:
        rates.setdefault(each.workers, []).append(each.units_per_s)
    if not rates:
        raise UsageError("right-sizing needs at least one measurement: a probe (--probe 1=142) or a run")
    means = {n: sum(r) / len(r) for n, r in rates.items()}
    smallest = min(means)
    one = means[smallest] / smallest
    rows = [(log2(n), n - 1.0, n * one / x - 1) for n, x in means.items() if n > smallest]
    return Scaling(one, *_least_squares(rows))


def advise(
    scaling: Scaling,
    offered: Sequence[int],
    *,
    worker_w: float,
    fixed_w: float = 0.0,
    least_efficiency: float = 0.0,
    needed_per_s: float = 0.0,
    now: int | None = None,
) -> Advice:
    """Return the size of least joules per unit among those that keep the floor and the deadline.

    Of sizes within 1 % of the least joules the fastest is taken. Where no size meets both, the deadline counts first.
    """
    if not offered or min(offered) < 1:
        raise UsageError(f"offered sizes are {list(offered)}; name at least one size of at least 1")
    joules = {n: (fixed_w + n * worker_w) / scaling.rate(n) for n in offered}
    lean = [n for n in offered if scaling.efficiency(n) >= least_efficiency - 1e-12]
    fast = [n for n in offered if scaling.rate(n) >= needed_per_s * (1 - 1e-12)]
    both = [n for n in lean if n in fast]
    if both:
        candidates, why = both, "least joules per unit"
        if needed_per_s:
            why += " in time"
        if least_efficiency:
            why += f", at least {least_efficiency:.0%} efficient"
    elif fast:
        candidates, why = fast, f"the deadline needs it, though below {least_efficiency:.0%} efficient"
    else:
        best = max(offered, key=scaling.rate)
        candidates, why = [best], "the fastest size offered; none meets the deadline"
    least = min(joules[n] for n in candidates)
    best = max((n for n in candidates if joules[n] <= least * 1.01), key=scaling.rate)
    wasted = None
    if now is not None:
        present = (fixed_w + now * worker_w) / scaling.rate(now)
        wasted = max(0.0, 1 - joules[best] / present) if present > 0 else 0.0
    return Advice(best, scaling.rate(best), scaling.efficiency(best), joules[best], wasted, why)


def largest_efficient(scaling: Scaling, offered: Sequence[int], least_efficiency: float) -> int:
    """Return the largest size that keeps the floor (the smallest offered where none does)."""
    kept = [n for n in offered if scaling.efficiency(n) >= least_efficiency - 1e-12]
    return max(kept, default=min(offered))


@dataclass(frozen=True, slots=True)
class Limits:
    """What to ask a scheduler for: seconds and bytes, and the share of what is asked now that is never used."""

    time_s: float
    memory_bytes: float
    wasted_time: float | None = None
    wasted_memory: float | None = None


def limits(
    durations_s: Sequence[float],
    peaks_bytes: Sequence[float],
    asked_s: float | None = None,
    asked_bytes: float | None = None,
) -> Limits:
    """Return limits that nineteen of twenty like runs stay within, memory with a tenth on top (a kill costs all)."""
    if not durations_s or not peaks_bytes:
        raise UsageError("limits need at least one run with a duration and a peak of memory")
    time_s = Duration.learnt(durations_s).reserve_s or 0.0
    memory = (Duration.learnt(peaks_bytes).reserve_s or 0.0) * 1.1
    if len(durations_s) == 1:
        time_s, memory = time_s * 1.5, memory * 1.25
    return Limits(time_s, memory, _unused(time_s, asked_s), _unused(memory, asked_bytes))


def _unused(needed: float, asked: float | None) -> float | None:
    return None if asked is None or asked <= 0 else max(0.0, 1 - needed / asked)


def _least_squares(rows: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """Return the two non-negative coefficients of least squared error; relative to each row's own ideal."""
    if not rows:
        return 0.0, 0.0
    single = [_single(rows, 0), _single(rows, 1)]
    tried = [(single[0], 0.0), (0.0, single[1])]
    aa = sum(a * a for a, _, _ in rows)
    bb = sum(b * b for _, b, _ in rows)
    ab = sum(a * b for a, b, _ in rows)
    ay = sum(a * y for a, _, y in rows)
    by = sum(b * y for _, b, y in rows)
    determinant = aa * bb - ab * ab
    if len(rows) > 1 and determinant > 1e-9 * aa * bb:
        both = ((ay * bb - by * ab) / determinant, (by * aa - ay * ab) / determinant)
        if min(both) >= 0:
            tried.append(both)
    # one row fits either term: spreading is the milder assumption, so it stands first
    best, least = (0.0, 0.0), inf
    for pair in tried:
        error = sum((pair[0] * a + pair[1] * b - y) ** 2 for a, b, y in rows)
        if error < least - 1e-15:
            best, least = pair, error
    return best


def _single(rows: Sequence[tuple[float, float, float]], which: int) -> float:
    top = sum(row[which] * row[2] for row in rows)
    return max(0.0, top / sum(row[which] ** 2 for row in rows))
