"""Whose joules are these? Machine joules split into this work, idle and others; the three add up to the machine.

Per device, over the time between two ticks (dE joules, dt seconds):

CPU      idle is what the device would have drawn with nobody working: for a modelled processor its own idle watts
         times dt; for a measured one dE x P(0)/P(u), with the measured load curve P and the machine's utilisation u.
         The rest is dynamic, and is split by CPU seconds: this work's over everybody's. Equal CPU seconds are taken
         to cost the same; thread-level studies find 4 % (METRION, arXiv 2512.06806), we say +-10 % where others
         were busy too.
memory   by resident bytes: this work's, everybody's, and what lies idle.
GPU      whole to whom holds it: this work, others, or nobody (idle). Held by several: by their share of busy time
         where the driver tells, else in equal parts. Where the driver does not tell who holds it, it is charged
         to this work, with a lower bound of zero.
storage  by bytes moved. network: the kernel counts by network namespace, so all bytes seen are charged, with a
         lower bound of zero. A whole-node sensor is not split.

A program runs before the first reading (a tenth of a second), and a very short one has ended by then. Its CPU seconds
of that time are known all the same, and cost what its later ones did; where there are none, what the model says of a
CPU second.

Splitting is pure and runs the same way while recording and years later. The idle share of a processor is known
poorly (0.09 to 0.38 of full load on eleven measured servers), so every split is carried at its central, lowest
and highest idle watts; the interval of the work's share is what these three span, widened by the device's error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import hypot
from typing import final

from joulewise.catalogue.load_curve import IDLE_SHARE_HIGH, IDLE_SHARE_LOW, arms, share_of_full_load
from joulewise.vocabulary.figures import Basis, Figure, shared_total, total
from joulewise.vocabulary.recording import Component, Device, Machine, Recording

_WINDOW_S = 1.0  # clock ticks are 10 ms: shares over less than a second are too coarse
_ENOUGH_S = 0.5  # CPU seconds from which on the cost of one is better known from the run than from the model
_UNEQUAL_SECONDS = 0.10  # two CPU seconds of different programs do not cost quite the same

Counters = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class DeviceSplit:
    """One device's joules: in all, and by whom they were used. None: the split is not known."""

    device: Device
    total_j: Figure | None
    work_j: Figure | None
    idle_j: Figure | None
    others_j: Figure | None


@dataclass(frozen=True, slots=True)
class Split:
    """All devices' joules so far; the three sums are over the devices that count."""

    devices: tuple[DeviceSplit, ...]
    work_j: Figure | None
    idle_j: Figure | None
    machine_j: Figure | None


@dataclass(frozen=True, slots=True)
class _At:
    """The last moment at which a device could be read, and the counters then."""

    t_s: float
    energy_j: float
    counters: Counters
    gauges: Counters


@dataclass(slots=True)
class _Sums:
    """Joules so far, each at the central, the lowest and the highest idle watts."""

    total: float = 0.0
    work: tuple[float, float, float] = (0.0, 0.0, 0.0)
    idle: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shared: float = 0.0  # joules that were split between this work and others by CPU seconds
    below: float = (
        0.0  # joules by which the device may have used less, or more, where that depends on its load
    )
    above: float = 0.0
    unknown: float = 0.0  # joules charged to this work although nobody knows whose they are
    seen: bool = False
    split: bool = False
    early_s: float | None = None  # CPU seconds of this work before the first reading; None: not told yet
    covered_s: float = 0.0  # CPU seconds of this work since then


