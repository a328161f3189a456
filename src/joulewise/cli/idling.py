"""Which devices of a running program stand idle: each told once for a stretch, and again only after it was busy.

A GPU is idle while the program holds memory on it and it computes nothing for the program; the machine is, while no process of
the run computes (less than a hundredth of a core). A source that says nothing makes nobody idle. Pure: it is handed what the
recorder has seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from joulewise.measuring.recorder import Snapshot
from joulewise.vocabulary.quantities import format_bytes, format_duration

_QUIET = 0.01  # of a core, of a GPU: a timer, a kernel now and then
_GRAIN_S = 0.02  # the kernel counts CPU time in hundredths of a second


@dataclass(frozen=True, slots=True)
class Idle:
    """A device that has stood idle: since when (seconds into the run), for how long, and what it holds, in words."""

    device: str
    since_s: float
    for_s: float
    holds: str

    @property
    def words(self) -> str:
        """One sentence."""
        what = (
            "no process of the run has computed"
            if self.device == "machine"
            else f"{self.device} has stood idle"
        )
        return f"{what} for {format_duration(self.for_s)}, since {format_duration(self.since_s)} into the run{self.holds}"


@final
class Idling:
    """Follows a run look by look; `after_s` is how long a device must have stood idle."""

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._since: dict[str, float] = {}
        self._told: set[str] = set()
        self._cpu: tuple[float, float] | None = None  # time and CPU seconds of the look before

    def look(self, snapshot: Snapshot | None) -> list[Idle]:
        """Return the devices that have just passed the limit."""
        if snapshot is None:
            return []
        found = []
        for device, busy, holds in (*self._gpus(snapshot), *self._machine(snapshot)):
            if busy is None and device not in self._since:
                continue
            if busy:
                self._since.pop(device, None)
                self._told.discard(device)
                continue
            since_s = self._since.setdefault(device, snapshot.t_s)
            if snapshot.t_s - since_s >= self._after_s and device not in self._told:
                self._told.add(device)
                found.append(Idle(device, since_s, snapshot.t_s - since_s, holds))
        return found

    def _gpus(self, snapshot: Snapshot) -> list[tuple[str, bool | None, str]]:
        """Return each held GPU, whether it works for this run, and what is held; None: it works, though for others."""
        seen: list[tuple[str, bool | None, str]] = []
        for name, held in snapshot.gauges.items():
            kind, _, device = name.partition(":")
            if kind != "gpu_memory_bytes" or not held:
                continue
            used = snapshot.gauges.get(f"gpu_utilisation:{device}")
            ours = snapshot.gauges.get(f"gpu_work_share:{device}")
            busy: bool | None = used is None or used > _QUIET
            if ours == 0.0:  # nobody works and we hold nothing, or others work
                if not busy:
                    self._since.pop(device, None)
                    continue
                busy = None
            seen.append((device, busy, f"; {format_bytes(held)} of its memory are held"))
        return seen

    def _machine(self, snapshot: Snapshot) -> list[tuple[str, bool, str]]:
        cpu_s, before = snapshot.work_cpu_s, self._cpu
        if cpu_s is None:
            return []
        if before is not None and snapshot.t_s <= before[0]:
            return []
        self._cpu = (snapshot.t_s, cpu_s)
        if before is None:
            return [("machine", True, "")]
        busy = cpu_s - before[1] > _QUIET * (snapshot.t_s - before[0]) + _GRAIN_S
        memory = snapshot.gauges.get("resident_bytes")
        return [("machine", busy, f"; {format_bytes(memory)} of memory are held" if memory else "")]
