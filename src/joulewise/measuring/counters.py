"""What the whole machine did: CPU seconds, memory, network bytes, pressure, read from /proc.

`busy_cpu_s` leaves out steal (another guest's time) and idle. `iowait_s` is time in which a CPU idled while some
I/O was pending: it is a hint about the machine, never a figure of one process. Pressure (PSI, Linux 4.20) counts
the seconds in which at least one task stalled. Absent files give None, not zero.
"""

from __future__ import annotations

from typing import final

from joulewise.measuring.process_tree import TICKS_PER_S, read_small

_SLOW_EVERY_S = 1.0  # memory, network and pressure need no more than one look a second


@final
class MachineCounters:
    """The machine's cumulative counters and its memory in use; `network_pid` names whose network is counted."""

    def __init__(self, network_pid: int, proc: str = "/proc") -> None:
        self._proc = proc
        self._network = f"{proc}/{network_pid}/net/dev"
        self._slow: dict[str, float | None] = {}
        self._slow_at_s = float("-inf")

    def sample(self, now_s: float) -> dict[str, float | None]:
        """Return the counters by the names of `vocabulary.recording.Ticks`, and `memory_used_bytes`."""
        busy_s, iowait_s = self._cpu()
        if now_s - self._slow_at_s >= _SLOW_EVERY_S * 0.9:
            self._slow_at_s = now_s
            self._slow = {**self.network_bytes(), **self._pressure(), "memory_used_bytes": self._memory()}
        return {"busy_cpu_s": busy_s, "iowait_s": iowait_s, **self._slow}

    def _cpu(self) -> tuple[float | None, float | None]:
        fields = read_small(f"{self._proc}/stat").partition(b"\n")[0].split()
        if len(fields) < 8:
            return None, None
        user, nice, system, _idle, iowait, irq, softirq = map(int, fields[1:8])
        return (user + nice + system + irq + softirq) / TICKS_PER_S, iowait / TICKS_PER_S

    def _memory(self) -> float | None:
        total = available = None
        for line in read_small(f"{self._proc}/meminfo").splitlines()[:4]:
            if line.startswith(b"MemTotal:"):
                total = int(line.split()[1])
            elif line.startswith(b"MemAvailable:"):
                available = int(line.split()[1])
        return None if total is None or available is None else (total - available) * 1024.0

    def network_bytes(self) -> dict[str, float | None]:
        """Return the bytes that came and went since the network came up; None if they were never readable."""
        lines = read_small(self._network).splitlines()[2:]
        received = sent = 0
        for line in lines:
            name, _, numbers = line.partition(b":")
            fields = numbers.split()
            if name.strip() != b"lo" and len(fields) > 8:
                received += int(fields[0])
                sent += int(fields[8])
        if not lines:  # its process is gone: the last figures stand
            return {k: self._slow.get(k) for k in ("received_bytes", "sent_bytes")}
        return {"received_bytes": float(received), "sent_bytes": float(sent)}

    def _pressure(self) -> dict[str, float | None]:
        pressure: dict[str, float | None] = {}
        for kind in ("cpu", "io", "memory"):
            some = read_small(f"{self._proc}/pressure/{kind}").partition(b"\n")[0]
            total = some.rpartition(b"total=")[2]
            pressure[f"pressure_{kind}_s"] = int(total) / 1e6 if total.isdigit() else None
        return pressure
