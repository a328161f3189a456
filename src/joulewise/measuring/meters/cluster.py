"""A cluster's own figures: the counters of HPE Cray nodes, and what Slurm accounted for a job.

Cray (/sys/cray/pm_counters, readable by all): one line per file, `35011 J 1663836010131873 us`, moved ten times a
second by the board's controller. `energy` is the whole node; `cpu_energy`, `memory_energy` and `accelN_energy` are
parts of it and are what counts (`accelN` is one module: on an MI250X two GPUs as the system counts them). All files
are read between two looks at `freshness`, which moves with every update, so they belong to one moment; `startup`
changes when the counters begin anew. A `freshness` that stands still for five seconds means a controller that
hangs: the figures are unknown then.

Slurm (`ConsumedEnergyRaw`, joules) is what a plugin on the nodes read: RAPL, IPMI or pm_counters, whichever the
administrators chose; the whole node's, so a job's own only where it had its nodes to itself. Nothing configured
shows as 0 or empty, which means unknown. The plugin for RAPL is reported to tell far too much on newer Intel
processors (accounting page of the HSUper cluster, Hamburg), so use the figure as a comparison, not as the truth.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from joulewise.measuring.meters.counter import GrowingCounter
from joulewise.measuring.meters.host import host_key
from joulewise.measuring.meters.polling import Poller
from joulewise.measuring.meters.port import Found, Meter
from joulewise.vocabulary.errors import MeterError, UsageError
from joulewise.vocabulary.figures import Basis, Boundary, Figure
from joulewise.vocabulary.recording import Component, Device, Missing, Reading

PM_COUNTERS = Path("/sys/cray/pm_counters")
SLURM_INTERVAL_S = 30.0  # sstat asks a daemon on every node of the job: no more often than this

_PARTS = re.compile(r"^(?:(cpu|memory|accel)([0-9]*)_)?energy$")
_NODE_ERROR = 0.05
_PART_ERROR = 0.10
_SLURM_ERROR = 0.10
_IMPOSSIBLE_W = 50_000.0
_ONE_MOMENT_S = 0.05  # what one meter read serves the others for so long
_STILL_S = 5.0
_ATTEMPTS = 4
_NO_VALUE = 2**63  # Slurm's "none" is near 2^64 and leaks into its output

Runner = Callable[[Sequence[str]], str]


@dataclass(frozen=True, slots=True)
class _Moment:
    """All counters as they stood together, in joules; what could not be read says why in `faults`."""

    serial: int
    at_s: float
    joules: Mapping[str, int]
    faults: Mapping[str, str]
    startup: int | None
    still_s: float


@final
class CrayCounters:
    """The files of one folder, read together: whoever asks within 50 ms gets the same moment, but never twice."""

    def __init__(
        self, folder: Path, names: Sequence[str], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.folder = folder
        self._names = tuple(names)
        self._monotonic = monotonic
        self._freshness: int | None = None
        self._moved_s = monotonic()
        self._moment = self._look(1)

    def moment(self, seen: int = 0) -> _Moment:
        """Return a moment other than number `seen`, and not older than 50 ms."""
        if self._moment.serial == seen or self._monotonic() - self._moment.at_s > _ONE_MOMENT_S:
            self._moment = self._look(self._moment.serial + 1)
        return self._moment

    def _look(self, serial: int) -> _Moment:
        joules: dict[str, int] = {}
        faults: dict[str, str] = {}
        for _ in range(_ATTEMPTS):
            before = self._number("freshness")
            joules, faults = self._all()
            if self._number("freshness") == before:
                break
        now_s = self._monotonic()
        if before is None or before != self._freshness:
            self._freshness, self._moved_s = before, now_s
        return _Moment(serial, now_s, joules, faults, self._number("startup"), now_s - self._moved_s)

    def _all(self) -> tuple[dict[str, int], dict[str, str]]:
        joules: dict[str, int] = {}
        faults: dict[str, str] = {}
        for name in self._names:
            path = self.folder / name
            try:
                words = path.read_text(encoding="ascii").split()
                if words[1:2] != ["J"]:
                    raise ValueError(" ".join(words))
                joules[name] = int(words[0])
            except OSError as fault:
                faults[name] = f"{path}: {fault.strerror}"
            except ValueError as fault:
                faults[name] = f"{path} holds {str(fault)[:60]!r}, not joules"
        return joules, faults

    def _number(self, name: str) -> int | None:
        """Return the number in a file that has one; None where there is no such file."""
        try:
            return int((self.folder / name).read_text(encoding="ascii").split()[0])
        except (OSError, ValueError, IndexError):
            return None


@final
class CrayMeter:
    """One counter of `counters`: the node (`energy`) or a part. Raises MeterError where it cannot be read."""

    def __init__(self, device: Device, name: str, counters: CrayCounters) -> None:
        self.device = device
        self._name = name
        self._counters = counters
        self._closed = False
        moment = counters.moment()
        if name not in moment.joules:
            raise MeterError(moment.faults[name])
        self._startup = moment.startup
        self._seen = moment.serial
        self._counter = GrowingCounter(moment.joules[name], moment.at_s, unit_j=1.0, limit_w=_IMPOSSIBLE_W)

    def read(self) -> Reading:
        """Return joules since opening and the counter in joules; None and why where it cannot be read."""
        if self._closed:
            return self._unknown(f"the meter of {self.device.id} was closed")
        moment = self._counters.moment(self._seen)
        self._seen = moment.serial
        now = moment.joules.get(self._name)
        if now is None:
            return self._unknown(moment.faults[self._name])
        if moment.still_s > _STILL_S:
            return self._unknown(f"{self._counters.folder}/freshness stands still for {moment.still_s:.0f} s")
        why = self._counter.add(now, moment.at_s, restarted=moment.startup != self._startup)
        self._startup = moment.startup
        return Reading(self.device.id, self._counter.used_j, Basis.MEASURED, now, why)

    def close(self) -> None:
        """Nothing is held: the files are opened for each read."""
        self._closed = True

    def _unknown(self, why: str) -> Reading:
        return Reading(self.device.id, None, Basis.MEASURED, why=why)


def find_cray(
    folder: Path = PM_COUNTERS, *, monotonic: Callable[[], float] = time.monotonic, host: str | None = None
) -> Found:
    """Return one meter per energy counter of a Cray node; nothing on any other machine."""
    if not folder.is_dir():
        return Found()
    names = sorted(name for name in os.listdir(folder) if _PARTS.match(name))
    counters = CrayCounters(folder, names, monotonic)
    key = host or host_key()
    meters: list[Meter] = []
    missing: list[Missing] = []
    for name in names:
        device = _cray_device(name, names, key)
        try:
            meters.append(CrayMeter(device, name, counters))
        except MeterError as fault:
            missing.append(Missing(device.id, str(fault), f"look at it: cat {folder / name}"))
    return Found(tuple(meters), tuple(missing))


def _cray_device(name: str, names: Sequence[str], host: str) -> Device:
    match = _PARTS.match(name)
    part, number = (match[1], match[2]) if match else (None, "")
    component = {
        None: Component.NODE,
        "cpu": Component.CPU,
        "memory": Component.MEMORY,
        "accel": Component.GPU,
    }[part]
    node = component is Component.NODE
    error = _NODE_ERROR if node else _PART_ERROR
    whole = f"{part}_energy"
    return Device(
        f"cray:{part or 'node'}{number or ''}",
        component,
        "cray",
        Basis.MEASURED,
        Boundary.NODE if node else Boundary.DEVICE,
        error,
        error,
        f"Cray pm_counters {name}",
        f"{host}:cray-{part or 'node'}{number or ''}",
        within=f"cray:{part}" if number and whole in names else "",
        note="the whole node: its parts count, not this" if node else "",
    )


def run_command(command: Sequence[str]) -> str:
    """Return what a command prints; raises MeterError if it is missing, fails or takes more than ten seconds."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=False, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError as fault:
        raise MeterError(f"{command[0]} is not installed here") from fault
    except (OSError, subprocess.TimeoutExpired) as fault:
        raise MeterError(f"{command[0]} did not answer: {fault}") from fault
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise MeterError(
            f"{command[0]} ended with {done.returncode}{': ' if said else ''}{said[0] if said else ''}"
        )
    return done.stdout


