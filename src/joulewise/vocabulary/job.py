"""Flexible work and what is decided about it: Job, Placement and Plan.

A Job says what may be moved: how long the work takes (a number, a distribution, or unknown), by when it must be done,
whether it can be paused and what a pause costs, how fast it runs at which power, and where it may run. A Plan holds
one Placement for each job that found a place and one Unplaced, with the reason, for each that did not.

    reserve_s    the time kept free for the job, so that its deadline holds even where it takes longer than expected
    bound        the least that any plan could reach on the same forecast; the gap is how far this plan lies above it

Terms: release is the earliest start; slack is deadline minus earliest finish; a *pace* is one way to run (so many
workers, or so low a power cap) with its speed relative to the first pace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil
from typing import Any

from joulewise.vocabulary.errors import UsageError

CONFIDENCE = 0.95  # the share of runs that the reserved time is to hold


class Objective(StrEnum):
    """What a plan makes small."""

    CARBON = "carbon"
    COST = "cost"
    JOULES = "joules"
    WEIGHTED = "weighted"  # carbon and cost, each as a share of running now


@dataclass(frozen=True, slots=True)
class Duration:
    """How long a job runs at its first pace: one number, the lengths of like runs, or unknown (no samples).

    `samples_s` are in growing order. `margin` is how far the truth may lie beyond them: 0.5 for "6 h, give or take
    half", 0 for a number that is meant.
    """

    samples_s: tuple[float, ...] = ()
    margin: float = 0.0
    source: str = ""

    def __post_init__(self) -> None:
        """Refuse lengths that are none; put them into order."""
        for sample in self.samples_s:
            if not 0 < sample < float("inf"):
                raise UsageError(f"duration is {sample:g} s, but must be more than 0")
        if self.margin < 0:
            raise UsageError(f"margin of the duration is {self.margin:g}, but must be at least 0")
        object.__setattr__(self, "samples_s", tuple(sorted(self.samples_s)))

    @classmethod
    def of(cls, seconds: float, margin: float = 0.0, source: str = "stated") -> Duration:
        """Return a duration stated as one number of seconds."""
        return cls((seconds,), margin, source)

    @classmethod
    def learnt(cls, samples_s: Iterable[float], source: str = "like runs") -> Duration:
        """Return a duration learnt from the lengths of like runs; none of them makes it unknown."""
        return cls(tuple(samples_s), 0.0, source)

    @property
    def known(self) -> bool:
        """Whether anything is known about it."""
        return bool(self.samples_s)

    @property
    def expected_s(self) -> float | None:
        """The median; None where the duration is unknown."""
        return self._order(0.5)

    @property
    def reserve_s(self) -> float | None:
        """The seconds to keep free: a bound that the next like run stays below with a chance of 95 %.

        Of n like runs the k-th longest is passed by the next one with a chance of k / (n + 1); where n is too
        small for 95 %, the longest is drawn out by the spread above the median (never below 1.25 times it).
        """
        if not self.samples_s:
            return None
        last = self.samples_s[-1]
        if len(self.samples_s) == 1:
            return last * (1 + self.margin)
        rank = ceil(CONFIDENCE * (len(self.samples_s) + 1))
        if rank <= len(self.samples_s):
            return self.samples_s[rank - 1] * (1 + self.margin)
        median = self._order(0.5) or last
        return last * max(1.25, last / median) * (1 + self.margin)

    def _order(self, share: float) -> float | None:
        count = len(self.samples_s)
        if not count:
            return None
        position = share * (count - 1)
        below = int(position)
        above = min(count - 1, below + 1)
        return self.samples_s[below] + (position - below) * (self.samples_s[above] - self.samples_s[below])


UNKNOWN = Duration()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What it costs to pause and go on: dead seconds at each resumption, joules of saving and loading, watts while paused.

    `idle_w` is what suspended work still draws: its memory stays, and so do its GPUs. 0 where it saves its state and ends.
    """

    dead_s: float = 0.0
    energy_j: float = 0.0
    idle_w: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a cost below zero."""
        if self.dead_s < 0 or self.energy_j < 0 or self.idle_w < 0:
            raise UsageError(
                f"a pause costs {self.dead_s:g} s, {self.energy_j:g} J and {self.idle_w:g} W, but must cost at least 0"
            )


@dataclass(frozen=True, slots=True)
class Pace:
    """One way to run a job: its name, work done per second relative to the first pace, and watts drawn."""

    name: str
    speed: float
    power_w: float

    def __post_init__(self) -> None:
        """Refuse a pace that does no work."""
        if not self.speed > 0 or not self.power_w >= 0:
            raise UsageError(
                f"pace {self.name!r} has speed {self.speed:g} and {self.power_w:g} W, but must be above 0"
            )


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of flexible work.

    `paces` holds at least one; the first is how the job runs when nobody plans. `interruptible` is None for a job
    that must run in one go. `zones` are where it may run, home first; `data_bytes` must be moved to any other.
    `residency` names the zones that its data may enter (empty: any). `units` are the slots of a place's capacity
    (GPUs, say) that it takes while it runs.
    """

    name: str
    duration: Duration
    release_utc: datetime
    deadline_utc: datetime
    paces: tuple[Pace, ...]
    interruptible: Checkpoint | None = None
    zones: tuple[str, ...] = ("",)
    data_bytes: float = 0.0
    residency: tuple[str, ...] = ()
    units: int = 1

    def __post_init__(self) -> None:
        """Refuse a job without a pace or a place, or whose deadline lies before its release."""
        if not self.paces or not self.zones:
            raise UsageError(f"job {self.name!r} needs at least one pace and one zone")
        if self.release_utc.tzinfo is None or self.deadline_utc.tzinfo is None:
            raise UsageError(f"job {self.name!r} needs times with an offset")
        if self.deadline_utc <= self.release_utc:
            raise UsageError(
                f"the deadline of {self.name!r} ({self.deadline_utc:%Y-%m-%d %H:%M} UTC) lies before its release "
                f"({self.release_utc:%Y-%m-%d %H:%M} UTC)"
            )
        if self.units < 1:
            raise UsageError(f"job {self.name!r} takes {self.units} units, but must take at least 1")

    @property
    def window_s(self) -> float:
        """Seconds from release to deadline."""
        return (self.deadline_utc - self.release_utc).total_seconds()

    @property
    def power_w(self) -> float:
        """Watts at the first pace."""
        return self.paces[0].power_w


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere a job can run: a zone with a capacity in units (None: no limit), PUE, and what moving data there costs.

    `transfer_j_per_byte` is the network's energy from end to end, `bandwidth_bytes_per_s` how fast data arrive.
    """

    zone: str
    capacity: int | None = None
    pue: float = 1.0
    bandwidth_bytes_per_s: float = 1.25e8
    transfer_j_per_byte: float = 2.16e-4  # 0.06 kWh/GB: Aslan et al. 2018 (fixed networks, 2015)

    def __post_init__(self) -> None:
        """Refuse what no place can be."""
        if (
            (self.capacity is not None and self.capacity < 1)
            or self.pue < 1
            or self.bandwidth_bytes_per_s <= 0
        ):
            raise UsageError(
                f"place {self.zone!r}: capacity must be at least 1, PUE at least 1 and bandwidth above 0"
            )


@dataclass(frozen=True, slots=True)
class Stretch:
    """One stretch of running without a pause, at one pace; `zone` is empty where it is the placement's own."""

    start_utc: datetime
    end_utc: datetime
    pace: str = ""
    zone: str = ""

    @property
    def duration_s(self) -> float:
        """Its length in seconds."""
        return (self.end_utc - self.start_utc).total_seconds()


