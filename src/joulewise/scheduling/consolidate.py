"""Consolidation: small jobs packed on few machines, and idle devices named with what they cost.

A machine that stands by burns a third to a half of its full power, so ten small jobs on two machines beat ten on ten.
Jobs are packed by what they were *measured* to use, not by what they asked for: processors and GPU by their 95th
percentile (a moment of contention slows a job), memory by its peak with room to grow (a moment of overrun kills
one). First fit decreasing by the scarcest dimension, several orders tried, best kept; the bound is the larger of the
dimensions' sums, and the gap to it is told.

Sharing one GPU: MIG gives each job its own slice of memory and of compute; MPS and time slicing share the compute but
not the memory's protection, so one job's overrun is everybody's. `notes` says which applies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise, zip_longest
from math import ceil

from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.quantities import JOULES_PER_KWH
from joulewise.vocabulary.recording import Component, Device, Recording


@dataclass(frozen=True, slots=True)
class Small:
    """What one job was measured to use: cores and share of a GPU (95th percentile), peak bytes of both memories."""

    name: str
    cores: float
    memory_bytes: float
    gpu: float = 0.0
    gpu_memory_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Machine:
    """One kind of machine: cores, bytes, GPUs and bytes of one GPU; watts standing by; whether its GPUs are sliced (MIG)."""

    name: str
    cores: float
    memory_bytes: float
    gpus: int = 0
    gpu_memory_bytes: float = 0.0
    idle_w: float = 0.0
    sliced: bool = False


@dataclass(frozen=True, slots=True)
class Packed:
    """Which jobs share which machine; the machines needed at least; jobs that fit no machine; what is spared."""

    machines: tuple[tuple[str, ...], ...]
    bound: int
    unplaced: tuple[str, ...]
    spared_w: float
    notes: tuple[str, ...] = ()

    @property
    def above_bound(self) -> float:
        """How far the number of machines lies above the bound, as a share."""
        return len(self.machines) / self.bound - 1 if self.bound else 0.0


def measured(
    name: str,
    cores: Sequence[float],
    memory_bytes: Sequence[float],
    room: float = 0.1,
    gpu: Sequence[float] = (),
    gpu_memory_bytes: Sequence[float] = (),
) -> Small:
    """Return a job by its samples: cores and GPU at the 95th percentile, memories at their peak and `room` beyond.

    Memory that still grew in the last quarter of its samples is drawn on by as much as it grew since the first quarter.
    """
    if not cores or not memory_bytes:
        raise UsageError(f"job {name!r} has no samples to pack it by")
    return Small(
        name,
        _high(cores),
        _peak(memory_bytes) * (1 + room),
        _high(gpu) if gpu else 0.0,
        _peak(gpu_memory_bytes) * (1 + room) if gpu_memory_bytes else 0.0,
    )


def _high(samples: Sequence[float]) -> float:
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, ceil(0.95 * len(ordered)) - 1)]


def _peak(samples: Sequence[float]) -> float:
    quarter = max(1, len(samples) // 4)
    grew = max(0.0, max(samples[-quarter:]) - max(samples[:quarter]))
    growing = max(samples[-quarter:]) >= max(samples) and len(samples) > 1
    return max(samples) + (grew if growing else 0.0)


def measured_run(recording: Recording, name: str = "") -> Small:
    """Return a recording as a job to pack, by its ticks.

    A GPU's utilisation counts by the work's share of it; its memory counts whole, for drivers tell it by device only.
    """
    ticks = recording.ticks
    cpu_s = ticks.counters.get("work_cpu_s", [])
    cores = [
        (now - before) / (t1 - t0)
        for (t0, before), (t1, now) in pairwise(zip(ticks.t_s, cpu_s, strict=False))
        if before is not None and now is not None and t1 > t0
    ]
    gpus = [d.id for d in _gpus(recording) if any(ticks.gauges.get(f"gpu_work_share:{d.id}", [1.0]))]
    shares = [
        [
            busy * (1.0 if share is None else share)
            for busy, share in zip_longest(
                ticks.gauges.get(f"gpu_utilisation:{d}", []), ticks.gauges.get(f"gpu_work_share:{d}", [])
            )
            if busy is not None
        ]
        for d in gpus
    ]
    memories = [_known(ticks.gauges.get(f"gpu_memory_bytes:{d}", [])) for d in gpus]
    return measured(
        name or recording.name,
        cores,
        _known(ticks.gauges.get("resident_bytes", [])),
        gpu=[sum(at) for at in zip(*(s for s in shares if s), strict=False)],
        gpu_memory_bytes=[sum(at) for at in zip(*(m for m in memories if m), strict=False)],
    )


def standing(recording: Recording) -> tuple[tuple[str, str, float, float, float], ...]:
    """Return what `idle_devices` takes of a recording's GPUs: name, holder, mean utilisation, mean watts, seconds."""
    seen = []
    for device in _gpus(recording):
        busy = _known(recording.ticks.gauges.get(f"gpu_utilisation:{device.id}", []))
        drawn = recording.ticks.energy_j.get(device.id, [])
        told = [(t, j) for t, j in zip(recording.ticks.t_s, drawn, strict=False) if j is not None]
        if busy and len(told) > 1 and told[-1][0] > told[0][0]:
            seconds = told[-1][0] - told[0][0]
            watts = (told[-1][1] - told[0][1]) / seconds
            name = f"{recording.machine.host} {device.id}"
            seen.append((name, recording.name, sum(busy) / len(busy), watts, seconds))
    return tuple(seen)


def _gpus(recording: Recording) -> list[Device]:
    return [d for d in recording.devices if d.component is Component.GPU and d.counted]


