"""The account of a recording: what every view shows, computed from the recording, a place and nothing else.

`account()` is pure. It splits the devices' joules (attribution.py), prices them (catalogue.pricing), and adds how
the machine was used, what each phase took, and power over time. A better intensity, a corrected curve or a repaired
computation therefore changes every old recording's account, and none of the recordings.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from joulewise.catalogue.place import Place
from joulewise.catalogue.pricing import Hardware, footprint
from joulewise.measuring.attribution import DeviceSplit, attribute_by_tick
from joulewise.vocabulary.figures import Basis, Figure
from joulewise.vocabulary.footprint import Footprint, assumed_total
from joulewise.vocabulary.recording import Component, Device, Machine, Missing, Point, Recording, Span, Ticks

_COUNTED_THINGS = ("samples", "examples", "images", "tokens", "requests", "steps", "step", "epoch")


@dataclass(frozen=True, slots=True)
class DeviceAccount:
    """One device's joules: total = work + idle + others; None where the split is not known."""

    device: Device
    total_j: Figure | None
    work_j: Figure | None
    idle_j: Figure | None
    others_j: Figure | None
    mean_w: float | None


@dataclass(frozen=True, slots=True)
class Usage:
    """How the work used the machine. Shares are 0 to 1; None is unknown, which is not zero."""

    cpu_s: float | None
    mean_cpus: float | None
    cpu_utilisation: float | None  # of the CPUs that the work owned
    machine_utilisation: float | None
    peak_resident_bytes: float | None
    io_wait_share: float | None
    io_wait_source: str
    run_delay_s: float | None
    read_bytes: float | None
    written_bytes: float | None
    requested_read_bytes: float | None
    received_bytes: float | None
    sent_bytes: float | None
    gpu_utilisation: Mapping[str, float]
    gpu_memory_bytes: Mapping[str, float]
    throughput_per_s: float | None
    throughput_of: str


@dataclass(frozen=True, slots=True)
class Phase:
    """All spans of one name: how often, how long (overlapping spans of one name count once), and their joules.

    `energy_j` is this work's energy while the phase was open. Phases that are open together each show that
    energy: they do not add up.
    """

    name: str
    calls: int
    seconds: float
    energy_j: Figure | None


@dataclass(frozen=True, slots=True)
class PowerSeries:
    """Mean watts over each interval between two ticks; `t_s` is the end of the interval."""

    t_s: list[float]
    watts: dict[str, list[float | None]]  # by component, all tenants
    work_watts: list[float | None]


@dataclass(frozen=True, slots=True)
class Account:
    """A recording, priced and explained."""

    recording: Recording
    devices: tuple[DeviceAccount, ...]
    footprint: Footprint
    usage: Usage
    phases: tuple[Phase, ...]
    power_series: PowerSeries


def account(recording: Recording, place: Place) -> Account:
    """Return the account of a recording at a place (intensity, PUE, uplift, tariff). Pure."""
    ticks = recording.ticks
    split, work_j = attribute_by_tick(recording)
    devices = tuple(_device_account(part, ticks) for part in split.devices)
    by_component = _by_component(devices)
    return Account(
        recording=recording,
        devices=devices,
        footprint=footprint(
            by_component,
            place,
            duration_s=recording.duration_s,
            idle_j=split.idle_j,
            machine_j=split.machine_j,
            missing=(*recording.missing, *_unsplit(devices)),
            started_utc=recording.started_utc,
            series=list(zip(ticks.t_s, work_j, strict=True)),
            hardware=_hardware(recording),
        ),
        usage=_usage(recording),
        phases=_phases(recording.spans, recording.duration_s, ticks.t_s, work_j, split.work_j),
        power_series=_power(recording.devices, ticks, work_j),
    )


def _device_account(part: DeviceSplit, ticks: Ticks) -> DeviceAccount:
    span_s = ticks.t_s[-1] - ticks.t_s[0] if len(ticks.t_s) > 1 else 0.0
    mean_w = part.total_j.value / span_s if part.total_j and span_s > 0 else None
    return DeviceAccount(part.device, part.total_j, part.work_j, part.idle_j, part.others_j, mean_w)


def _unsplit(devices: Sequence[DeviceAccount]) -> list[Missing]:
    """Return the devices whose joules are in no sum, because nobody can say whose they are."""
    return [
        Missing(
            d.device.id,
            "it was never read"
            if d.total_j is None
            else f"its {d.total_j.value:.3g} J cannot be split between this work and others",
        )
        for d in devices
        if d.device.counted and d.work_j is None
    ]


