"""Slurm's accounting: what jobs of the past used and wasted, though nobody recorded them.

One record a job, of its rows in `sacct --parsable2` (the allocation, then its steps). Joules, by component:

energy   ConsumedEnergyRaw where Slurm counted it: of the whole nodes, so a job that shared one may have less; a value that no
         node can draw is unknown
cpu      else modelled: watts of the allocated CPUs at full load x the measured load curve (catalogue.load_curve) at
         TotalCPU / (elapsed x allocated). Where TotalCPU was not gathered the load is not known, and the interval says so
memory   0.38 W/GB of what was allocated (measuring.meters.modelled)
gpu      allocated boards x the watts that the user names; else missing, which is not zero

Times are the cluster's local ones, without an offset: read as local, or by `SLURM_TIME_FORMAT=%s` as seconds since 1970.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from joulewise.catalogue.load_curve import full_load, share_of_full_load
from joulewise.catalogue.processors import find_processor
from joulewise.exchange.imported import Imported, Known
from joulewise.measuring.meters.modelled import MEMORY_W_PER_BYTE
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.figures import Basis, Boundary, relative
from joulewise.vocabulary.recording import Component

COLUMNS = (
    "JobID", "JobName", "User", "Account", "Cluster", "State", "Start", "End", "ElapsedRaw", "AllocCPUS", "NNodes",
    "NodeList", "AllocTRES", "ReqMem", "MaxRSS", "NTasks", "TotalCPU", "ConsumedEnergyRaw",
)  # fmt: skip
_NEEDED = ("JobID", "State", "Start", "ElapsedRaw", "AllocCPUS")
_UNITS = {"": 1.0, "K": 2.0**10, "M": 2.0**20, "G": 2.0**30, "T": 2.0**40, "P": 2.0**50}
_MOST_NODE_W = 20_000.0  # a node with eight GPUs draws 10 kW
_NEIGHBOURS = 0.5  # what a job on a shared node may have less than the node's counter says
_COUNTER_ARM = 0.10
_MEMORY_ARM = 0.5
_GPU_ARM = 0.4
_UNKNOWN_LOAD = 0.5


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the user knows of the nodes: the processor by name, watts a CPU at full load, watts a GPU in use (0: not known).

    `covers` is what the cluster's energy plugin counts: the processors (rapl) or the node (ipmi, xcc, pm_counters).
    """

    cpu_model: str = ""
    cpu_w: float = 0.0
    gpu_w: float = 0.0
    covers: Boundary = Boundary.DEVICE
    node_cpus: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """One job as the accounting tells it. None is unknown, which is not zero."""

    id: str
    name: str
    user: str
    account: str
    cluster: str
    state: str  # COMPLETED, FAILED, TIMEOUT, OUT_OF_MEMORY, CANCELLED, ...
    started_utc: datetime
    elapsed_s: float
    cpus: int
    nodes: int
    node_list: str
    cpu_s: float | None  # used
    memory_bytes: float | None  # allocated
    used_memory_bytes: float | None  # MaxRSS of its hungriest step, all its tasks
    gpus: int
    energy_j: float | None  # counted

    @property
    def key(self) -> str:
        """What names it among all jobs, as recordings of it do: `slurm:4711@cluster`."""
        return f"slurm:{self.id}" + (f"@{self.cluster}" if self.cluster else "")

    @property
    def load(self) -> float | None:
        """The used share of its allocated CPUs, 0 to 1; None where it was not gathered."""
        if self.cpu_s is None or self.elapsed_s <= 0:
            return None
        return min(1.0, self.cpu_s / (self.elapsed_s * self.cpus))


def read(text: str) -> tuple[list[Job], int]:
    """Return the jobs that have ended, and how many rows of others were left out; UsageError, with its line, for what is none."""
    rows = csv.reader(io.StringIO(text), delimiter="|", quoting=csv.QUOTE_NONE)
    heads = next(rows, [])
    lacking = [name for name in _NEEDED if name not in heads]
    if lacking:
        raise UsageError(
            f"this is not what sacct --parsable2 prints: it has no column {', '.join(lacking)}; "
            f"ask for it: sacct --parsable2 --format={','.join(COLUMNS)}"
        )
    jobs: dict[tuple[str, str, str], dict[str, str]] = {}
    steps: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    latest: dict[str, tuple[str, str, str]] = {}
    for number, line in enumerate(rows, 2):
        if not line:
            continue
        cells = _rejoined(line, heads)
        if len(cells) != len(heads):
            raise UsageError(f"line {number} has {len(cells)} values, but there are {len(heads)} columns")
        row = dict(zip(heads, cells, strict=True))
        job, dot, _step = row["JobID"].partition(".")
        if dot:  # of the allocation above it
            steps.setdefault(latest.get(job, ("", job, "")), []).append(row)
        else:
            latest[job] = (row.get("Cluster", ""), job, row["Start"])  # a requeued job comes again
            jobs[latest[job]] = {**row, "line": str(number)}
    made = []
    for key, row in jobs.items():
        try:
            job_made = _job(row, steps.get(key, []))
        except (ValueError, OverflowError) as error:
            raise UsageError(f"line {row['line']}: {error}") from None
        if job_made is not None:
            made.append(job_made)
    return made, len(jobs) - len(made)


