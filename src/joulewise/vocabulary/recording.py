"""A recording is what one process tree did: metadata, devices, ticks, spans, points and an end state.

These are values only. `ledger.files` writes and reads them; `measuring.recorder` makes them;
`measuring.attribution` and `measuring.accounting` compute from them.

Times inside a recording are seconds since its start on the monotonic clock (`t_s`); the start itself is a
UTC time. Cumulative series start at their first reading and only grow, so a lost tick loses detail, not energy.
`None` in a series means "could not be read at that tick", which is neither absent nor zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from joulewise.vocabulary.figures import Basis, Boundary


class Component(StrEnum):
    """The part of the machine that a device belongs to."""

    CPU = "cpu"
    GPU = "gpu"
    MEMORY = "memory"
    STORAGE = "storage"
    NETWORK = "network"
    OTHER = "other"  # fans, board, power supply: the uplift from the devices to the wall
    NODE = "node"  # a sensor that sees the whole machine: shown beside the parts, never added to them


@dataclass(frozen=True, slots=True)
class Device:
    """One device as a meter sees it, and how well it is known.

    `id` is stable on a host (`rapl:package-0`, `nvml:GPU-6d2...`); `uuid` is the same from every process and
    container that sees the device (used so that no device is counted twice). `error_low` and `error_high` are
    the relative arms of the 90 % interval of its joules (0.05 is 5 %). `within` names the device that already
    contains this one; such a device is shown and never added. `model` holds the parameters of a modelled device.
    """

    id: str
    component: Component
    meter: str
    basis: Basis
    boundary: Boundary
    error_low: float
    error_high: float
    source: str
    uuid: str = ""
    within: str = ""
    note: str = ""
    model: Mapping[str, Any] = field(default_factory=dict)

    @property
    def counted(self) -> bool:
        """Whether its joules add to the machine's (not contained in another device, not a whole-node sensor)."""
        return not self.within and self.component is not Component.NODE


@dataclass(frozen=True, slots=True)
class Reading:
    """One device's energy since its meter opened, in joules, with the raw counter value where there is one.

    `energy_j` only grows. It is None when the device could not be read this time (`why` says so).
    """

    device: str
    energy_j: float | None
    basis: Basis
    raw: int | float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Missing:
    """A source that cannot be read: what, why, and what the reader of the message can do about it."""

    source: str
    why: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class GpuUsage:
    """How one GPU was used at a tick. Shares are 0 to 1; None means the driver does not tell.

    `process_ids` are the processes that hold the device as this process sees them (None: not told). `sm_activity` is the share
    of multiprocessors that worked since the last look.
    """

    utilisation: float | None
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    process_ids: tuple[int, ...] | None = None
    sm_activity: float | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """One stretch of work with a name: nested by `parent`, possibly concurrent with others."""

    name: str
    start_s: float
    end_s: float | None  # None: still open when the recording ended
    id: int
    parent: int | None = None
    thread: str = ""
    process: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """What the program logged at one moment: loss, accuracy, epoch, step, samples."""

    t_s: float
    values: Mapping[str, Any]
    process: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth telling that happened while recording: a source lost, a budget warning."""

    t_s: float
    kind: str
    text: str


class EndState(StrEnum):
    """How a recording ended."""

    RUNNING = "running"  # its process is alive
    FINISHED = "finished"  # exit code 0
    FAILED = "failed"  # another exit code, or an exception
    KILLED = "killed"  # ended by a signal
    STOPPED = "stopped"  # stopped by a budget
    LOST = "lost"  # the recorder itself was killed: everything up to its last tick is here


@dataclass(frozen=True, slots=True)
class End:
    """The end of a recording: its state, when, the exit code or signal and the reason in words."""

    state: EndState
    t_s: float
    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ticks:
    """The series of a recording, one entry per tick in every list.

    `energy_j[device]` and the `counters` are cumulative; the `gauges` are the values at the tick. Names and units:

    counters: `work_cpu_s` CPU seconds of the process tree (ended children included); `busy_cpu_s` of the whole
    machine; `iowait_s` machine seconds a CPU idled while I/O was pending; `blkio_delay_s` of the tree (only where
    delay accounting is on); `run_delay_s` seconds the tree waited for a CPU; `read_bytes`, `written_bytes` of the
    tree at the storage layer; `read_calls_bytes`, `written_calls_bytes` asked for by the tree, cache included;
    `received_bytes`, `sent_bytes` of the tree's network namespace; `pressure_cpu_s`, `pressure_io_s`,
    `pressure_memory_s` seconds in which some task stalled (PSI).

    gauges: `resident_bytes`, `processes`, `threads` of the tree; `memory_used_bytes` of the machine;
    `gpu_utilisation:<device>`, `gpu_memory_bytes:<device>`, `gpu_work_share:<device>`, `gpu_sm_activity:<device>`.
    """

    t_s: list[float]
    energy_j: dict[str, list[float | None]]
    counters: dict[str, list[float | None]]
    gauges: dict[str, list[float | None]]


@dataclass(frozen=True, slots=True)
class Machine:
    """The hardware as the recorder saw it: what exists and what the recorded tree owns of it.

    `cpus` are those online; `owned_cpus` is what the tree may use at most: the least of affinity, cpuset and
    cgroup quota (a fraction is possible). Unknown is None.
    """

    host: str
    cpus: int | None
    owned_cpus: float | None
    memory_bytes: int | None
    owned_memory_bytes: int | None
    cpu_model: str = ""
    virtual: bool | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recording:
    """Everything one recorder wrote about one process tree (see the module's docstring for units)."""

    run_id: str
    name: str
    role: str  # run, track or attach
    started_utc: datetime
    process: str  # host-pid of the writer
    command: tuple[str, ...]
    metadata: Mapping[str, Any]
    params: Mapping[str, Any]
    machine: Machine
    devices: tuple[Device, ...]
    missing: tuple[Missing, ...]
    ticks: Ticks
    spans: tuple[Span, ...]
    points: tuple[Point, ...]
    notes: tuple[Note, ...]
    end: End
    interval_s: float
    damage: tuple[str, ...] = ()  # lines that could not be read, said when shown
    seen: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by process: see vocabulary.observed

    @property
    def duration_s(self) -> float:
        """Seconds from the start to the end state (or to the last tick of a lost recording)."""
        return self.end.t_s