@final
class Attribution:
    """The running split of one recording. `add` takes the cumulative readings of one tick, in order."""

    def __init__(self, devices: Iterable[Device], machine: Machine) -> None:
        self._devices = tuple(devices)
        self._machine = machine
        self._last: dict[str, _At] = {}
        self._sums = {d.id: _Sums() for d in self._devices}
        self._begin: dict[str, _At] = {}

    @property
    def work_joules(self) -> float:
        """The central joules of this work so far, over the devices that count."""
        return sum(
            self._sums[d.id].work[0] + _early_joules(d, self._sums[d.id], self._machine)[0]
            for d in self._devices
            if d.counted
        )

    @property
    def read_joules(self) -> float:
        """The central joules of this work since the first reading: what came before says nothing of its power now."""
        return sum(self._sums[d.id].work[0] for d in self._devices if d.counted)

    def tenants(self) -> dict[str, float]:
        """Return the central joules so far by whom they were used, over the devices that count.

        Keys are the components for this work's part, `idle`, `others`, and `unsplit` for devices whose split is
        not known; the values add up to the machine's joules.
        """
        shares = dict.fromkeys(("idle", "others", "unsplit"), 0.0)
        for device in self._devices:
            sums = self._sums[device.id]
            if not device.counted or not sums.seen:
                continue
            if not sums.split:
                shares["unsplit"] += sums.total
                continue
            work, idle = sums.work[0], sums.idle[0]
            shares[device.component] = shares.get(device.component, 0.0) + work
            shares["idle"] += idle
            shares["others"] += max(0.0, sums.total - work - idle)
        return shares

    def add(
        self,
        t_s: float,
        energy_j: Mapping[str, float | None],
        counters: Counters,
        gauges: Counters,
        *,
        last: bool = False,
    ) -> None:
        """Add one tick. Shares are taken over a second at least; `last` takes in what is left."""
        for device in self._devices:
            joules = energy_j.get(device.id)
            if joules is None:
                continue
            now = _At(t_s, joules, counters, gauges)
            before = self._last.setdefault(device.id, now)
            if before is now:
                self._sums[device.id].early_s = counters.get("work_cpu_s")
            self._begin.setdefault(device.id, now)
            sums = self._sums[device.id]
            sums.seen = True
            if t_s - before.t_s >= _WINDOW_S * 0.9 or last:
                self._last[device.id] = now
                self._add(device, sums, before, now)

    def split(self) -> Split:
        """Return the split of what has been added so far."""
        parts = tuple(_figures(d, self._sums[d.id], self._machine) for d in self._devices)
        counted = [p for p in parts if p.device.counted]
        return Split(
            parts,
            _total(p.work_j for p in counted),
            _total(p.idle_j for p in counted),
            _total(p.total_j for p in counted),
        )

    def _add(self, device: Device, sums: _Sums, before: _At, now: _At) -> None:
        joules = max(0.0, now.energy_j - before.energy_j)
        sums.total += joules
        if device.model.get("whole"):  # another tool recorded it, and said that it is this work's
            sums.split = True
            sums.work = _plus(sums.work, (joules,) * 3)
            return
        match device.component:
            case Component.CPU:
                self._add_cpu(device, sums, before, now, joules)
            case Component.MEMORY:
                self._add_memory(sums, now, joules)
            case Component.GPU:
                _add_gpu(device, sums, before, now, joules)
            case Component.STORAGE:
                self._add_storage(device, sums, now)
            case Component.NETWORK:
                sums.split = True
                sums.work = _plus(sums.work, (joules,) * 3)
                sums.unknown += joules
            case _:
                pass

    def _add_cpu(self, device: Device, sums: _Sums, before: _At, now: _At, joules: float) -> None:
        if sums.early_s is None:
            sums.early_s = now.counters.get("work_cpu_s")
        work_s = _grown(before, now, "work_cpu_s")
        busy_s = _grown(before, now, "busy_cpu_s")
        span_s = now.t_s - before.t_s
        if work_s is None or busy_s is None or not self._machine.cpus or span_s <= 0:
            return
        sums.split = True
        sums.covered_s += work_s
        busy_s = max(busy_s, work_s)
        utilisation = min(1.0, busy_s / (self._machine.cpus * span_s))
        if device.model.get("arms_by_load"):
            below, above = arms(utilisation)
            sums.below += joules * below
            sums.above += joules * above
        idle = _idle_joules(device, utilisation, joules, span_s)
        share = work_s / busy_s if busy_s > 0 else 0.0
        work = tuple((joules - i) * share for i in idle)
        sums.idle = _plus(sums.idle, idle)
        sums.work = _plus(sums.work, (work[0], work[1], work[2]))
        sums.shared += work[0] * (1 - share)

    def _add_memory(self, sums: _Sums, now: _At, joules: float) -> None:
        resident, used = now.gauges.get("resident_bytes"), now.gauges.get("memory_used_bytes")
        size = self._machine.memory_bytes
        if resident is None or used is None or not size:
            return
        sums.split = True
        work = joules * min(1.0, resident / size)
        idle = joules * max(0.0, 1 - max(used, resident) / size)
        sums.work = _plus(sums.work, (work,) * 3)
        sums.idle = _plus(sums.idle, (idle,) * 3)

    def _add_storage(self, device: Device, sums: _Sums, now: _At) -> None:
        """Split by the bytes of the whole run: what is written now reaches the disk later."""
        begin = self._begin[device.id]
        moved = [_grown(begin, now, name) for name in ("read_bytes", "written_bytes")]
        per_byte = device.model.get("joules_per_byte")
        if None in moved or not per_byte:
            return
        sums.split = True
        work = min(sums.total, sum(m for m in moved if m is not None) * float(per_byte))
        sums.work = (work,) * 3