def _known(samples: Sequence[float | None]) -> list[float]:
    return [s for s in samples if s is not None]


def consolidate(jobs: Iterable[Small], machine: Machine, fill: float = 0.9) -> Packed:
    """Return the jobs on as few machines of one kind as found; cores and GPUs filled up to `fill`, memory never beyond.

    `spared_w` is what the machines less than one per job would burn standing by.
    """
    if not 0 < fill <= 1:
        raise UsageError(f"fill is {fill:g}, but must lie between 0 and 1")
    jobs = list(jobs)
    sizes = {job.name: _shares(job, machine, fill) for job in jobs}
    if len(sizes) < len(jobs):
        raise UsageError("two jobs have one name; give each its own")
    fitting = [j for j in jobs if max(sizes[j.name]) <= 1 + 1e-9]
    unplaced = tuple(j.name for j in jobs if max(sizes[j.name]) > 1 + 1e-9)
    bound = _bound([sizes[j.name] for j in fitting])
    names = [j.name for j in fitting]
    best: list[list[str]] | None = None
    for key in (max, sum, lambda s: s[0], lambda s: s[1], lambda s: sum(x * x for x in s)):
        for fit in (_first_fit, _best_fit):
            order = sorted(names, key=lambda n: (-key(sizes[n]), n))
            found = fit(order, sizes)
            if best is None or len(found) < len(best):
                best = found
        if best is not None and len(best) == bound:
            break
    machines = tuple(tuple(group) for group in best or [])
    spared = max(0, len(fitting) - len(machines)) * machine.idle_w
    return Packed(machines, bound, unplaced, spared, _notes(fitting, machine))


@dataclass(frozen=True, slots=True)
class Idle:
    """A device that stood by: its watts, for how long, and what that cost (money None: no price)."""

    name: str
    holder: str
    energy_j: float
    carbon_g: float | None
    cost: float | None


def idle_devices(
    seen: Iterable[tuple[str, str, float, float, float]],
    *,
    g_per_kwh: float | None = None,
    price_per_kwh: float | None = None,
    below: float = 0.05,
    least_s: float = 600.0,
) -> tuple[Idle, ...]:
    """Return the devices that stood by, dearest first. `seen` holds name, holder, utilisation, idle watts, seconds."""
    found = []
    for name, holder, utilisation, idle_w, seconds in seen:
        if utilisation < below and seconds >= least_s:
            energy_j = idle_w * seconds
            kwh = energy_j / JOULES_PER_KWH
            found.append(
                Idle(
                    name,
                    holder,
                    energy_j,
                    None if g_per_kwh is None else kwh * g_per_kwh,
                    None if price_per_kwh is None else kwh * price_per_kwh,
                )
            )
    return tuple(sorted(found, key=lambda i: (-i.energy_j, i.name)))


_Shares = tuple[float, float, float, float]


def _shares(job: Small, machine: Machine, fill: float) -> _Shares:
    """Return what the job takes of the machine in each dimension (inf: it needs what the machine lacks)."""
    whole = (
        machine.cores * fill,
        machine.memory_bytes,
        machine.gpus * fill,
        machine.gpus * machine.gpu_memory_bytes,
    )
    need = (job.cores, job.memory_bytes, job.gpu, job.gpu_memory_bytes)
    a, b, c, d = (
        n / w if w > 0 else (0.0 if n <= 0 else float("inf")) for n, w in zip(need, whole, strict=True)
    )
    return a, b, c, d


def _bound(sizes: Sequence[_Shares]) -> int:
    """Return how many machines are needed at least: sums of each dimension, and pairs that cannot share."""
    if not sizes:
        return 0
    sums = max(ceil(sum(s[d] for s in sizes) - 1e-9) for d in range(4))
    large = max(sum(s[d] > 0.5 for s in sizes) for d in range(4))
    mixed = max(
        (
            ceil(sum(max(0.0, w * s[a] + (1 - w) * s[b]) for s in sizes) - 1e-9)
            for a, b in combinations(range(4), 2)
            for w in (0.25, 0.5, 0.75)
        ),
        default=0,
    )
    return max(1, sums, large, mixed)


def _first_fit(order: Sequence[str], sizes: dict[str, _Shares]) -> list[list[str]]:
    return _fit(order, sizes, best=False)


def _best_fit(order: Sequence[str], sizes: dict[str, _Shares]) -> list[list[str]]:
    return _fit(order, sizes, best=True)


def _fit(order: Sequence[str], sizes: dict[str, _Shares], *, best: bool) -> list[list[str]]:
    groups: list[list[str]] = []
    used: list[list[float]] = []
    for name in order:
        size = sizes[name]
        chosen, least = None, float("inf")
        for number, taken in enumerate(used):
            if all(t + s <= 1 + 1e-9 for t, s in zip(taken, size, strict=True)):
                if not best:
                    chosen = number
                    break
                left = sum((1 - t - s) ** 2 for t, s in zip(taken, size, strict=True))
                if left < least:
                    chosen, least = number, left
        if chosen is None:
            groups.append([])
            used.append([0.0] * 4)
            chosen = len(groups) - 1
        groups[chosen].append(name)
        used[chosen] = [t + s for t, s in zip(used[chosen], size, strict=True)]
    return groups


def _notes(jobs: Sequence[Small], machine: Machine) -> tuple[str, ...]:
    if not any(j.gpu for j in jobs):
        return ()
    if machine.sliced:
        return ("GPUs are sliced (MIG): each job has its own memory; slices come in fixed sizes",)
    return (
        "GPUs are shared by MPS or time slicing: compute is shared fairly, memory is not protected from a neighbour",
    )
