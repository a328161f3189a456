"""The recorded work: a process and everything that came from it, read from /proc.

CPU seconds count every process once, also those that end between two ticks: the kernel adds an ended child's
seconds to its parent's `cutime` and `cstime` when the parent waits for it, so the sum of own and waited-for
seconds over the living members only grows. Where nobody waits (SIGCHLD ignored), the last seconds seen are kept.
`/proc/PID/stat` counts in clock ticks (10 ms on most machines).

A member stays a member when it is adopted by init. A daemon that detaches faster than a tick is found by the
mark in its environment (`JOULEWISE_RECORDING`), which works for programs started by `joulewise run`.

`resident_bytes` is the sum of resident set sizes: pages shared by forked workers count once per process.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import final

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_RUN_DELAY_EVERY_S = 5.0  # one read per thread: too dear for every tick
_MOST_THREADS = 512


@dataclass(frozen=True, slots=True)
class TreeSample:
    """What the tree used since it was first seen (cumulative), and how large it is now. None is unknown."""

    cpu_s: float | None
    resident_bytes: int
    processes: int
    threads: int
    read_bytes: int | None  # fetched from storage
    written_bytes: int | None  # to be written to storage
    requested_read_bytes: int | None  # asked for by read calls, page cache included
    requested_written_bytes: int | None
    run_delay_s: float | None  # runnable, but waiting for a CPU
    blkio_delay_s: float | None  # waiting for block I/O; None where the kernel's delay accounting is off


@dataclass(slots=True)
class _Member:
    parent: int
    started: int
    own_ticks: int
    children_ticks: int
    resident_pages: int
    threads: int
    blkio_ticks: int


@final
class ProcessTree:
    """A root process, its descendants, and what they used. `from_start` counts what the root used before, too."""

    def __init__(self, root_pid: int, *, from_start: bool, mark: str = "", proc: str = "/proc") -> None:
        self._proc = proc
        self._root = root_pid
        self._mark = f"JOULEWISE_RECORDING={mark}".encode() if mark else b""
        self._members: dict[int, _Member] = {}
        self._seen: frozenset[str] = frozenset()
        self._last_pid = ""
        self._gone_ticks = 0.0
        self._io: list[int] = [0, 0, 0, 0]
        self._io_last: list[int] = [0, 0, 0, 0]
        self._io_known = True
        self._delay_s: float | None = None
        self._delay_at_s = -_RUN_DELAY_EVERY_S
        self._blkio_gone = 0
        self._delay_accounting = read_small(f"{proc}/sys/kernel/task_delayacct").strip() == b"1"
        self._root_gone_ticks = 0.0
        root = self._member(root_pid)
        self._readable = root is not None
        if root is not None:
            self._members[root_pid] = root
        self._discover()
        self._begin_ticks = 0 if from_start else self._ticks()
        self._read_io()
        if not from_start:
            self._io = [0, 0, 0, 0]

    @property
    def pids(self) -> frozenset[int]:
        """The members that were alive at the last sample."""
        return frozenset(self._members)

    def root_began(self, cpu_s: float) -> None:
        """Say that what the root used in the last `cpu_s` CPU seconds belongs to the work, too."""
        self._begin_ticks -= cpu_s * TICKS_PER_S

    def root_used(self, cpu_s: float) -> None:
        """Say what the root used in all, with what it waited for, as its parent learnt it when it ended (wait4)."""
        self._update()
        if self._root not in self._members:
            ticks = round(cpu_s * TICKS_PER_S, 3)
            self._gone_ticks += max(0.0, ticks - self._root_gone_ticks)
            self._root_gone_ticks = max(ticks, self._root_gone_ticks)
            self._readable = True

    def sample(self, now_s: float) -> TreeSample:
        """Return what the tree used; `now_s` is any monotonic clock (it spaces the dear readings)."""
        self._update()
        self._discover()
        self._read_io()
        if now_s - self._delay_at_s >= _RUN_DELAY_EVERY_S:
            self._delay_at_s = now_s
            self._delay_s = self._run_delay_s()
        members = self._members.values()
        io = self._io if self._io_known else (None, None, None, None)
        blkio = self._blkio_gone + sum(m.blkio_ticks for m in members)
        return TreeSample(
            cpu_s=max(0, self._ticks() - self._begin_ticks) / TICKS_PER_S if self._readable else None,
            resident_bytes=sum(m.resident_pages for m in members) * _PAGE_BYTES,
            processes=len(members),
            threads=sum(m.threads for m in members),
            read_bytes=io[0],
            written_bytes=io[1],
            requested_read_bytes=io[2],
            requested_written_bytes=io[3],
            run_delay_s=self._delay_s,
            blkio_delay_s=blkio / TICKS_PER_S if self._delay_accounting else None,
        )

    def _ticks(self) -> float:
        return self._gone_ticks + sum(m.own_ticks + m.children_ticks for m in self._members.values())

    def _update(self) -> None:
        """Read every member again; what vanished without being waited for is kept in `_gone_ticks`."""
        growth: dict[int, int] = {}
        vanished: dict[int, _Member] = {}
        for pid, old in list(self._members.items()):
            new = self._member(pid)
            if new is None or new.started != old.started:
                vanished[pid] = self._members.pop(pid)
            else:
                growth[pid] = new.children_ticks - old.children_ticks
                self._members[pid] = new
        owed: dict[int, int] = {}
        for pid, member in vanished.items():
            heir = member.parent
            while heir in vanished:
                heir = vanished[heir].parent
            owed[heir] = owed.get(heir, 0) + member.own_ticks + member.children_ticks
            self._blkio_gone += member.blkio_ticks
            if pid == self._root:
                self._root_gone_ticks = owed[heir]
        for heir, ticks in owed.items():  # an heir outside the tree waits for an orphan, or for the root
            self._gone_ticks += max(0, ticks - growth.get(heir, 0))

    def _discover(self) -> None:
        """Find processes that came since the last look; cheap when the kernel started none."""
        last_pid = read_small(f"{self._proc}/loadavg").rpartition(b" ")[2].decode()
        if last_pid and last_pid == self._last_pid:
            return
        self._last_pid = last_pid
        try:
            listed = frozenset(filter(str.isdecimal, os.listdir(self._proc)))
        except OSError:
            return
        new: dict[int, _Member] = {}
        for name in listed - self._seen:
            pid = int(name)
            if pid not in self._members and (member := self._member(pid)) is not None:
                new[pid] = member
        self._seen = listed
        found = True
        while found:
            found = False
            for pid, member in list(new.items()):
                if member.parent in self._members or (
                    self._mark and member.parent not in new and self._is_marked(pid)
                ):
                    self._members[pid] = new.pop(pid)
                    found = True

    def _is_marked(self, pid: int) -> bool:
        return pid != os.getpid() and self._mark in read_small(f"{self._proc}/{pid}/environ").split(b"\0")

    def _member(self, pid: int) -> _Member | None:
        fields = read_small(f"{self._proc}/{pid}/stat").rpartition(b")")[2].split()
        if len(fields) < 22:
            return None
        return _Member(
            parent=int(fields[1]),
            started=int(fields[19]),
            own_ticks=int(fields[11]) + int(fields[12]),
            children_ticks=int(fields[13]) + int(fields[14]),
            resident_pages=int(fields[21]),
            threads=int(fields[17]),
            blkio_ticks=int(fields[39]) if len(fields) > 39 else 0,
        )

    def _read_io(self) -> None:
        """Add what the living members moved; a parent inherits the bytes of a child that it waits for."""
        now = [0, 0, 0, 0]
        known = False
        for pid in self._members:
            values = read_small(f"{self._proc}/{pid}/io").split()
            if len(values) >= 12:
                known = True
                for slot, at in enumerate((9, 11, 1, 3)):
                    now[slot] += int(values[at])
        if not known:
            self._io_known = self._io_known and not self._members
            return
        for slot in range(4):
            self._io[slot] += max(0, now[slot] - self._io_last[slot])
        self._io_last = now

    def _run_delay_s(self) -> float | None:
        if sum(m.threads for m in self._members.values()) > _MOST_THREADS:
            return None
        total_ns = 0
        for pid in self._members:
            try:
                threads = os.listdir(f"{self._proc}/{pid}/task")
            except OSError:
                continue
            for thread in threads:
                fields = read_small(f"{self._proc}/{pid}/task/{thread}/schedstat").split()
                if len(fields) < 2:
                    continue
                total_ns += int(fields[1])
        return max(self._delay_s or 0.0, total_ns / 1e9)


def read_small(path: str) -> bytes:
    """Return a small file's content, empty if it cannot be read. /proc answers long files in pages."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        content = os.read(fd, 65536)
        while page := os.read(fd, 65536):
            content += page
    except OSError:
        return b""
    finally:
        os.close(fd)
    return content
