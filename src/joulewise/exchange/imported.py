"""What another tool recorded, as a recording of ours: its joules as they were told, with the tool as their source.

Such a recording has two ticks, its begin and its end, unless the record has a series. Its id is made of what was read, or
of what the record says that it is (`identity`), so that reading the same again finds it there and makes no second one. It
appears among the recordings all at once: whoever is killed while writing it leaves nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from joulewise.ledger.files import FORMAT, RecordingFile, device_entry, new_run_id, run_folder
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis, Boundary
from joulewise.vocabulary.recording import Component, Device

MODELLED_ARM = (
    0.40  # such tools against meters, hundreds of runs: errors up to 40 % (Fischer 2025, arXiv 2509.22092)
)
MEASURED_ARM = 0.05  # as our own counters


@dataclass(frozen=True, slots=True)
class Known:
    """How joules are known: basis, relative arms of the 90 % interval, and what they were computed from."""

    basis: Basis
    below: float
    above: float
    source: str


@dataclass(frozen=True, slots=True)
class Imported:
    """One record of another tool: when, how long, joules by component, and what else it told.

    `measured` names the components whose joules came from a counter; the others are the tool's model, unless `known` says
    better. `series` are the ticks of `devices` where there is more than begin and end: seconds, and cumulative joules of each.
    """

    tool: str
    name: str
    started_utc: datetime
    duration_s: float
    energy_j: Mapping[Component, float]
    measured: frozenset[Component] = frozenset()
    boundary: Boundary = Boundary.DEVICE
    machine: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    failed: bool = False
    missing: tuple[tuple[str, str], ...] = ()
    known: Mapping[Component, Known] = field(default_factory=dict)
    identity: str = ""
    reason: str = ""  # why it failed
    devices: tuple[Device, ...] = ()
    series: tuple[tuple[float, tuple[float | None, ...]], ...] = ()

    def __post_init__(self) -> None:
        """Refuse times and joules that cannot be."""
        if self.started_utc.tzinfo is None:
            raise UsageError(f"{self.name!r} began at {self.started_utc.isoformat()}, without a time zone")
        if not 0 <= self.duration_s < 1e10:
            raise UsageError(f"{self.name!r} took {self.duration_s:g} s, but must have taken 0 or more")
        for component, joules in self.energy_j.items():
            if not 0 <= joules < 1e18:
                raise UsageError(
                    f"{self.name!r} used {joules:g} J of {component}, but must have used 0 or more"
                )

    @property
    def run_id(self) -> str:
        """The id of its recording: the same for the same record."""
        told: list[Any] = (
            [self.tool, self.identity]
            if self.identity
            else [
                self.tool,
                self.name,
                self.started_utc.isoformat(),
                self.duration_s,
                sorted(self.energy_j.items()),
                dict(self.params),
            ]
        )
        mark = hashlib.sha256(json.dumps(told, default=str).encode()).hexdigest()[:10]
        return new_run_id(self.name, self.started_utc)[:-10] + mark


def keep(runs: Path, record: Imported) -> str | None:
    """Write a record among the recordings and return its id; None where it already is there."""
    place = run_folder(runs, record.run_id)
    if place.exists():
        return None
    folder = place.with_name(f".{place.name}.{os.getpid()}")  # hidden until it is whole
    shutil.rmtree(folder, ignore_errors=True)
    host = str(record.machine.get("host") or record.tool)
    file = RecordingFile(folder, f"import-{record.tool}.jsonl")
    file.append(
        "head", format=FORMAT, run=record.run_id, name=record.name, role="import", host=host, boot="", pid=0, pid_start=-1,
        utc=record.started_utc.isoformat(), mono=0.0, interval_s=record.duration_s, command=[],
    )  # fmt: skip
    blank = dict.fromkeys(("cpus", "owned_cpus", "memory_bytes", "owned_memory_bytes"))
    file.append("machine", machine={"host": host, "cpu_model": "", **blank, **record.machine})
    file.append("meta", meta={**record.metadata, "imported_from": record.tool})
    file.append("params", params=dict(record.params))
    devices = record.devices or tuple(_device(record, component) for component in record.energy_j)
    file.append("devices", devices=[device_entry(d) for d in devices])
    if record.missing:
        file.append("missing", missing=[{"source": s, "why": w, "remedy": ""} for s, w in record.missing])
    file.append("columns", devices=[d.id for d in devices], counters=[], gauges=[])
    whole = tuple(record.energy_j.values())
    for t_s, joules in record.series or ((0.0, (0.0,) * len(whole)), (record.duration_s, whole)):
        file.append("tick", t=t_s, j=list(joules), c=[], g=[])
    if record.values:
        file.append("point", t=record.duration_s, values=dict(record.values))
    state = "failed" if record.failed else "finished"
    file.append(
        "end", state=state, t=record.duration_s, exit_code=1 if record.failed else 0, reason=record.reason
    )
    file.close()
    if file.fault:
        shutil.rmtree(folder, ignore_errors=True)
        raise UsageError(file.fault)
    try:
        os.rename(folder, place)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        if not place.exists():
            raise
        return None  # another process was faster
    return record.run_id


def _device(record: Imported, component: Component) -> Device:
    measured = component in record.measured
    arm = MEASURED_ARM if measured else MODELLED_ARM
    told = Known(Basis.MEASURED if measured else Basis.MODELLED, arm, arm, f"as {record.tool} recorded it")
    known = record.known.get(component, told)
    return Device(
        id=f"{record.tool}:{component.value}",
        component=component,
        meter="imported",
        basis=known.basis,
        boundary=record.boundary,
        error_low=known.below,
        error_high=known.above,
        source=known.source,
        model={"whole": True},
    )
