"""BoAmps, Boavizta's report of one task's energy (JSON), in and out.

Field names and allowed words: its published schemas (report, algorithm, dataset, measure, hardware). `powerConsumption` is
in kWh, `measurementDuration` in seconds, times as `YYYY-MM-DD HH:MM:SS`. What the schema demands and a recording cannot tell
(the family of the task, the type of the data) is `other` unless it is given.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from joulewise import __version__
from joulewise.exchange.imported import Imported
from joulewise.measuring.accounting import Account
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.quantities import JOULES_PER_KWH, format_figure
from joulewise.vocabulary.recording import Component
from joulewise.vocabulary.text import plain

_TIME = "%Y-%m-%d %H:%M:%S"
_QUALITY = ((0.10, "high"), (0.25, "medium"))  # percentage errors, from the schema's description
_ACCURACY = ("accuracy", "val_accuracy", "test_accuracy", "val_acc", "acc")


def write(account: Account, *, stage: str = "training", family: str = "other") -> str:
    """Return the report as JSON; raises UsageError where the run's energy is unknown."""
    recording, cost = account.recording, account.footprint
    if cost.total_j is None:
        raise UsageError(
            f"{recording.run_id}: its energy is unknown ({cost.unknown.get('joules', 'nothing was read')})"
        )
    metadata = recording.metadata
    measure = {
        "measurementMethod": "joulewise",
        "version": __version__,
        "powerConsumption": cost.total_j.value / JOULES_PER_KWH,
        "measurementDuration": recording.duration_s,
        "measurementDateTime": recording.started_utc.strftime(_TIME),
        "averageUtilizationCpu": account.usage.cpu_utilisation,
        "cpuTrackingMode": _tracking(account, Component.CPU),
        "gpuTrackingMode": _tracking(account, Component.GPU),
    }
    task: dict[str, Any] = {
        "taskStage": stage,
        "taskFamily": family,
        "algorithms": [
            _some({"algorithmType": "other", "epochsNumber": _last(account, ("epochs", "epoch"))})
        ],
        "dataset": [{"dataUsage": "input", "dataType": "other"}],
        "measuredAccuracy": _accuracy(account),
        "taskDescription": plain(
            f"{recording.name}: {format_figure(cost.total_j, 'J')} at the wall, 90 % interval, {cost.total_j.basis.word}",
            400,
        ),
    }
    intensity = cost.factors.get("intensity")
    zone = plain(metadata.get("zone", ""), 60)
    report = {
        "header": {
            "reportDatetime": (recording.started_utc + timedelta(seconds=recording.duration_s)).strftime(
                _TIME
            ),
            "reportId": recording.run_id,
            "reportStatus": "draft",
            "formatVersionSpecificationUri": "BoAmps",
        },
        "task": _some(task),
        "measures": [_some(measure)],
        "system": {"os": plain(metadata.get("joulewise_platform", "unknown"), 80)},
        "software": _some(
            {"language": "python", "version": plain(metadata.get("python_version", ""), 20) or None}
        ),
        "infrastructure": _some(
            {
                "infraType": "publicCloud" if metadata.get("cloud") else "onPremise",
                "cloudProvider": plain(metadata.get("cloud", ""), 40) or None,
                "cloudInstance": plain(metadata.get("instance", ""), 60) or None,
                "components": _components(account),
            }
        ),
        "environment": _some(
            {
                "country": zone or "unknown",
                "location": plain(metadata.get("region", ""), 60) or None,
                "powerSourceCarbonIntensity": intensity.value if intensity is not None else None,
            }
        ),
        "quality": _quality(cost.total_j),
    }
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


def _some(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _tracking(account: Account, component: Component) -> str | None:
    sources = [
        d.device.meter for d in account.devices if d.device.component is component and d.device.counted
    ]
    return ", ".join(dict.fromkeys(sources)) or None


def _components(account: Account) -> list[dict[str, Any]]:
    machine = account.recording.machine
    share = None
    if machine.cpus and machine.owned_cpus is not None:
        share = min(1.0, machine.owned_cpus / machine.cpus)
    found = [
        _some(
            {
                "componentName": plain(machine.cpu_model, 80) or None,
                "componentType": "cpu",
                "nbComponent": 1,
                "share": share,
            }
        )
    ]
    gpus = [d.device for d in account.devices if d.device.component is Component.GPU and d.device.counted]
    names = [plain(g.model.get("name") or g.id, 80) for g in gpus]
    found += [
        {"componentName": n, "componentType": "gpu", "nbComponent": names.count(n)}
        for n in dict.fromkeys(names)
    ]
    if machine.memory_bytes:
        found.append(
            {"componentType": "ram", "nbComponent": 1, "memorySize": round(machine.memory_bytes / 1e9)}
        )
    return found


def _last(account: Account, names: tuple[str, ...]) -> float | None:
    for point in reversed(account.recording.points):
        for name in names:
            value = point.values.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                return float(value)
    return None


def _accuracy(account: Account) -> float | None:
    value = _last(account, _ACCURACY)
    return value if value is not None and 0 <= value <= 1 else None


def _quality(figure: Figure) -> str:
    """Return the schema's word for an error: that of the wider arm."""
    if figure.value <= 0:
        return "low"
    arm = max(figure.value - figure.low, figure.high - figure.value) / figure.value
    return next((word for most, word in _QUALITY if arm <= most), "low")


def read(text: str) -> Iterator[Imported]:
    """Yield what a report (or a list of them) tells: one record a measure; raises UsageError for what is none."""
    try:
        told = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"this is no JSON: {error}") from None
    for report in told if isinstance(told, list) else [told]:
        if not isinstance(report, dict) or not isinstance(report.get("measures"), list):
            raise UsageError("this is no BoAmps report: it has no list 'measures'")
        for measure in report["measures"]:
            try:
                yield _imported(report, measure)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise UsageError(
                    f"a measure of the BoAmps report cannot be read: {type(error).__name__} {error}"
                ) from None


def _imported(report: dict[str, Any], measure: dict[str, Any]) -> Imported:
    header, task = report.get("header") or {}, report.get("task") or {}
    kwh = float(measure["powerConsumption"])
    duration_s = float(measure.get("measurementDuration") or 0.0)
    if not (math.isfinite(kwh) and kwh >= 0 and math.isfinite(duration_s)):
        raise ValueError(f"powerConsumption is {kwh}, measurementDuration {duration_s}")
    when = measure.get("measurementDateTime") or measure.get("measurementDate") or header["reportDatetime"]
    started = datetime.fromisoformat(str(when))
    name = (header.get("publisher") or {}).get("projectName") or task.get("taskFamily") or "boamps"
    return Imported(
        tool="boamps",
        name=plain(name, 80),
        started_utc=started.astimezone(UTC) if started.tzinfo else started.replace(tzinfo=UTC),
        duration_s=duration_s,
        energy_j={Component.OTHER: kwh * JOULES_PER_KWH},
        metadata=_some(
            {
                "zone_told": (report.get("environment") or {}).get("country"),
                "task_stage": task.get("taskStage"),
            }
        ),
        params=_some({"report_id": header.get("reportId"), "measured_by": measure.get("measurementMethod")}),
        values=_some({"accuracy": task.get("measuredAccuracy")}),
    )