@dataclass(frozen=True, slots=True)
class Toll:
    """What running costs: joules, grams, money (None: no tariff); the finish against running now (below zero: earlier)."""

    energy_j: float
    carbon_g: float
    cost: float | None = None
    delay_s: float = 0.0

    def scaled(self, share: float) -> Toll:
        """Return a share of it, with the same delay."""
        cost = None if self.cost is None else self.cost * share
        return Toll(self.energy_j * share, self.carbon_g * share, cost, self.delay_s)


@dataclass(frozen=True, slots=True)
class Placement:
    """When, where and how one job runs, with what that should cost and how good it is.

    `predicted` is on the forecast, `run_now` the same job at home, at once, at its first pace. `value`, `value_now`
    and `bound` are in the plan's objective (grams, money, joules, or a share of running now when weighted).
    `energy_bought_j` are the joules spent beyond `run_now` to get there. `risk` says in advance what could go wrong.
    `trust` is the share of what such forecasts promised of late that came true: the promise is the prediction times it.
    """

    job: Job
    zone: str
    stretches: tuple[Stretch, ...]
    rung: str
    predicted: Toll
    run_now: Toll
    value: float
    value_now: float
    bound: float
    reserve_s: float
    risk: str = ""
    notes: tuple[str, ...] = ()
    trust: float = 1.0

    @property
    def promised_g(self) -> float:
        """The grams that are expected to be saved: what the forecast says, times how far it could be trusted of late."""
        return (self.run_now.carbon_g - self.predicted.carbon_g) * self.trust

    @property
    def start_utc(self) -> datetime:
        """When the job first runs."""
        return self.stretches[0].start_utc

    @property
    def end_utc(self) -> datetime:
        """When the job should be done."""
        return self.stretches[-1].end_utc

    @property
    def pauses(self) -> int:
        """How often it is paused."""
        return sum(a.end_utc < b.start_utc for a, b in zip(self.stretches, self.stretches[1:], strict=False))

    @property
    def gap(self) -> float:
        """How far the value lies above the bound, as a share of the bound (0: no plan is better)."""
        return max(0.0, self.value - self.bound) / self.bound if self.bound > 0 else 0.0

    @property
    def saving(self) -> float:
        """The share of the run-now value that is predicted to be saved; below zero where it is worse."""
        return 1 - self.value / self.value_now if self.value_now > 0 else 0.0

    @property
    def energy_bought_j(self) -> float:
        """Joules spent beyond running now (checkpoints, transfers, more workers); 0 where none are."""
        return max(0.0, self.predicted.energy_j - self.run_now.energy_j)

    def remaining_from(self, when: datetime) -> tuple[Stretch, ...]:
        """Return the stretches, or parts of them, that lie after `when`."""
        return tuple(
            Stretch(max(s.start_utc, when), s.end_utc, s.pace, s.zone)
            for s in self.stretches
            if s.end_utc > when
        )