def _by_component(devices: Sequence[DeviceAccount]) -> dict[Component, Figure]:
    parts: dict[Component, list[Figure]] = {}
    for device in devices:
        if device.device.counted and device.work_j is not None:
            parts.setdefault(device.device.component, []).append(device.work_j)
    return {component: assumed_total(figures) for component, figures in parts.items()}


def _hardware(recording: Recording) -> Hardware:
    """Return what the work ran on: the GPUs that it held, and its share of the machine."""
    machine, gauges = recording.machine, recording.ticks.gauges
    held = [
        d
        for d in recording.devices
        if d.component is Component.GPU and d.counted and any(gauges.get(f"gpu_work_share:{d.id}", [1.0]))
    ]
    owned = machine.owned_cpus if machine.owned_cpus is not None else machine.cpus
    return Hardware(
        gpus=tuple(str(d.model.get("name", "GPU")) for d in held),
        vcpus=owned if machine.virtual else None,
        owned_share=min(1.0, owned / machine.cpus) if owned and machine.cpus and not machine.virtual else 1.0,
    )


def _usage(recording: Recording) -> Usage:
    ticks, machine = recording.ticks, recording.machine
    span_s = ticks.t_s[-1] - ticks.t_s[0] if len(ticks.t_s) > 1 else 0.0
    cpu_s = _last(ticks, "work_cpu_s")
    busy_s = _growth(ticks, "busy_cpu_s")
    lasted_s = recording.duration_s
    mean_cpus = cpu_s / lasted_s if cpu_s is not None and lasted_s > 0 else None
    owned = machine.owned_cpus or machine.cpus
    wait_share, wait_source = _io_wait(ticks, span_s)
    rate, thing = _throughput(recording.points)
    resident = [v for v in ticks.gauges.get("resident_bytes", []) if v is not None]
    return Usage(
        cpu_s=cpu_s,
        mean_cpus=mean_cpus,
        cpu_utilisation=min(1.0, mean_cpus / owned) if mean_cpus is not None and owned else None,
        machine_utilisation=_machine_utilisation(busy_s, span_s, machine),
        peak_resident_bytes=max(resident, default=None),
        io_wait_share=wait_share,
        io_wait_source=wait_source,
        run_delay_s=_last(ticks, "run_delay_s"),
        read_bytes=_last(ticks, "read_bytes"),
        written_bytes=_last(ticks, "written_bytes"),
        requested_read_bytes=_last(ticks, "requested_read_bytes"),
        received_bytes=_growth(ticks, "received_bytes"),
        sent_bytes=_growth(ticks, "sent_bytes"),
        gpu_utilisation=_gauge_means(ticks, "gpu_utilisation:"),
        gpu_memory_bytes=_gauge_peaks(ticks, "gpu_memory_bytes:"),
        throughput_per_s=rate,
        throughput_of=thing,
    )


def _machine_utilisation(busy_s: float | None, span_s: float, machine: Machine) -> float | None:
    if busy_s is None or span_s <= 0 or not machine.cpus:
        return None
    return min(1.0, busy_s / (span_s * machine.cpus))


def _io_wait(ticks: Ticks, span_s: float) -> tuple[float | None, str]:
    """Return the share of the time spent waiting for I/O, and what it was read from."""
    for name, source in (
        ("blkio_delay_s", "block I/O delay of this work's main threads"),
        ("pressure_io_s", "I/O pressure of the whole machine (the kernel's delay accounting is off)"),
    ):
        waited_s = _growth(ticks, name)
        if waited_s is not None and span_s > 0:
            return min(1.0, waited_s / span_s), source
    return None, "neither delay accounting nor pressure can be read here"


def _last(ticks: Ticks, name: str) -> float | None:
    """Return a counter of the tree's own at the end; it began at zero with the recording, before the first tick."""
    return next((v for v in reversed(ticks.counters.get(name, [])) if v is not None), None)


def _growth(ticks: Ticks, name: str) -> float | None:
    """Return how much a counter of the machine grew."""
    known = [v for v in ticks.counters.get(name, []) if v is not None]
    if not known:
        return None
    return max(0.0, known[-1] - known[0])


