"""The recorder: a thread that ticks, reads what there is to read and appends one line to the recording.

It never breaks, hangs or outlives the work: it is a daemon thread, it takes no lock outside its process and no
signal handler, and a source that fails is named once and then missing. What it holds is small: the last tick and
the running attribution; everything else is on the disk.

Order at a tick: meters first, back to back with the clock, then the process tree and the machine's counters.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

from joulewise.ledger.files import (
    FORMAT,
    RecordingFile,
    boot_id,
    device_entry,
    parse_recording,
    process_start,
    read_recording,
)
from joulewise.measuring.agent.pages import Pages
from joulewise.measuring.attribution import Attribution
from joulewise.measuring.counters import MachineCounters
from joulewise.measuring.meters.port import Found, Meter, UsedMeter
from joulewise.measuring.process_tree import ProcessTree
from joulewise.measuring.progress import Followed, Milestone, Progress
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.recording import EndState, GpuUsage, Machine, Missing, Recording

_SYNC_EVERY_S = 30.0
_GPU_USAGE_EVERY_S = 1.0
_FOLLOW_EVERY_S = 1.0
_IDLE_AFTER_S = 1.5  # shares are taken once a second: work that got none for longer draws nothing
_STOP_WITHIN_S = 2.0
_TREE_COUNTERS = (
    "work_cpu_s",
    "read_bytes",
    "written_bytes",
    "requested_read_bytes",
    "requested_written_bytes",
    "run_delay_s",
    "blkio_delay_s",
)
_MACHINE_COUNTERS = (
    "busy_cpu_s",
    "iowait_s",
    "received_bytes",
    "sent_bytes",
    "pressure_cpu_s",
    "pressure_io_s",
    "pressure_memory_s",
)
_WHOLE = ("run", "serve")  # roles of which the root process is the work from its first moment on
_GAUGES = ("resident_bytes", "processes", "threads", "memory_used_bytes")


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be recorded: its name, root process, command, and what the user says about it."""

    name: str
    root_pid: int
    role: str = "run"  # run, track or attach
    command: tuple[str, ...] = ()
    params: Mapping[str, Any] | None = None
    mark: str = ""  # the value of JOULEWISE_RECORDING in the environment of the work, if it has one


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The recording so far, as of its last tick: cheap enough to ask for every second."""

    t_s: float
    energy_j: Figure | None  # of this work
    idle_j: Figure | None
    machine_j: Figure | None
    power_w: float | None  # of this work, over the last tick
    last_point: Mapping[str, Any]
    points: int
    trials: int
    milestones: tuple[Milestone, ...] = ()
    improvement: float | None = None  # of the best value over five epochs (vocabulary.budget)
    work_cpu_s: float | None = None  # CPU seconds of this work, at the same tick as its joules
    gauges: Mapping[str, float | None] = field(default_factory=dict)  # as of that tick, by column


@final
class Recorder:
    """Records one process tree into one folder (or into memory where the folder cannot be written).

    `survey` looks for meters and `describe` for slow metadata; both run in the recorder's thread, so that
    starting costs the work nothing. `started` is the monotonic time at which the work began.
    """

    def __init__(
        self,
        work: Work,
        folder: Path | None,
        run_id: str,
        *,
        survey: Callable[[], Iterable[Found]],
        machine: Callable[[], Machine],
        describe: Callable[[], Mapping[str, Any]] = dict,
        interval_s: float = 1.0,
        started_s: float | None = None,
    ) -> None:
        self.work = work
        self.run_id = run_id
        self.interval_s = interval_s
        self.started_s = time.monotonic() if started_s is None else started_s
        self._survey, self._describe, self._find_machine = survey, describe, machine
        host = os.uname().nodename
        pid = self.process = os.getpid()
        file_name = f"{work.role}-{host}-{pid}.jsonl"
        self._file = RecordingFile(folder, file_name)
        self._followed = Followed(folder, file_name)
        self._followed_s = float("-inf")
        self._progress = Progress()
        self._folder = folder
        self.expects_agent = False  # whether Python processes of this work were given one
        self._agents = (
            Pages(str(folder), self.started_s, work.root_pid) if folder and work.role == "run" else None
        )
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._own_cpu_s: float | None = None
        self._thread = threading.Thread(target=self._run, name="joulewise", daemon=True)
        self._meters: list[Meter] = []
        self._used: list[UsedMeter] = []
        self._shared_s = 0.0
        self._lost: set[str] = set()
        self._gpu_used: dict[str, tuple[float, GpuUsage, float | None]] = {}
        self._attribution: Attribution | None = None
        self._ticked: tuple[float, float | None] | None = None  # time and watts of the last tick
        self._work_cpu_s: float | None = None
        self._gauges: Mapping[str, float | None] = {}
        self._closing: dict[str, Any] = {}
        self._closed = False
        self._fault = ""
        self._root_cpu_s: float | None = None
        began = datetime.now(UTC).timestamp() - (time.monotonic() - self.started_s)
        self._append(
            "head",
            format=FORMAT,
            run=run_id,
            name=work.name,
            role=work.role,
            host=host,
            boot=boot_id(),
            pid=pid,
            pid_start=process_start(pid),
            root_pid=work.root_pid,
            root_start=process_start(work.root_pid),
            utc=datetime.fromtimestamp(began, UTC).isoformat(timespec="milliseconds"),
            mono=self.started_s,
            interval_s=interval_s,
            command=list(work.command),
        )
        if work.params:
            self._append("params", params=dict(work.params))

    @property
    def folder(self) -> Path | None:
        """Where the recording is kept; None if it is kept in memory only."""
        return self._folder

    @property
    def fault(self) -> str:
        """Why nothing, or not everything, is kept on disk; "" if all is well."""
        return self._fault or self._file.fault

    @property
    def latest(self) -> Snapshot | None:
        """The recording as of its last tick; None before the first. Its figures are made when they are asked for."""
        with self._lock:
            return self._snapshot()

    def start(self) -> None:
        """Begin to tick in a daemon thread; returns at once.

        A process that records itself is counted from here on (one that serves, from its beginning: that is what waking costs): a call that holds the interpreter (a long sum, a
        compiled kernel) may keep the thread from its first tick until it is over.
        """
        if self.work.root_pid == os.getpid() and self.work.role not in _WHOLE:
            self._own_cpu_s = time.process_time()
        self._thread.start()

    def now_s(self) -> float:
        """Return seconds since the work began."""
        return time.monotonic() - self.started_s

    def append(self, kind: str, /, **values: Any) -> None:
        """Add a line of the program's own: a span, a point, parameters. Safe from any thread."""
        with self._lock:
            if kind == "point":
                self._progress.take(values["values"])
            self._append(kind, t=round(self.now_s(), 4), **values)

    def note(self, kind: str, text: str) -> None:
        """Add something worth telling to the recording."""
        self.append("note", kind=kind, text=text)

    def stop(
        self,
        state: EndState,
        *,
        exit_code: int | None = None,
        signal: int | None = None,
        reason: str = "",
        root_cpu_s: float | None = None,
    ) -> Recording:
        """Take the last tick, write the end and return the recording; waits at most two seconds for the thread.

        `root_cpu_s` is what the root process used in all, where its parent knows it exactly (wait4).
        """
        self._root_cpu_s = root_cpu_s
        self._closing = {
            "state": state.value,
            "exit_code": exit_code,
            "signal": signal,
            "reason": reason,
            "t": round(self.now_s(), 4),
        }
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(_STOP_WITHIN_S)
        if not self._closed:
            self._end_without_thread()
        return self.recording()

    def _end_without_thread(self) -> None:
        """End a recording whose thread failed or hangs (in a meter, or in writing: then the lock cannot be had)."""
        why = self._fault or "a source did not answer in time; the last tick is missing"
        if self._lock.acquire(timeout=_STOP_WITHIN_S):
            self._append("note", t=self._closing["t"], kind="fault", text=why)
            self._end()
            self._lock.release()

    def recording(self) -> Recording:
        """Return what has been recorded so far."""
        if self._folder is not None and not self._file.kept_in_memory:
            return read_recording(self._folder)
        return parse_recording(
            {"memory": self._file.kept_in_memory.splitlines(keepends=True)}, self.work.name
        )

    def _append(self, kind: str, /, **values: Any) -> None:
        self._file.append(kind, **values)

    def _run(self) -> None:
        try:
            self._record()
        except Exception as error:  # noqa: BLE001 - the thread's edge: a fault of ours never reaches the program
            self._fault = f"the recorder failed: {type(error).__name__}: {error}"

    def _end(self) -> None:
        """Write the end, once."""
        if not self._closed:
            self._closed = True
            self._append("end", **self._closing)
            self._file.sync()
            self._file.close()

    def _record(self) -> None:
        meters = self._open()
        tree = ProcessTree(self.work.root_pid, from_start=self.work.role in _WHOLE, mark=self.work.mark)
        if self._own_cpu_s is not None:
            tree.root_began(time.process_time() - self._own_cpu_s)
        counters = MachineCounters(self.work.root_pid)
        self._columns()
        self._tick(meters, tree, counters)
        with self._lock:
            self._append("meta", meta=dict(self._describe()))
        synced = due = time.monotonic()
        while True:
            due += self.interval_s
            now = time.monotonic()
            if due <= now:  # the machine slept or was busy: skip what is past
                due = now + self.interval_s
            if self._ended.wait(due - now):
                break
            self._tick(meters, tree, counters)
            if due - synced >= _SYNC_EVERY_S:
                synced = due
                self._file.sync()
        if self._root_cpu_s is not None:
            tree.root_used(self._root_cpu_s)
        self._tick(meters, tree, counters)
        self._look_inside(last=True)
        for meter in meters:
            meter.close()
        with self._lock:
            self._end()

    def _open(self) -> list[Meter]:
        """Look for meters and the machine, and write down what is there and what is missing."""
        machine = self._find_machine()
        missing: list[Missing] = []
        for found in self._survey():
            self._meters += found.meters
            missing += found.missing
        devices = [m.device for m in self._meters]
        self._attribution = Attribution(devices, machine)
        with self._lock:
            self._append("machine", machine=asdict(machine))
            self._append("devices", devices=[device_entry(d) for d in devices])
            if missing:
                self._append("missing", missing=[asdict(m) for m in missing])
        return self._meters

    def _columns(self) -> None:
        gauges = list(_GAUGES)
        self._used = [m for m in self._meters if isinstance(m, UsedMeter)]
        for meter in self._used:
            gauges += [
                f"gpu_{kind}:{meter.device.id}"
                for kind in ("utilisation", "memory_bytes", "work_share", "sm_activity")
            ]
        self._gauge_names = gauges
        with self._lock:
            self._append(
                "columns",
                devices=[m.device.id for m in self._meters],
                counters=[*_TREE_COUNTERS, *_MACHINE_COUNTERS],
                gauges=gauges,
            )

    def _tick(self, meters: Sequence[Meter], tree: ProcessTree, machine: MachineCounters) -> None:
        t_s = self.now_s()
        readings = [meter.read() for meter in meters]
        sample = tree.sample(t_s)
        values = machine.sample(t_s)
        values.update(
            work_cpu_s=sample.cpu_s,
            read_bytes=sample.read_bytes,
            written_bytes=sample.written_bytes,
            requested_read_bytes=sample.requested_read_bytes,
            requested_written_bytes=sample.requested_written_bytes,
            run_delay_s=sample.run_delay_s,
            blkio_delay_s=sample.blkio_delay_s,
            resident_bytes=sample.resident_bytes,
            processes=sample.processes,
            threads=sample.threads,
        )
        for meter in self._used:
            values.update(self._gpu_gauges(meter.device.id, meter, tree, t_s))
        counters = {n: values.get(n) for n in (*_TREE_COUNTERS, *_MACHINE_COUNTERS)}
        gauges = {n: values.get(n) for n in self._gauge_names}
        energy = {r.device: r.energy_j for r in readings}
        with self._lock:
            self._append(
                "tick",
                t=round(t_s, 4),
                j=[None if r.energy_j is None else round(r.energy_j, 4) for r in readings],
                r=[r.raw for r in readings],
                c=[None if v is None else round(v, 4) for v in counters.values()],
                g=[None if v is None else round(v, 4) for v in gauges.values()],
            )
            for reading in readings:
                # at the last tick the work is gone, and with it what belonged to it (its network namespace)
                if reading.energy_j is None and reading.device not in self._lost and not self._ended.is_set():
                    self._lost.add(reading.device)
                    self._append(
                        "note",
                        t=round(t_s, 4),
                        kind="lost",
                        text=f"{reading.device} cannot be read: {reading.why}",
                    )
        if self._attribution is not None:
            with self._lock:
                before_j = self._attribution.read_joules
                self._attribution.add(t_s, energy, counters, gauges)
                grown_j = self._attribution.read_joules - before_j
                power_w = self._ticked[1] if self._ticked else None
                span_s = t_s - self._shared_s
                if self._ticked and (grown_j > 0 or span_s > _IDLE_AFTER_S):
                    power_w = grown_j / max(span_s, 1e-3)
                    self._shared_s = t_s
                self._ticked = (t_s, power_w)
                self._work_cpu_s, self._gauges = sample.cpu_s, gauges
                self._progress.mark(self._attribution.work_joules, t_s)
            self._follow(t_s)

    def _follow(self, t_s: float) -> None:
        """Take in what the work's own processes have logged, once a second at most."""
        if t_s - self._followed_s >= _FOLLOW_EVERY_S * 0.9:
            self._followed_s = t_s
            self._look_inside()
            points = list(self._followed.new_points())
            with self._lock:
                for values in points:
                    self._progress.take(values)

    def _look_inside(self, *, last: bool = False) -> None:
        """Write down what the agents in the work's Python processes have seen."""
        if self._agents is None:
            return
        end_s = self.started_s + self._closing["t"] if "t" in self._closing else None
        news = self._agents.look(time.monotonic(), last=last, root_end_s=end_s)
        with self._lock:
            for entry in news:
                self._append("seen", **entry)
            if last and self.expects_agent and not self._agents.any_seen and _is_python(self.work.command):
                self._append(
                    "note",
                    t=round(self.now_s(), 4),
                    kind="phases",
                    text="the program's Python did not load joulewise's hook (python -I, -S or -E, or older than 3.9): "
                    "its phases are not seen, only what shows from outside",
                )

    def _gpu_gauges(
        self, device: str, meter: UsedMeter, tree: ProcessTree, t_s: float
    ) -> dict[str, float | None]:
        at_s, usage, share = self._gpu_used.get(device, (float("-inf"), GpuUsage(None, None, None), None))
        if t_s - at_s >= _GPU_USAGE_EVERY_S * 0.9:
            usage, share = meter.usage(), meter.work_share(tree.pids)
            self._gpu_used[device] = (t_s, usage, share)
        return {
            f"gpu_utilisation:{device}": usage.utilisation,
            f"gpu_memory_bytes:{device}": usage.memory_used_bytes,
            f"gpu_work_share:{device}": share,
            f"gpu_sm_activity:{device}": usage.sm_activity,
        }

    def _snapshot(self) -> Snapshot | None:
        if self._ticked is None or self._attribution is None:
            return None
        split, seen = self._attribution.split(), self._progress
        return Snapshot(
            t_s=self._ticked[0],
            energy_j=split.work_j,
            idle_j=split.idle_j,
            machine_j=split.machine_j,
            power_w=self._ticked[1],
            last_point=seen.last_point,
            points=seen.points,
            trials=seen.trials,
            milestones=seen.milestones,
            improvement=seen.improvement,
            work_cpu_s=self._work_cpu_s,
            gauges=self._gauges,
        )


def _is_python(command: Sequence[str]) -> bool:
    return bool(command) and os.path.basename(command[0]).startswith("python")
