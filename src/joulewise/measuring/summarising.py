"""The one line that the ledger's index keeps of a recording.

Joules are kept, grams and money are not: they follow from joules, place and time when somebody asks.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from joulewise.catalogue.zones import find_zone
from joulewise.ledger.groups import MEETING
from joulewise.ledger.reducing import summary_figures
from joulewise.ledger.summary import Summary
from joulewise.measuring.attribution import Split, attribute
from joulewise.vocabulary.errors import UnknownName
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.recording import Component, Recording

_LONGEST_COMMAND = 500


def summary(recording: Recording) -> Summary:
    """Return what the index lists of a recording. Pure, and the same from any process that reads it."""
    split = attribute(recording)
    told = recording.metadata
    last: dict[str, Any] = {}
    for point in recording.points:
        last.update(point.values)
    made = Summary(
        run_id=recording.run_id,
        name=recording.name,
        host=recording.machine.host,
        role=recording.role,
        started_utc=recording.started_utc,
        duration_s=recording.duration_s,
        state=recording.end.state,
        exit_code=recording.end.exit_code,
        energy_j=split.work_j,
        idle_j=split.idle_j,
        machine_j=split.machine_j,
        components_j=_components(split),
        command=shlex.join(recording.command)[:_LONGEST_COMMAND],
        tags=dict.fromkeys(recording.params.get("tags", ()), ""),
        params={k: v for k, v in recording.params.items() if k != "tags"},
        points=len(recording.points),
        last_point=last,
        damage=len(recording.damage),
        job=job_of(recording.metadata),
        person=str(told.get("person", "")),
        project=str(told.get("project", "")),
        zone=_zone(str(told.get("zone", ""))),
        device=_device(recording),
        site=f"{told.get('cloud') or '-'} {recording.machine.facts.get('chassis') or '-'}",
        inside=str(told.get("inside_run", "")),
    )
    if (
        "reduced" in recording.metadata
    ):  # its ticks were made fewer, which changes how shared devices are split
        return replace(made, **summary_figures(recording.metadata["reduced"]))
    return made


def _zone(text: str) -> str:
    """Return a zone by its code, so that `Germany` and `DE` are one; as it was told where no catalogue knows it."""
    if text in ("", "unknown"):
        return ""
    try:
        return find_zone(text).code
    except UnknownName:
        return text


def _device(recording: Recording) -> str:
    """Return what the work ran on: the GPUs that it held, by model, else the processor."""
    gauges = recording.ticks.gauges
    boards = Counter(
        str(d.model.get("name", "GPU"))
        for d in recording.devices
        if d.component is Component.GPU and d.counted and any(gauges.get(f"gpu_work_share:{d.id}", [1.0]))
    )
    if boards:
        return ", ".join(f"{count} × {name}" if count > 1 else name for name, count in sorted(boards.items()))
    return recording.machine.cpu_model


def job_of(metadata: Mapping[str, Any]) -> str:
    """Return what the recordings of one job's nodes and ranks have in common; "" where it is none that is known.

    What the user says, else Slurm's job, torchrun's run, the MPI job. Where torchrun was given no run id, the meeting point
    of its nodes stands in (`torchrun@host:port`), which later jobs may share.
    """
    told = {key: str(value) for key, value in metadata.items() if value}
    if "job" in told:
        return f"job:{told['job']}"
    if "slurm_job" in told:
        return f"slurm:{told['slurm_job']}" + (f"@{told['slurm_cluster']}" if "slurm_cluster" in told else "")
    if told.get("torchrun_run", "none") != "none":
        return f"torchrun:{told['torchrun_run']}"
    if "torchrun_run" in told and "torchrun_master" in told:
        return f"{MEETING}{told['torchrun_master']}:{told.get('torchrun_port', '')}"
    mpi = told.get("mpi_job") or told.get("mpi_job_id")
    return f"mpi:{mpi}" if mpi else ""


def _components(split: Split) -> dict[str, float | None]:
    """Return the work's joules by component; a component with a device that is not split is unknown."""
    figures: dict[str, list[Figure | None]] = {}
    for part in split.devices:
        if part.device.counted:
            figures.setdefault(part.device.component.value, []).append(part.work_j)
    return {
        component: None if None in parts else sum(f.value for f in parts if f is not None)
        for component, parts in figures.items()
    }