def _gauge_means(ticks: Ticks, prefix: str) -> dict[str, float]:
    means = {}
    for name, column in ticks.gauges.items():
        known = [v for v in column if v is not None]
        if name.startswith(prefix) and known:
            means[name.removeprefix(prefix)] = sum(known) / len(known)
    return means


def _gauge_peaks(ticks: Ticks, prefix: str) -> dict[str, float]:
    return {
        name.removeprefix(prefix): max(known)
        for name, column in ticks.gauges.items()
        if name.startswith(prefix) and (known := [v for v in column if v is not None])
    }


def _throughput(points: Sequence[Point]) -> tuple[float | None, str]:
    """Return the rate of the first counted thing that was logged at least twice and grew."""
    for thing in _COUNTED_THINGS:
        seen = [
            (p.t_s, float(p.values[thing])) for p in points if isinstance(p.values.get(thing), int | float)
        ]
        if len(seen) > 1 and seen[-1][0] > seen[0][0] and seen[-1][1] > seen[0][1]:
            return (seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0]), thing
    return None, ""


def work_done(recording: Recording) -> dict[str, float]:
    """Return how much a run did of each thing that it counted, the most telling first: samples, tokens, steps, epochs.

    A count that starts at 0 (`epoch=0` at the end of the first) is taken one higher.
    """
    done: dict[str, float] = {}
    for thing in _COUNTED_THINGS:
        seen = [
            float(p.values[thing]) for p in recording.points if isinstance(p.values.get(thing), int | float)
        ]
        if seen and (most := max(seen) + (min(seen) == 0)) > 0:
            done[thing] = most
    return done


def _phases(
    spans: Sequence[Span], end_s: float, t_s: list[float], work_j: list[float], total_j: Figure | None
) -> tuple[Phase, ...]:
    by_name: dict[str, list[tuple[float, float]]] = {}
    for span in spans:
        by_name.setdefault(span.name, []).append((span.start_s, end_s if span.end_s is None else span.end_s))
    phases = []
    for name, stretches in by_name.items():
        merged = _merged(stretches)
        energy_j = None
        if total_j is not None and total_j.value > 0:
            joules = sum(cumulative_at(t_s, work_j, e) - cumulative_at(t_s, work_j, s) for s, e in merged)
            energy_j = _modelled(total_j.scaled(max(0.0, joules) / total_j.value))
        phases.append(Phase(name, len(stretches), sum(e - s for s, e in merged), energy_j))
    return tuple(sorted(phases, key=lambda p: -p.seconds))


def _modelled(figure: Figure) -> Figure:
    """Return a share of a figure: computed from timestamps, so never better than modelled."""
    basis = max(figure.basis, Basis.MODELLED)
    return Figure(figure.value, figure.low, figure.high, basis, f"{figure.source}; by time", figure.boundary)


def _merged(stretches: list[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for start, end in sorted(stretches):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def cumulative_at(t_s: list[float], series: list[float], when_s: float) -> float:
    """Return a cumulative series at a moment, on a straight line between its ticks."""
    if not t_s:
        return 0.0
    right = bisect_left(t_s, when_s)
    if right == 0:
        return series[0]
    if right == len(t_s):
        return series[-1]
    share = (when_s - t_s[right - 1]) / (t_s[right] - t_s[right - 1])
    return series[right - 1] + share * (series[right] - series[right - 1])


def _power(devices: Sequence[Device], ticks: Ticks, work_j: list[float]) -> PowerSeries:
    joules: dict[str, list[float | None]] = {}
    for device in devices:
        column = ticks.energy_j.get(device.id)
        if column is None or not device.counted:
            continue
        steps = [_step(column[i - 1], column[i]) for i in range(1, len(column))]
        so_far = joules.get(device.component)
        joules[device.component] = (
            steps if so_far is None else [_sum(a, b) for a, b in zip(so_far, steps, strict=True)]
        )
    spans_s = [max(1e-9, b - a) for a, b in zip(ticks.t_s, ticks.t_s[1:], strict=False)]
    return PowerSeries(
        t_s=ticks.t_s[1:],
        watts={
            c: [None if j is None else j / s for j, s in zip(column, spans_s, strict=True)]
            for c, column in joules.items()
        },
        work_watts=[max(0.0, b - a) / s for a, b, s in zip(work_j, work_j[1:], spans_s, strict=False)],
    )


def _step(before: float | None, now: float | None) -> float | None:
    return None if before is None or now is None else max(0.0, now - before)


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other