def attribute(recording: Recording) -> Split:
    """Return the split of a whole recording."""
    return attribute_by_tick(recording)[0]


def tenants_by_tick(recording: Recording) -> dict[str, list[float]]:
    """Return the joules until every tick by whom they were used (see `Attribution.tenants`)."""
    rows: list[dict[str, float]] = []
    _follow(recording, lambda attribution: rows.append(attribution.tenants()))
    return {name: [row.get(name, 0.0) for row in rows] for name in (rows[-1] if rows else {})}


def attribute_by_tick(recording: Recording) -> tuple[Split, list[float]]:
    """Return the split of a whole recording, and the work's cumulative joules (central) at every tick."""
    work_j: list[float] = []
    attribution = _follow(recording, lambda attribution: work_j.append(attribution.work_joules))
    return attribution.split(), work_j


def _follow(recording: Recording, look: Callable[[Attribution], None]) -> Attribution:
    """Add every tick of a recording, look after each, and return the attribution."""
    ticks = recording.ticks
    attribution = Attribution(recording.devices, recording.machine)
    for at, t_s in enumerate(ticks.t_s):
        energy = {d: column[at] for d, column in ticks.energy_j.items()}
        counters = {n: column[at] for n, column in ticks.counters.items()}
        gauges = {n: column[at] for n, column in ticks.gauges.items()}
        attribution.add(t_s, energy, counters, gauges, last=at == len(ticks.t_s) - 1)
        look(attribution)
    return attribution


def _add_gpu(device: Device, sums: _Sums, before: _At, now: _At, joules: float) -> None:
    sums.split = True
    shares = [at.gauges.get(f"gpu_work_share:{device.id}") for at in (before, now)]
    held = [at.gauges.get(f"gpu_utilisation:{device.id}") for at in (before, now)]
    known = [s for s in shares if s is not None]
    if not known:
        sums.work = _plus(sums.work, (joules,) * 3)
        sums.unknown += joules
        return
    share = sum(known) / len(known)
    work = joules * share
    sums.work = _plus(sums.work, (work,) * 3)
    if share == 0 and not any(held):  # nobody holds it: it stands by
        sums.idle = _plus(sums.idle, (joules,) * 3)
    elif share < 1:
        sums.shared += work


def _idle_joules(
    device: Device, utilisation: float, joules: float, span_s: float
) -> tuple[float, float, float]:
    """Return the joules of standing by: central, at the lowest and at the highest idle share that was measured."""
    curve_idle = share_of_full_load(0.0)
    curve_now = share_of_full_load(utilisation)
    full_w = device.model.get("full_load_w")
    shares = (curve_idle, min(IDLE_SHARE_LOW, curve_idle), max(IDLE_SHARE_HIGH, curve_idle))
    if full_w is not None:
        central = float(full_w) * float(device.model.get("idle_share", curve_idle)) * span_s
        scale = central / shares[0] if shares[0] else 0.0
        wanted = (central, shares[1] * scale, shares[2] * scale)
    else:
        # P(u) with another idle share keeps the curve's shape above it
        rise = (curve_now - curve_idle) / (1 - curve_idle)
        central, low, high = (joules * s / (s + (1 - s) * rise) for s in shares)
        wanted = (central, low, high)
    return (min(joules, wanted[0]), min(joules, wanted[1]), min(joules, wanted[2]))


