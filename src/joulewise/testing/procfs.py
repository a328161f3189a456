"""A folder that looks like /proc, for tests of what reads it: processes that work, fork, end and move bytes.

    proc = FakeProc(tmp_path)
    proc.start(10, parent=1)
    proc.work(10, cpu_s=1.5)
    proc.end(10, waited_for=True)   # its seconds go to its parent, as the kernel does

Values are kept exactly; files are written in the kernel's layout (proc(5)).
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import final

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class _Process:
    parent: int
    started: int
    own_ticks: int = 0
    children_ticks: int = 0
    resident_bytes: int = 0
    threads: int = 1
    read_bytes: int = 0
    written_bytes: int = 0
    environ: bytes = b""


@final
class FakeProc:
    """A /proc with one CPU line, memory, network, pressure and any number of processes under `root`."""

    def __init__(self, root: Path, *, cpus: int = 4, memory_bytes: int = 16_000_000_000) -> None:
        self.root = root
        self.cpus = cpus
        self._memory_kb = memory_bytes // 1024
        self._processes: dict[int, _Process] = {}
        self._last_pid = 1
        self._machine_ticks = {"user": 0, "idle": 0, "iowait": 0}
        self._bytes = [0, 0]
        (root / "sys/kernel").mkdir(parents=True, exist_ok=True)
        (root / "pressure").mkdir(exist_ok=True)
        self.delay_accounting(on=False)
        self.memory(available_bytes=memory_bytes // 2)
        self.machine()
        self.network()
        self.pressure(io_s=0.0)

    def start(self, pid: int, parent: int = 1, *, resident_bytes: int = 0, environ: bytes = b"") -> None:
        """Start a process."""
        self._processes[pid] = _Process(
            parent, started=pid * 10, resident_bytes=resident_bytes, environ=environ
        )
        self._last_pid = pid
        self._write(pid)
        self._write_loadavg()

    def work(self, pid: int, cpu_s: float = 0.0, *, read_bytes: int = 0, written_bytes: int = 0) -> None:
        """Let a process use CPU seconds (the machine's too) and move bytes."""
        process = self._processes[pid]
        process.own_ticks += round(cpu_s * _TICKS_PER_S)
        process.read_bytes += read_bytes
        process.written_bytes += written_bytes
        self._write(pid)
        self.machine(busy_s=cpu_s)

    def end(self, pid: int, *, waited_for: bool = True) -> None:
        """End a process; its parent inherits its seconds and bytes only if it waits for it. Orphans go to init."""
        process = self._processes.pop(pid)
        shutil.rmtree(self.root / str(pid))
        parent = self._processes.get(process.parent)
        if waited_for and parent is not None:
            parent.children_ticks += process.own_ticks + process.children_ticks
            parent.read_bytes += process.read_bytes
            parent.written_bytes += process.written_bytes
            self._write(process.parent)
        for orphan, child in self._processes.items():
            if child.parent == pid:
                child.parent = 1
                self._write(orphan)

    def machine(self, busy_s: float = 0.0, idle_s: float = 0.0, iowait_s: float = 0.0) -> None:
        """Let the machine as a whole pass CPU seconds."""
        for name, seconds in (("user", busy_s), ("idle", idle_s), ("iowait", iowait_s)):
            self._machine_ticks[name] += round(seconds * _TICKS_PER_S)
        t = self._machine_ticks
        lines = [f"cpu  {t['user']} 0 0 {t['idle']} {t['iowait']} 0 0 0 0 0"]
        lines += [f"cpu{n} 0 0 0 0 0 0 0 0 0 0" for n in range(self.cpus)]
        (self.root / "stat").write_text("\n".join([*lines, "processes 1", ""]))

    def memory(self, available_bytes: int) -> None:
        """Set how much memory is available to new work."""
        text = f"MemTotal: {self._memory_kb} kB\nMemFree: 1 kB\nMemAvailable: {available_bytes // 1024} kB\n"
        (self.root / "meminfo").write_text(text)

    def network(self, received_bytes: int = 0, sent_bytes: int = 0) -> None:
        """Let bytes come and go over eth0 (loopback traffic is there, too, and must not count)."""
        self._bytes = [self._bytes[0] + received_bytes, self._bytes[1] + sent_bytes]
        rows = [
            "    lo: 999 9 0 0 0 0 0 0 999 9 0 0 0 0 0 0",
            f"  eth0: {self._bytes[0]} 1 0 0 0 0 0 0 {self._bytes[1]} 1 0 0 0 0 0 0",
        ]
        text = (
            "Inter-|   Receive  |  Transmit\n face |bytes packets |bytes packets\n" + "\n".join(rows) + "\n"
        )
        for folder in (self.root / "net", *(self.root / str(p) / "net" for p in self._processes)):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "dev").write_text(text)

    def pressure(self, io_s: float | None) -> None:
        """Set the seconds stalled on I/O; None takes pressure away, as an older kernel would."""
        for kind in ("cpu", "io", "memory"):
            path = self.root / "pressure" / kind
            if io_s is None:
                path.unlink(missing_ok=True)
            else:
                path.write_text(f"some avg10=0.00 avg60=0.00 avg300=0.00 total={round(io_s * 1e6)}\n")

    def delay_accounting(self, *, on: bool) -> None:
        """Switch the kernel's delay accounting."""
        (self.root / "sys/kernel/task_delayacct").write_text(f"{int(on)}\n")

    def _write_loadavg(self) -> None:
        (self.root / "loadavg").write_text(f"0.00 0.00 0.00 1/{len(self._processes)} {self._last_pid}\n")

    def _write(self, pid: int) -> None:
        p = self._processes[pid]
        folder = self.root / str(pid)
        folder.mkdir(exist_ok=True)
        fields = ["S", p.parent, pid, pid, 0, -1, 0, 0, 0, 0, 0, p.own_ticks, 0, p.children_ticks, 0, 20, 0]
        fields += [p.threads, 0, p.started, 0, p.resident_bytes // _PAGE_BYTES, *([0] * 28)]
        (folder / "stat").write_text(f"{pid} (a (odd) name) {' '.join(map(str, fields))}\n")
        io = {
            "rchar": p.read_bytes,
            "wchar": p.written_bytes,
            "syscr": 0,
            "syscw": 0,
            "read_bytes": p.read_bytes,
            "write_bytes": p.written_bytes,
        }
        (folder / "io").write_text(
            "".join(f"{k}: {v}\n" for k, v in io.items()) + "cancelled_write_bytes: 0\n"
        )
        (folder / "environ").write_bytes(p.environ)