def _rejoined(cells: Sequence[str], heads: Sequence[str]) -> Sequence[str]:
    """Return a row whose job's name, the one free text, holds the delimiter, with that name as one cell."""
    more = len(cells) - len(heads)
    if more <= 0 or "JobName" not in heads:
        return cells
    at = heads.index("JobName")
    return [*cells[:at], "|".join(cells[at : at + more + 1]), *cells[at + more + 1 :]]


def _job(row: Mapping[str, str], steps: Iterable[Mapping[str, str]]) -> Job | None:
    """Return a job; None for one that waits, runs or never had anything allocated."""
    state = row["State"].partition(" ")[0].rstrip("+")
    started = _moment(row["Start"])
    elapsed_s, cpus = float(row["ElapsedRaw"] or 0), int(row["AllocCPUS"] or 0)
    if state in ("PENDING", "RUNNING", "SUSPENDED", "REQUEUED", "RESIZING") or started is None:
        return None
    if elapsed_s <= 0 or cpus <= 0:
        return None
    work = [s for s in steps if not s["JobID"].endswith(".extern")]
    nodes = max(1, int(row.get("NNodes") or 1))
    tres = dict(part.partition("=")[::2] for part in row.get("AllocTRES", "").split(",") if part)
    rss = [b for s in work if (b := _step_rss(s)) is not None]
    cpu_s = _seconds(row.get("TotalCPU", ""))
    counted = _counted(row) if _counted(row) is not None else _sum(_counted(s) for s in work)
    return Job(
        id=row["JobID"],
        name=row.get("JobName", "") or row["JobID"],
        user=row.get("User", ""),
        account=row.get("Account", ""),
        cluster=row.get("Cluster", ""),
        state=state,
        started_utc=started,
        elapsed_s=elapsed_s,
        cpus=cpus,
        nodes=nodes,
        node_list=row.get("NodeList", ""),
        cpu_s=cpu_s
        or None,  # Slurm writes 0 where it gathers nothing, and nothing runs without a moment of it
        memory_bytes=_bytes(tres.get("mem", "")) or _asked_memory(row.get("ReqMem", ""), cpus, nodes),
        used_memory_bytes=max(rss, default=None),
        gpus=int(float(tres.get("gres/gpu", "0") or 0)),
        energy_j=counted if counted is not None and counted / elapsed_s <= _MOST_NODE_W * nodes else None,
    )


