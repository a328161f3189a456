"""An account as JSON: what `show --json`, `report --json` and `run --json` write. The fields only grow within a version."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from joulewise.cli.output import as_json, figure_fields, finite
from joulewise.measuring.accounting import Account
from joulewise.vocabulary.footprint import Footprint
from joulewise.vocabulary.recording import Recording


def account_json(account: Account, *, series: bool = False) -> str:
    """Return the JSON text of an account; with `series` the watts over time, too."""
    return as_json(account_fields(account, series=series))


def account_fields(account: Account, *, series: bool = False) -> dict[str, Any]:
    """Return an account as JSON fields. A figure that is not known is null, with its reason in `unknown`."""
    recording = account.recording
    fields: dict[str, Any] = {
        **recording_fields(recording),
        "footprint": footprint_fields(account.footprint),
        "devices": [
            {
                "id": d.device.id,
                "component": d.device.component.value,
                "meter": d.device.meter,
                "basis": d.device.basis.word,
                "source": d.device.source,
                "within": d.device.within or None,
                "note": d.device.note or None,
                "total_j": figure_fields(d.total_j),
                "work_j": figure_fields(d.work_j),
                "idle_j": figure_fields(d.idle_j),
                "others_j": figure_fields(d.others_j),
                "mean_w": d.mean_w,
            }
            for d in account.devices
        ],
        "usage": {name: getattr(account.usage, name) for name in account.usage.__slots__},
        "phases": [
            {"name": p.name, "calls": p.calls, "seconds": p.seconds, "energy_j": figure_fields(p.energy_j)}
            for p in account.phases
        ],
    }
    if series:
        power = account.power_series
        fields["power_series"] = {"t_s": power.t_s, "watts": power.watts, "work_watts": power.work_watts}
    return fields


def recording_fields(recording: Recording) -> dict[str, Any]:
    """Return what a recording says of itself."""
    end = recording.end
    return {
        "run_id": recording.run_id,
        "name": recording.name,
        "role": recording.role,
        "started_utc": recording.started_utc.isoformat(),
        "ended_utc": (recording.started_utc + timedelta(seconds=recording.duration_s)).isoformat(),
        "duration_s": recording.duration_s,
        "state": end.state.value,
        "exit_code": end.exit_code,
        "signal": end.signal,
        "reason": end.reason,
        "command": list(recording.command),
        "params": finite(recording.params),
        "metadata": finite(recording.metadata),
        "machine": {
            "host": recording.machine.host,
            "cpus": recording.machine.cpus,
            "owned_cpus": recording.machine.owned_cpus,
            "memory_bytes": recording.machine.memory_bytes,
            "owned_memory_bytes": recording.machine.owned_memory_bytes,
            "cpu_model": recording.machine.cpu_model,
            "virtual": recording.machine.virtual,
        },
        "last_point": last_values(recording),
        "points": len(recording.points),
        "notes": [{"t_s": n.t_s, "kind": n.kind, "text": n.text} for n in recording.notes],
        "damage": list(recording.damage),
    }


def footprint_fields(cost: Footprint) -> dict[str, Any]:
    """Return a footprint as JSON fields."""
    return {
        "energy_j": {c.value: figure_fields(f) for c, f in cost.energy_j.items()},
        "total_j": figure_fields(cost.total_j),
        "facility_j": figure_fields(cost.facility_j),
        "carbon_g": figure_fields(cost.carbon_g),
        "embodied_g": figure_fields(cost.embodied_g),
        "cost": figure_fields(cost.cost),
        "currency": cost.currency or None,
        "idle_j": figure_fields(cost.idle_j),
        "machine_j": figure_fields(cost.machine_j),
        "factors": {name: figure_fields(f) for name, f in cost.factors.items()},
        "unknown": dict(cost.unknown),
        "missing": [{"source": m.source, "why": m.why, "remedy": m.remedy} for m in cost.missing],
    }


def last_values(recording: Recording) -> Mapping[str, Any]:
    """Return the last value of each thing that the program logged."""
    values: dict[str, Any] = {}
    for point in recording.points:
        values.update(point.values)
    return finite(values)  # type: ignore[no-any-return]  # a mapping stays a mapping
