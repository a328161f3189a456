"""How a run's GPUs were used, from what they drew and how many of their multiprocessors worked.

NVML's "utilisation" says that some kernel was resident, be it one thread that waits: it is quoted, never counted. What counts
is, in this order,

    SM activity   the share of multiprocessors with a warp assigned (DCGM's `sm_active`): at 0.8 and above a device is used
                  well, below 0.5 it is not (NVIDIA, DCGM feature overview). Busy is SM activity over 0.8.
    power         above standing by, over what the board draws when it is fed: its limit where that is known (a fed board
                  draws 60 to 100 % of it), else the run's own 95th percentile, which cannot see pulses shorter than a tick.

Busy is None where neither tells: a board at constant power may be fed or asleep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from joulewise.diagnosing.case import Case
from joulewise.vocabulary.figures import Basis, Figure
from joulewise.vocabulary.recording import Component, Device, Recording

FULL_SM = 0.8
_FED = (0.6, 0.8, 1.0)  # of the board's limit: least, usual, most
_PULSE = 1.5  # the 95th percentile over standing by that says that the power moves at all


@dataclass(frozen=True, slots=True)
class DeviceUse:
    """One GPU over a stretch of a run: watts standing by and on average, and which share of the time it was busy."""

    id: str
    standing_w: float
    mean_w: float
    busy: Figure | None  # 0 to 1; None: cannot be told
    known_by: str  # "SM activity", "power", or ""
    utilisation: float | None  # NVML's, for the evidence only
    held_bytes: float  # memory held, on average


def gpus(case: Case, from_s: float, to_s: float) -> tuple[DeviceUse, ...]:
    """Return how each GPU of the run was used between two times; empty where there is none, or no tick lies between."""
    found = (
        _use(case.recording, device, from_s, to_s)
        for device in case.recording.devices
        if device.component is Component.GPU and device.counted
    )
    return tuple(use for use in found if use is not None)


def watts(recording: Recording, device: Device) -> list[tuple[float, float, float]]:
    """Return a device's power as (from, to, watts) between its ticks; what could not be read is left out."""
    known = [
        (t, j)
        for t, j in zip(recording.ticks.t_s, recording.ticks.energy_j.get(device.id, ()), strict=False)
        if j is not None
    ]
    return [(t0, t1, (j1 - j0) / (t1 - t0)) for (t0, j0), (t1, j1) in pairwise(known) if t1 > t0]


def _use(recording: Recording, device: Device, from_s: float, to_s: float) -> DeviceUse | None:
    every = watts(recording, device)
    inside = [(min(t1, to_s) - max(t0, from_s), w) for t0, t1, w in every if t1 > from_s and t0 < to_s]
    span_s = sum(s for s, _ in inside)
    if span_s <= 0:
        return None
    mean_w = sum(s * w for s, w in inside) / span_s
    standing_w = min(w for _, _, w in every)
    gauge = _Gauges(recording, device.id, from_s, to_s)
    busy, known_by = _busy(gauge.mean("gpu_sm_activity"), mean_w, standing_w, [w for _, w in inside], device)
    return DeviceUse(
        device.id,
        standing_w,
        mean_w,
        busy,
        known_by,
        gauge.mean("gpu_utilisation"),
        gauge.mean("gpu_memory_bytes") or 0.0,
    )


def _busy(
    activity: float | None, mean_w: float, standing_w: float, inside: Sequence[float], device: Device
) -> tuple[Figure | None, str]:
    if activity is not None:
        low, value, high = (min(1.0, activity / full) for full in (1.0, FULL_SM, 0.9 * FULL_SM))
        return _figure(low, value, high), "SM activity"
    limit_w = float(device.model.get("limit_w", 0.0))
    if limit_w > standing_w:
        drawn = max(0.0, mean_w - standing_w) / (limit_w - standing_w)
        high, value, low = (min(1.0, drawn / fed) for fed in _FED)
        return _figure(low, value, high), "power"
    fed_w = sorted(inside)[int(0.95 * (len(inside) - 1))]
    if fed_w < _PULSE * standing_w:
        return None, ""
    value = max(0.0, mean_w - standing_w) / (fed_w - standing_w)
    return _figure(0.8 * value, min(1.0, value), min(1.0, 1.2 * value)), "power"


def _figure(low: float, value: float, high: float) -> Figure:
    return Figure(value, min(low, value), max(high, value), Basis.MODELLED, "power and SM activity")


class _Gauges:
    """Mean values of a device's gauges over a stretch."""

    def __init__(self, recording: Recording, device: str, from_s: float, to_s: float) -> None:
        self._gauges, self._device = recording.ticks.gauges, device
        self._inside = [n for n, t in enumerate(recording.ticks.t_s) if from_s <= t <= to_s]

    def mean(self, name: str) -> float | None:
        """Return the mean of a gauge; None where it was never told."""
        column = self._gauges.get(f"{name}:{self._device}", [])
        known = [v for n in self._inside if n < len(column) and (v := column[n]) is not None]
        return sum(known) / len(known) if known else None
