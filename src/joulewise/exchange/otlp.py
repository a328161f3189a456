"""OpenTelemetry: recordings as OTLP metrics in JSON (`ExportMetricsServiceRequest` by the protobuf JSON mapping).

    hw.energy                 joules of a device, all tenants, monotonic (semantic conventions for hardware)
    joulewise.work.energy     joules of the recorded work, by component and with its interval's ends
    joulewise.work.cpu.time   CPU seconds of the recorded work
    joulewise.work.co2e       grams from electricity, where they are known (one point, at the end)

One data point a minute and one at the end. Resource: `host.name`, `service.name` (the run's name) and `joulewise.run_id`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from joulewise import __version__
from joulewise.measuring.accounting import Account
from joulewise.measuring.attribution import tenants_by_tick
from joulewise.vocabulary.recording import Component, Device
from joulewise.vocabulary.text import plain

_EVERY_S = 60.0
_TYPES = {Component.STORAGE: "physical_disk", Component.OTHER: "enclosure", Component.NODE: "enclosure"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Fields = dict[str, Any]


def write(accounts: Sequence[Account]) -> str:
    """Return the request's JSON text."""
    return json.dumps({"resourceMetrics": [_resource(a) for a in accounts]}, allow_nan=False)


def _resource(account: Account) -> Fields:
    recording = account.recording
    about = {
        "host.name": plain(recording.machine.host, 120),
        "service.name": plain(recording.name, 120),
        "joulewise.run_id": recording.run_id,
    }
    metrics = [_devices(account), _work(account), _cpu_time(account), _grams(account)]
    scope = {"name": "joulewise", "version": __version__}
    return {
        "resource": {"attributes": _attributes(about)},
        "scopeMetrics": [{"scope": scope, "metrics": [m for m in metrics if m is not None]}],
    }


def _devices(account: Account) -> Fields | None:
    ticks = account.recording.ticks
    points = []
    for device in (d.device for d in account.devices):
        column = ticks.energy_j.get(device.id, [])
        points += [
            _point(account, ticks.t_s[at], joules, _device(device))
            for at in _minutes(ticks.t_s)
            if at < len(column) and (joules := column[at]) is not None
        ]
    return _sum("hw.energy", "J", points)


def _device(device: Device) -> dict[str, str]:
    told = {
        "hw.id": plain(device.uuid or device.id, 120),
        "hw.type": _TYPES.get(device.component, device.component.value),
        "hw.name": plain(device.id, 120),
        "joulewise.basis": device.basis.word,
    }
    return {**told, "hw.parent": plain(device.within, 120)} if device.within else told


def _work(account: Account) -> Fields | None:
    until = tenants_by_tick(account.recording)
    t_s = account.recording.ticks.t_s
    points = [
        _point(account, t_s[at], until[component.value][at], {"component": component.value})
        for component in Component
        if component.value in until
        for at in _minutes(t_s)
    ]
    total_j = account.footprint.device_j
    if total_j is not None:
        points += [
            _point(
                account,
                account.recording.duration_s,
                value,
                {"component": "all", "joulewise.end": end, "joulewise.basis": total_j.basis.word},
            )
            for end, value in (("value", total_j.value), ("low", total_j.low), ("high", total_j.high))
        ]
    return _sum("joulewise.work.energy", "J", points)


def _cpu_time(account: Account) -> Fields | None:
    cpu_s = account.usage.cpu_s
    return (
        None
        if cpu_s is None
        else _sum("joulewise.work.cpu.time", "s", [_point(account, account.recording.duration_s, cpu_s, {})])
    )


def _grams(account: Account) -> Fields | None:
    grams = account.footprint.carbon_g
    if grams is None:
        return None
    about = {
        "joulewise.basis": grams.basis.word,
        "joulewise.intensity": plain(account.footprint.factors["intensity"].source, 200),
    }
    return _sum(
        "joulewise.work.co2e", "g", [_point(account, account.recording.duration_s, grams.value, about)]
    )


def _sum(name: str, unit: str, points: list[Fields]) -> Fields | None:
    if not points:
        return None
    return {
        "name": name,
        "unit": unit,
        "sum": {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": points},
    }


def _point(account: Account, t_s: float, value: float, about: dict[str, str]) -> Fields:
    start_ns = round((account.recording.started_utc - _EPOCH).total_seconds() * 1e9)
    return {
        "attributes": _attributes(about),
        "startTimeUnixNano": str(start_ns),
        "timeUnixNano": str(start_ns + round(t_s * 1e9)),
        "asDouble": value,
    }


def _attributes(about: dict[str, str]) -> list[Fields]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in about.items()]


def _minutes(t_s: Sequence[float]) -> list[int]:
    """Return the indices of ticks a minute apart, and of the last."""
    if not t_s:
        return []
    kept, due = [], _EVERY_S
    for at, now_s in enumerate(t_s[:-1]):
        if now_s >= due:
            kept.append(at)
            due = now_s + _EVERY_S
    return [*kept, len(t_s) - 1]