def _early_joules(device: Device, sums: _Sums, machine: Machine) -> tuple[float, float, float]:
    """Return the joules of this work's CPU seconds before the first reading; 0 where their cost is not known."""
    if device.component is not Component.CPU or not sums.early_s:
        return (0.0, 0.0, 0.0)
    full_w = device.model.get("full_load_w")
    if sums.covered_s > (sums.early_s if full_w is None else _ENOUGH_S):
        ratio = sums.early_s / sums.covered_s
        return (sums.work[0] * ratio, sums.work[1] * ratio, sums.work[2] * ratio)
    if full_w is None or not machine.cpus:
        return (0.0, 0.0, 0.0)
    dynamic_w = (
        float(full_w) * (1 - float(device.model.get("idle_share", share_of_full_load(0.0)))) / machine.cpus
    )
    return (sums.early_s * dynamic_w,) * 3


def _figures(device: Device, sums: _Sums, machine: Machine) -> DeviceSplit:
    if not sums.seen:
        return DeviceSplit(device, None, None, None, None)
    early = _early_joules(device, sums, machine)
    if early[0] > 0:
        work_j = _plus(sums.work, early)
        sums = replace(sums, work=work_j, total=sums.total + early[0], split=True)
    whole = _figure(device, sums, (sums.total,) * 3, device.basis, device.source)
    if not sums.split:
        return DeviceSplit(device, whole, None, None, None)
    told_whole = bool(device.model.get("whole"))
    basis = device.basis if told_whole else max(device.basis, Basis.MODELLED)  # nothing was split
    by_use = device.source if told_whole else f"{device.source}; split by use"
    by_curve = f"{device.source}; idle by the load curve"
    doubt_j = sums.shared * _UNEQUAL_SECONDS
    others_j = [max(0.0, sums.total - w - i) for w, i in zip(sums.work, sums.idle, strict=True)]
    work = _figure(device, sums, sums.work, basis, by_use, doubt_j)
    if sums.unknown:
        work = replace(work, low=max(0.0, work.low - sums.unknown))
    idle = _figure(device, sums, sums.idle, basis, by_curve)
    others = _figure(device, sums, (others_j[0], others_j[1], others_j[2]), basis, by_use, doubt_j)
    return DeviceSplit(device, whole, work, idle, others)


def _figure(
    device: Device,
    sums: _Sums,
    joules: tuple[float, float, float],
    basis: Basis,
    source: str,
    doubt_j: float = 0.0,
) -> Figure:
    """Return the figure of three ways to split: the device's own error, the idle watts' and the split's doubt."""
    value = joules[0]
    low_arm = sums.below / sums.total if sums.below else device.error_low
    high_arm = sums.above / sums.total if sums.above else device.error_high
    below = hypot(value - min(joules), value * low_arm, doubt_j)
    above = hypot(max(joules) - value, value * high_arm, doubt_j)
    return Figure(value, max(0.0, value - below), value + above, basis, source, device.boundary)


def _total(figures: Iterable[Figure | None]) -> Figure | None:
    """Return the sum: devices of one source share its assumption (linear), different sources are independent."""
    groups: dict[str, list[Figure]] = {}
    for figure in figures:
        if figure is not None:
            groups.setdefault(figure.source, []).append(figure)
    return total(shared_total(g) for g in groups.values()) if groups else None


def _grown(before: _At, now: _At, name: str) -> float | None:
    one, other = before.counters.get(name), now.counters.get(name)
    return None if one is None or other is None else max(0.0, other - one)


def _plus(one: tuple[float, float, float], other: tuple[float, ...]) -> tuple[float, float, float]:
    return (one[0] + other[0], one[1] + other[1], one[2] + other[2])
