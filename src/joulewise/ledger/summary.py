"""A recording as the ledger lists it, and the row that its table keeps of it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from joulewise.ledger.store import Store
from joulewise.vocabulary.figures import Basis, Boundary, Figure
from joulewise.vocabulary.recording import EndState

_FIGURES = ("energy", "idle", "machine")
COLUMNS = (
    *("run_id", "root", "day", "name", "host", "role", "started_utc", "duration_s", "state", "exit_code"),
    *(f"{figure}_{part}" for figure in _FIGURES for part in ("j", "low_j", "high_j", "basis")),
    *("boundary", "components", "command", "tags", "params", "points", "last_point", "damage"),
    *("growing", "size_bytes", "mtime_ns", "boot", "pid", "pid_start", "job"),
)


@dataclass(frozen=True, slots=True)
class Summary:
    """One recording as the ledger lists it. None is unknown, which is not zero.

    `folder` is filled in by the ledger; on a ledger that hosts share, another host's reads `host:/path`, and that of a
    recording whose body alone is left "".
    """

    run_id: str
    name: str
    host: str
    role: str
    started_utc: datetime
    duration_s: float
    state: EndState
    exit_code: int | None = None
    energy_j: Figure | None = None  # of the work
    idle_j: Figure | None = None
    machine_j: Figure | None = None
    components_j: Mapping[str, float | None] | None = None  # of the work, by component
    command: str = ""
    tags: Mapping[str, Any] | None = None
    params: Mapping[str, Any] | None = None
    points: int = 0  # how often the program logged
    last_point: Mapping[str, Any] | None = None  # the last value of each thing that it logged
    damage: int = 0  # lines that could not be read
    person: str = ""
    project: str = ""
    zone: str = ""
    device: str = ""  # what it ran on: the GPUs that it held, else the processor
    site: str = ""  # "cloud chassis", one of them "-" where it is not known: what decides uplift and PUE
    inside: str = ""  # the recording around this one, which has its joules already
    job: str = ""  # what the recordings of one job's nodes and ranks share: slurm:4711
    folder: str = ""


def host_prefix(store: Store) -> str:
    """Return what makes a path on this host distinct in a ledger that hosts share."""
    return f"{os.uname().nodename}:" if store.shared else ""


def row_of(summary: Summary) -> dict[str, Any]:
    """Return the columns of a summary; the ledger adds where its files are."""
    row: dict[str, Any] = {
        "name": clean(summary.name),
        "role": summary.role,
        "started_utc": iso(summary.started_utc),
        "duration_s": _number(summary.duration_s) or 0.0,
        "state": summary.state.value,
        "exit_code": summary.exit_code,
        "boundary": next((f.boundary.value for f in _figures(summary) if f is not None), ""),
        "components": _json(summary.components_j),
        "command": clean(summary.command),
        "tags": _json(summary.tags),
        "params": _json(summary.params),
        "points": summary.points,
        "last_point": _json(summary.last_point),
        "damage": summary.damage,
        "job": clean(summary.job),
    }
    for name, figure in zip(_FIGURES, _figures(summary), strict=True):
        known = figure if figure is not None and math.isfinite(figure.value) else None
        row[f"{name}_j"] = known.value if known else None
        row[f"{name}_low_j"] = _number(known.low) if known else None
        row[f"{name}_high_j"] = _number(known.high) if known else None
        row[f"{name}_basis"] = known.basis.word if known else None
    return row


def summary_of(row: Mapping[str, Any], store: Store) -> Summary:
    """Return the summary that a row of the ledger keeps."""
    prefix = host_prefix(store)
    root = str(row["root"]).removeprefix(prefix)
    energy, idle, machine = (_figure(row, name) for name in _FIGURES)
    return Summary(
        run_id=row["run_id"],
        name=row["name"],
        host=row["host"],
        role=row["role"],
        started_utc=datetime.fromisoformat(row["started_utc"]),
        duration_s=row["duration_s"],
        state=EndState(row["state"]),
        exit_code=row["exit_code"],
        energy_j=energy,
        idle_j=idle,
        machine_j=machine,
        components_j=json.loads(row["components"]),
        command=row["command"],
        tags=json.loads(row["tags"]),
        params=json.loads(row["params"]),
        points=row["points"],
        last_point=json.loads(row["last_point"]),
        damage=row["damage"],
        job=row["job"],
        folder=f"{root}/{row['day']}/{row['run_id']}" if root else "",
    )


def _figures(summary: Summary) -> tuple[Figure | None, Figure | None, Figure | None]:
    return summary.energy_j, summary.idle_j, summary.machine_j


def _figure(row: Mapping[str, Any], name: str) -> Figure | None:
    value = row[f"{name}_j"]
    if value is None:
        return None
    low, high = row[f"{name}_low_j"], row[f"{name}_high_j"]
    return Figure(
        value,
        -math.inf if low is None else low,
        math.inf if high is None else high,
        Basis[row[f"{name}_basis"].upper()],
        boundary=Boundary(row["boundary"]),
    )


def iso(moment: datetime) -> str:
    """Return a moment as the ledger writes it: UTC, by the millisecond, so that text sorts as time."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def _json(value: Mapping[str, Any] | None) -> str:
    return json.dumps(value or {}, separators=(",", ":"), default=str)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def clean(text: str) -> str:
    """Return text that a database takes: no lone surrogates (arguments that are not UTF-8), no zero byte."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")
