"""CodeCarbon's `emissions.csv`, in and out: one row a run, energies in kWh, emissions in kg, duration in seconds.

The columns are those of CodeCarbon 3; what we do not know is empty. Reading takes any version's file that has a timestamp,
a duration and an energy. A timestamp there is the end of the run, in local time without an offset: it is read as local.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from joulewise import __version__
from joulewise.exchange.imported import Imported
from joulewise.measuring.accounting import Account
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.quantities import JOULES_PER_KWH
from joulewise.vocabulary.recording import Component
from joulewise.vocabulary.text import plain

COLUMNS = (
    "timestamp", "project_name", "run_id", "experiment_id", "duration", "emissions", "emissions_rate", "cpu_power",
    "gpu_power", "ram_power", "cpu_energy", "gpu_energy", "ram_energy", "energy_consumed", "water_consumed",
    "country_name", "country_iso_code", "region", "cloud_provider", "cloud_region", "os", "python_version",
    "codecarbon_version", "cpu_count", "cpu_model", "gpu_count", "gpu_model", "longitude", "latitude", "ram_total_size",
    "tracking_mode", "cpu_utilization_percent", "gpu_utilization_percent", "ram_utilization_percent", "ram_used_gb",
    "on_cloud", "pue", "wue",
)  # fmt: skip
_PARTS = {Component.CPU: "cpu", Component.GPU: "gpu", Component.MEMORY: "ram"}
_NEEDED = ("timestamp", "duration", "energy_consumed")


def write(accounts: Sequence[Account]) -> str:
    """Return a file as CodeCarbon writes it. Energies are at the devices, as its own are; `emissions` with the wall and PUE."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row(a) for a in accounts)
    return out.getvalue()


def _row(account: Account) -> dict[str, Any]:
    recording, cost = account.recording, account.footprint
    duration_s = recording.duration_s
    ended = recording.started_utc + timedelta(seconds=duration_s)
    gpus = [d.device for d in account.devices if d.device.component is Component.GPU and d.device.counted]
    row: dict[str, Any] = {
        "timestamp": ended.astimezone().replace(tzinfo=None).isoformat(timespec="seconds"),
        "project_name": plain(recording.name, 120),
        "run_id": recording.run_id,
        "duration": duration_s,
        "energy_consumed": _kwh(cost.device_j),
        "country_iso_code": plain(recording.metadata.get("zone", ""), 20),
        "cloud_provider": plain(recording.metadata.get("cloud", ""), 20),
        "cloud_region": plain(recording.metadata.get("region", ""), 40),
        "os": plain(recording.metadata.get("joulewise_platform", ""), 80),
        "python_version": plain(recording.metadata.get("python_version", ""), 20),
        "codecarbon_version": f"joulewise {__version__}",
        "cpu_count": recording.machine.owned_cpus,
        "cpu_model": plain(recording.machine.cpu_model, 80),
        "gpu_count": len(gpus) or "",
        "gpu_model": plain(", ".join(dict.fromkeys(str(g.model.get("name") or g.id) for g in gpus)), 120),
        "ram_total_size": (recording.machine.memory_bytes or 0) / 1e9 or "",
        "tracking_mode": "process",
        "on_cloud": "Y" if recording.metadata.get("cloud") else "N",
        "pue": cost.factors["pue"].value if "pue" in cost.factors else "",
    }
    if cost.carbon_g is not None:
        row["emissions"] = cost.carbon_g.value / 1000
        row["emissions_rate"] = cost.carbon_g.value / 1000 / duration_s if duration_s > 0 else ""
    for component, name in _PARTS.items():
        figure = cost.energy_j.get(component)
        if figure is not None:
            row[f"{name}_energy"] = _kwh(figure)
            row[f"{name}_power"] = figure.value / duration_s if duration_s > 0 else ""
    return row


def _kwh(figure: Figure | None) -> float | str:
    return "" if figure is None else figure.value / JOULES_PER_KWH


def read(text: str) -> Iterator[Imported]:
    """Yield what the rows of an `emissions.csv` tell; raises UsageError, with the row's number, for what is none."""
    rows = csv.DictReader(io.StringIO(text))
    lacking = [name for name in _NEEDED if name not in (rows.fieldnames or ())]
    if lacking:
        raise UsageError(f"this is no emissions.csv of CodeCarbon: it has no column {', '.join(lacking)}")
    for number, row in enumerate(rows, 2):
        try:
            yield _imported(row)
        except (ValueError, OverflowError) as error:
            raise UsageError(f"row {number} of the file: {error}") from None


def _imported(row: dict[str, Any]) -> Imported:
    duration_s = _number(row, "duration") or 0.0
    ended = datetime.fromisoformat(str(row["timestamp"]))
    ended = ended.astimezone(UTC) if ended.tzinfo else ended.astimezone().astimezone(UTC)
    parts = {c: _number(row, f"{name}_energy") for c, name in _PARTS.items()}
    if not _number(row, "gpu_count") and not parts[Component.GPU]:
        del parts[Component.GPU]  # a machine without one: the tool writes 0
    energy_j = {c: kwh * JOULES_PER_KWH for c, kwh in parts.items() if kwh is not None}
    whole = _number(row, "energy_consumed")
    if not energy_j and whole is not None:
        energy_j = {Component.OTHER: whole * JOULES_PER_KWH}
    metadata: dict[str, Any] = {
        "codecarbon_version": row.get("codecarbon_version") or "",
        "python_version": row.get("python_version") or "",
    }
    if row.get("country_iso_code"):
        metadata["zone_told"] = row["country_iso_code"]
    memory_gb = _number(row, "ram_total_size")
    cpus = _number(row, "cpu_count")
    return Imported(
        tool="codecarbon",
        name=plain(row.get("project_name") or "codecarbon", 80),
        started_utc=ended - timedelta(seconds=duration_s),
        duration_s=duration_s,
        energy_j=energy_j,
        machine={
            "cpu_model": row.get("cpu_model") or "",
            "cpus": int(cpus) if cpus else None,
            "owned_cpus": cpus,
            "memory_bytes": int(memory_gb * 1e9) if memory_gb else None,
        },
        metadata={k: v for k, v in metadata.items() if v},
        params={
            "codecarbon_run_id": row.get("run_id") or "",
            "codecarbon_emissions_kg": _number(row, "emissions"),
        },
    )


def _number(row: dict[str, Any], name: str) -> float | None:
    text = (row.get(name) or "").strip()
    if not text:
        return None
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} is {text!r}, but must be 0 or more")
    return value