@dataclass(frozen=True, slots=True)
class Unplaced:
    """A job that was left out, and why."""

    job: Job
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What is decided about several jobs: placements, those left out, the objective and the signals it rests on."""

    made_utc: datetime
    objective: Objective
    placements: tuple[Placement, ...]
    unplaced: tuple[Unplaced, ...] = ()
    signals: Mapping[str, str] = field(default_factory=dict)  # by zone: source and meaning
    currency: str = ""
    bound: float = 0.0  # in the objective, over all placed jobs together
    method: str = ""

    @property
    def value(self) -> float:
        """The sum of the placements' values."""
        return sum(p.value for p in self.placements)

    @property
    def value_now(self) -> float:
        """The sum of what running now would cost, in the objective."""
        return sum(p.value_now for p in self.placements)

    @property
    def gap(self) -> float:
        """How far the plan lies above its bound, as a share of the bound."""
        return max(0.0, self.value - self.bound) / self.bound if self.bound > 0 else 0.0

    @property
    def predicted(self) -> Toll:
        """What all placed jobs together should cost; the delay is their sum."""
        return tolls(p.predicted for p in self.placements)

    @property
    def run_now(self) -> Toll:
        """What all placed jobs together would cost, run at once."""
        return tolls(p.run_now for p in self.placements)


def tolls(parts: Iterable[Toll]) -> Toll:
    """Return the sum; money is unknown where one part's is."""
    energy_j = carbon_g = delay_s = 0.0
    cost: float | None = 0.0
    for part in parts:
        energy_j += part.energy_j
        carbon_g += part.carbon_g
        delay_s += part.delay_s
        cost = None if cost is None or part.cost is None else cost + part.cost
    return Toll(energy_j, carbon_g, cost, delay_s)


def after(when: datetime, seconds: float) -> datetime:
    """Return the time `seconds` after `when`, to the microsecond."""
    return when + timedelta(seconds=seconds)


def job_as_json(job: Job) -> dict[str, Any]:
    """Return plain values for a file; `job_from_json` reads them back."""
    checkpoint = job.interruptible
    return {
        "name": job.name,
        "duration": {
            "samples_s": list(job.duration.samples_s),
            "margin": job.duration.margin,
            "source": job.duration.source,
        },
        "release_utc": job.release_utc.isoformat(),
        "deadline_utc": job.deadline_utc.isoformat(),
        "paces": [{"name": p.name, "speed": p.speed, "power_w": p.power_w} for p in job.paces],
        "interruptible": checkpoint
        and {"dead_s": checkpoint.dead_s, "energy_j": checkpoint.energy_j, "idle_w": checkpoint.idle_w},
        "zones": list(job.zones),
        "data_bytes": job.data_bytes,
        "residency": list(job.residency),
        "units": job.units,
    }


def job_from_json(told: Mapping[str, Any]) -> Job:
    """Return the job that `job_as_json` described; raise UsageError for what is none."""
    try:
        duration = told["duration"]
        checkpoint = told.get("interruptible")
        return Job(
            str(told["name"]),
            Duration(tuple(duration["samples_s"]), duration["margin"], duration["source"]),
            datetime.fromisoformat(told["release_utc"]),
            datetime.fromisoformat(told["deadline_utc"]),
            tuple(Pace(str(p["name"]), float(p["speed"]), float(p["power_w"])) for p in told["paces"]),
            None
            if checkpoint is None
            else Checkpoint(checkpoint["dead_s"], checkpoint["energy_j"], checkpoint.get("idle_w", 0.0)),
            tuple(told["zones"]),
            float(told["data_bytes"]),
            tuple(told["residency"]),
            int(told["units"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"this is no job: {type(error).__name__} {error}") from error
