"""One-minute means of power: enough to draw years of work, without opening a recording.

A cumulative counter tells the energy between two good readings even where readings between them are missing, so a
gap is spread evenly over its time. Minutes count from the start of the recording. Where one device of a component
tells nothing about a minute, the component has no mean there: a sum never hides a missing part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from joulewise.ledger.store import Store, upsert
from joulewise.vocabulary.recording import Component, Recording

_MINUTE_S = 60.0
_COLUMNS = ("run_id", "minute", "component", "mean_w")


@dataclass(frozen=True, slots=True)
class Minute:
    """Mean watts of one component in one minute of a recording, all tenants of the machine together."""

    minute: int
    component: Component
    mean_w: float


def minute_means(recording: Recording) -> list[Minute]:
    """Return mean watts by minute since the start and by component, from the ticks; the node's sensor is apart."""
    ticks = recording.ticks
    by_component: dict[Component, list[dict[int, float]]] = {}
    for device in recording.devices:
        if device.counted or (device.component is Component.NODE and not device.within):
            series = _device_minutes(ticks.t_s, ticks.energy_j.get(device.id, ()))
            by_component.setdefault(device.component, []).append(series)
    means: list[Minute] = []
    for component, devices in by_component.items():
        known = set(devices[0]).intersection(*devices[1:])
        means += [Minute(m, component, sum(d[m] for d in devices)) for m in sorted(known)]
    return means


def minutes_of(store: Store, run_id: str) -> list[Minute]:
    """Return the minutes that the ledger holds of a recording; none while it runs."""
    rows = store.query(
        "SELECT minute, component, mean_w FROM minutes WHERE run_id = :run_id ORDER BY component, minute",
        {"run_id": run_id},
    )
    return [Minute(r["minute"], Component(r["component"]), r["mean_w"]) for r in rows]


def write_minutes(store: Store, means: Mapping[str, Sequence[Minute]]) -> None:
    """Replace the minutes of recordings, by their ids."""
    if means:
        store.execute("DELETE FROM minutes WHERE run_id = :run_id", *({"run_id": run_id} for run_id in means))
    rows: list[Mapping[str, Any]] = [
        {"run_id": run_id, "minute": m.minute, "component": m.component.value, "mean_w": m.mean_w}
        for run_id, minutes in means.items()
        for m in minutes
    ]
    if rows:
        store.execute(upsert("minutes", _COLUMNS, _COLUMNS[:3]), *rows)


def _device_minutes(t_s: Sequence[float], energy_j: Sequence[float | None]) -> dict[int, float]:
    joules: dict[int, float] = {}
    seconds: dict[int, float] = {}
    good = [(t, j) for t, j in zip(t_s, energy_j, strict=False) if j is not None]
    for (start_s, start_j), (end_s, end_j) in pairwise(good):
        if end_s <= start_s:
            continue
        power_w = (end_j - start_j) / (end_s - start_s)
        at_s = start_s
        while at_s < end_s:
            minute = int(at_s // _MINUTE_S)
            until_s = min(end_s, (minute + 1) * _MINUTE_S)
            joules[minute] = joules.get(minute, 0.0) + power_w * (until_s - at_s)
            seconds[minute] = seconds.get(minute, 0.0) + until_s - at_s
            at_s = until_s
    return {m: joules[m] / seconds[m] for m in joules if seconds[m] > 0}