def slurm_energy(job_id: str, runner: Runner = run_command) -> Figure | Missing:
    """Return the joules that Slurm accounted for a job (NODE boundary), or why it tells none.

    Asks sacct, and sstat for a job that still runs. Of the job's own row and what its steps add up to, the row is
    the value; where they differ, the interval covers both.
    """
    _check(job_id)
    faults = []
    for command in (_sacct(job_id), _sstat(job_id)):
        try:
            rows = _rows(runner(command))
        except MeterError as fault:
            faults.append(str(fault))
            continue
        accounts = [joules for joules in (rows.get(""), _account(rows)) if joules]
        if accounts:
            return Figure(
                accounts[0],
                min(accounts) * (1 - _SLURM_ERROR),
                max(accounts) * (1 + _SLURM_ERROR),
                Basis.MEASURED,
                f"Slurm ConsumedEnergyRaw of job {job_id} (whole nodes: the job's own only if it had them to itself)",
                Boundary.NODE,
            )
    return _no_slurm(job_id, faults)


@final
class SlurmEnergyMeter:
    """The joules of a running Slurm job as sstat tells them, asked every 30 s at most, in a thread.

    Nodes as a whole: shown beside the parts, never added. Until the first answer it is unknown.
    """

    def __init__(
        self,
        job_id: str,
        runner: Runner = run_command,
        *,
        interval_s: float = SLURM_INTERVAL_S,
        monotonic: Callable[[], float] = time.monotonic,
        threaded: bool = True,
    ) -> None:
        _check(job_id)
        self.device = Device(
            f"slurm:{job_id}",
            Component.NODE,
            "slurm",
            Basis.MEASURED,
            Boundary.NODE,
            _SLURM_ERROR,
            _SLURM_ERROR,
            "Slurm ConsumedEnergyRaw (sstat)",
            f"slurm:{job_id}",
            note="whole nodes: the job's own only if it had them to itself",
        )
        self._job_id = job_id
        self._runner = runner
        self._steps: dict[str, int] = {}
        self._start_j: int | None = None
        self._used_j = 0
        self._closed = False
        self._poller: Poller[int] = Poller(self._ask, max(SLURM_INTERVAL_S, interval_s), monotonic)
        if threaded:
            self._poller.start(0)
        else:
            self._poller.poll()

    def read(self) -> Reading:
        """Return joules since opening as of the last answer, and the job's joules as Slurm counts them."""
        answer = self._poller.answer
        age_s = self._poller.age_s()
        if self._closed or answer.value is None or age_s > 3 * self._poller.interval_s:
            why = answer.fault or ("the meter was closed" if self._closed else "sstat has not answered yet")
            return Reading(self.device.id, None, Basis.MEASURED, why=why)
        return Reading(self.device.id, self._used_j, Basis.MEASURED, answer.value, answer.fault)

    def refresh(self) -> None:
        """Ask now and wait for the answer (for callers without a thread)."""
        self._poller.poll()

    def close(self) -> None:
        """Ask no more."""
        self._closed = True
        self._poller.close()

    def _ask(self) -> int:
        for step, joules in _rows(self._runner(_sstat(self._job_id))).items():
            self._steps[step] = max(joules, self._steps.get(step, 0))  # a step that ended is told no more
        now_j = _account(self._steps)
        if not now_j:
            raise MeterError(_no_slurm(self._job_id, []).why)
        if self._start_j is None:
            self._start_j = now_j
        self._used_j = max(self._used_j, now_j - self._start_j)
        return now_j