def imported(job: Job, hardware: Hardware = Hardware()) -> Imported:
    """Return a job as a record: joules by component with how they are known, and what it asked for and used."""
    energy_j: dict[Component, float] = {}
    known: dict[Component, Known] = {}
    missing: list[tuple[str, str]] = []
    boundary = Boundary.DEVICE
    if job.energy_j is not None:
        alone = hardware.node_cpus > 0 and job.cpus >= job.nodes * hardware.node_cpus
        low = _COUNTER_ARM if alone else _NEIGHBOURS
        words = "Slurm's ConsumedEnergyRaw of its nodes" + ("" if alone else ", which neighbours may share")
        energy_j[Component.OTHER] = job.energy_j
        known[Component.OTHER] = Known(Basis.MEASURED, low, _COUNTER_ARM, words)
        boundary = hardware.covers
    else:
        joules, how = _cpu(job, hardware)
        energy_j[Component.CPU], known[Component.CPU] = joules, how
        if job.memory_bytes is not None:
            energy_j[Component.MEMORY] = MEMORY_W_PER_BYTE * job.memory_bytes * job.elapsed_s
            known[Component.MEMORY] = Known(Basis.MODELLED, _MEMORY_ARM, _MEMORY_ARM, "0.38 W/GB allocated")
    if job.gpus and (job.energy_j is None or hardware.covers is Boundary.DEVICE):
        if hardware.gpu_w:
            energy_j[Component.GPU] = hardware.gpu_w * job.gpus * job.elapsed_s
            words = f"{job.gpus} x {hardware.gpu_w:g} W, as the user says"
            known[Component.GPU] = Known(Basis.ASSUMED, _GPU_ARM, _GPU_ARM, words)
        else:
            missing.append(("gpu", f"{job.gpus} GPUs were allocated; what they drew the accounting does not tell"))  # fmt: skip
    return Imported(
        tool="sacct",
        name=job.name,
        started_utc=job.started_utc,
        duration_s=job.elapsed_s,
        energy_j=energy_j,
        boundary=boundary,
        machine={
            "host": job.node_list or "slurm",
            "owned_cpus": float(job.cpus),
            "cpu_model": hardware.cpu_model,
        },
        metadata={
            key: value
            for key, value in {
                "person": job.user,
                "project": job.account,
                "slurm_job": job.id,
                "slurm_cluster": job.cluster,
                "slurm_state": job.state,
            }.items()
            if value
        },
        params={
            key: value
            for key, value in {
                "cpus": job.cpus,
                "nodes": job.nodes,
                "gpus": job.gpus,
                "cpu_load": job.load,
                "memory_bytes": job.memory_bytes,
                "used_memory_bytes": job.used_memory_bytes,
            }.items()
            if value is not None
        },
        failed=job.state != "COMPLETED",
        missing=tuple(missing),
        known=known,
        identity=f"{job.key} {job.started_utc.isoformat()}",
        reason="" if job.state == "COMPLETED" else f"Slurm says {job.state}",
    )


def _cpu(job: Job, hardware: Hardware) -> tuple[float, Known]:
    processor = find_processor(hardware.cpu_model) if hardware.cpu_model else None
    if hardware.cpu_w:
        full = relative(hardware.cpu_w * job.cpus, 0.25, 0.25, Basis.MODELLED, f"{hardware.cpu_w:g} W a CPU, as the user says")  # fmt: skip
    else:
        tdp_w, threads = (processor.tdp_w, processor.threads) if processor else (None, None)
        full = full_load(cpus=job.cpus, tdp_w=tdp_w, sockets=None, threads=threads, virtual=True)
    load = job.load
    share = share_of_full_load(_UNKNOWN_LOAD if load is None else load)
    below, above = full.relative_low, full.relative_high
    words = f"{full.source}; load curve at {'unknown' if load is None else f'{100 * load:.0f} %'} load"
    if load is None:  # anything from idle to full
        below = 1 - (1 - below) * share_of_full_load(0.0) / share
        above = (1 + above) / share - 1
    basis = Basis.ASSUMED if load is None else full.basis
    return full.value * share * job.elapsed_s, Known(basis, below, above, words)


def _moment(text: str) -> datetime | None:
    if text in ("", "Unknown", "None"):
        return None
    if text.isdecimal():
        return datetime.fromtimestamp(int(text), UTC)
    return datetime.fromisoformat(text).astimezone(UTC)


def _seconds(text: str) -> float | None:
    """Return seconds from `1-02:03:04`, `02:03:04` or `03:04.567`; None for nothing."""
    if not text:
        return None
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", text)
    if match is None:
        raise ValueError(f"TotalCPU is {text!r}, but must be a time such as 1-02:03:04")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _bytes(text: str) -> float | None:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGTP]?)B?", text)
    return float(match[1]) * _UNITS[match[2]] if match else None


def _asked_memory(text: str, cpus: int, nodes: int) -> float | None:
    """Return the bytes asked for; older Slurms say them a node (`4Gn`) or a CPU (`2Gc`)."""
    size = _bytes(text.rstrip("nc"))
    if not size:  # 0 is "all of the node"
        return None
    return size * (nodes if text.endswith("n") else cpus if text.endswith("c") else 1)


def _step_rss(step: Mapping[str, str]) -> float | None:
    """Return a step's resident bytes: those of its hungriest task for each of its tasks, an upper end."""
    one = _bytes(step.get("MaxRSS", ""))
    return None if one is None else one * max(1, int(step.get("NTasks") or 1))


def _counted(row: Mapping[str, str]) -> float | None:
    text = row.get("ConsumedEnergyRaw", "")
    joules = float(text) if text else 0.0
    return joules if math.isfinite(joules) and 0 < joules < 2**62 else None  # 0 and 2^64 - 2 say: none


def _sum(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) if known else None