def _check(job_id: str) -> None:
    if not re.fullmatch(r"[0-9]+(?:[_+][0-9]+)?", job_id):
        raise UsageError(f"the Slurm job id is {job_id!r}, but must be a number such as 4711 or 4711_3")


def _sacct(job_id: str) -> list[str]:
    return [
        "sacct", "--jobs", job_id, "--noheader", "--parsable2", "--noconvert", "--format=JobID,ConsumedEnergyRaw"
    ]  # fmt: skip


def _sstat(job_id: str) -> list[str]:
    return [
        "sstat", "--allsteps", "--jobs", job_id, "--noheader", "--parsable2", "--noconvert", "--format=JobID,ConsumedEnergyRaw"
    ]  # fmt: skip


def _rows(text: str) -> dict[str, int]:
    """Return joules by step ("" is the job's own row); what is 0, empty or no number is left out.

    The parts of a heterogeneous job and the tasks of an array are added up.
    """
    rows: dict[str, int] = {}
    for line in text.splitlines():
        name, _, joules = line.strip().partition("|")
        if joules.isdigit() and 0 < int(joules) < _NO_VALUE:
            step = name.partition(".")[2]
            rows[step] = rows.get(step, 0) + int(joules)
    return rows


def _account(rows: Mapping[str, int]) -> int:
    """Return the joules of the steps, none counted twice (0: none told).

    The step `extern` spans all nodes for all the time. `batch` spans the first node, with the numbered steps inside.
    """
    numbered = sum(joules for step, joules in rows.items() if step.isdigit())
    return rows.get("extern", 0) or max(rows.get("batch", 0), numbered)


def _no_slurm(job_id: str, faults: Sequence[str]) -> Missing:
    if len(faults) > 1:
        return Missing(
            f"slurm:{job_id}", faults[0], "run joulewise where Slurm's commands are, or give the right job id"
        )
    return Missing(
        f"slurm:{job_id}",
        f"Slurm tells no energy for job {job_id}: ConsumedEnergyRaw is empty or 0, which means it is not measured",
        "ask the administrators for AcctGatherEnergyType (and AccountingStorageTRES=energy) in slurm.conf",
    )
