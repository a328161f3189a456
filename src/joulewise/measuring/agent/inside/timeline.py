"""Where the main thread is: every second goes to a phase, by two clock readings at each hooked call.

Between `enter` and `leave` it is in the phase of the call; between two calls it is in a *gap*, which is named when the
next call comes, by both of its ends (`_GAPS`); what the thread slept of it is waiting, what it lacked a core is not. The page always tells the phase and since when, so that a reader
can close the account at any time: nothing is done at exit.

The numbers are kept in a list, which is cheap to add to, and copied to the page when they are 5 ms old; only what a
reader must know at any moment, the phase and its begin, is written there at once.

CPU clocks are system calls (half a microsecond, and two with a cold cache): they are read where the last reading is a millisecond old.

Beyond 1,000 steps a second one step every 16 ms is timed. The others are counted, and their time is told as a whole.
"""

from __future__ import annotations

import os
import sys
import time
from _thread import get_ident

from . import layout as at
from .facts import Facts
from .layout import CALLS, CURRENT, GAP, SETUP, SINCE, UNSAMPLED, WALL
from .stdlib import load

TYPE_CHECKING = False  # typing would be the dearest import of a small program
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_READ_CPU_S = 1e-3
_COPY_S = 5e-3
_LONG_GAP_S = 1e-3
_FAST_STEPS_PER_S = 1000.0
_LOOK_EVERY = 32
STRIDE = 8  # calls that one timed call stands for
_TIMED_EVERY_S = 16e-3
_MOST_STRIDE = 256
_LIGHT = (at.IMPORT, at.LOGGING, at.CHECKPOINT)
_LOOP = (at.DATA, at.FORWARD, at.BACKWARD, at.OPTIMISER, at.OTHER, at.WAITING)

_GAPS = [at.OTHER] * 256  # last call * 16 + next call
for _next in range(16):
    _GAPS[at.SETUP * 16 + _next] = at.SETUP
for _last, _next, _name in (
    (at.DATA, at.FORWARD, at.DATA),
    (at.DATA, at.BACKWARD, at.FORWARD),
    (at.DATA, at.VALIDATION, at.VALIDATION),
    (at.FORWARD, at.FORWARD, at.FORWARD),
    (at.FORWARD, at.BACKWARD, at.FORWARD),
    (at.BACKWARD, at.OPTIMISER, at.OPTIMISER),
    (at.VALIDATION, at.VALIDATION, at.VALIDATION),
    (at.CHECKPOINT, at.CHECKPOINT, at.CHECKPOINT),
    (at.OPTIMISER, at.CHECKPOINT, at.CHECKPOINT),
    (at.CHECKPOINT, at.DATA, at.CHECKPOINT),
):
    _GAPS[_last * 16 + _next] = _name

clock, process_cpu, thread_cpu = time.perf_counter, time.process_time, time.thread_time


class Timeline:
    """The account of this process, on its page. One per process; a forked child gets its own by `begin`."""

    __slots__ = (
        "_copied_s", "_cpu_s", "_folder", "_live", "_look_s", "_look_step", "_map", "_own_s", "_pack", "_read_s", "_snapshot", "_struct", "_used", "before_cpu_s", "before_s",
        "began_s", "called", "facts", "fast", "folder_prefix", "instead", "kind", "last", "main", "page", "quiet", "skip", "skipped", "step", "stride", "woken",
    )  # fmt: skip

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.folder_prefix = os.path.join(folder, "agent-")
        self._map: Any = None
        self.woken: Callable[[int], None] | None = None  # told how many steps went by untimed
        self.called: Callable[[], None] | None = (
            None  # a remedy's: told of each outermost call of an estimator
        )
        self.instead: Callable[..., Any] | None = None  # a remedy's: stands in for such a call
        self._struct = load("_struct").Struct
        self.begin("main")

    def begin(self, kind: str) -> None:
        """Begin the account of this process, on a page of its own. Raises OSError if there is no place for one."""
        self.began_s = now = clock()
        pid = os.getpid()
        name = f"{self.folder_prefix}{os.uname().nodename}-{pid}-{int(now * 1000)}"
        self.page = page = [0.0] * at.NUMBERS
        self._used = 0
        self.use(at.LOADERS if kind == "main" else at.NUMBERS)  # a worker fetches for a loader of its parent
        self._map = bytearray(at.SIZE)  # until there is a file
        self._live: Any = memoryview(self._map).cast("d")
        self._copied_s = now
        self.facts = Facts(name + ".facts", now)
        self._read_s, self._cpu_s, self._own_s = now, process_cpu(), thread_cpu()
        self.main = get_ident()
        self.kind = at.GAP
        self.last = at.SETUP
        self.skip = 0  # 1: in a forward pass, 2: in steps that are not timed
        self.quiet = 0  # how many steps are still to be left untimed
        self.skipped = 0  # how many have been, and are not counted yet
        self.step = 0
        self.before_s = self.before_cpu_s = 0.0
        self.fast = False
        self.stride = 1
        self._look_s, self._look_step = now, 0
        self._snapshot: list[float] | None = None
        self._map = self._open(name + ".page")
        self._live = memoryview(self._map).cast("d")
        page[at.BEGAN] = page[at.SINCE] = now
        page[at.CURRENT] = at.GAP
        page[at.CPU_AT] = page[at.CPU_BEGAN] = self._cpu_s
        page[at.OWN_AT] = self._own_s
        page[at.DELAY_AT] = run_delay_s()
        self.facts.put(
            "head",
            {"pid": pid, "parent": os.getppid(), "kind": kind, "command": [str(a)[:500] for a in _arguments()],
             "python": sys.version.split()[0], "host": os.uname().nodename, "mono": now, "executable": sys.executable or ""},
        )  # fmt: skip
        page[at.MAGIC] = at.VERSION
        self.copy(now)
        self.facts.write(now)
        self.facts.due_s = 0.0

    def enter(self, kind: int) -> int:
        """Begin a hooked call in the main thread; returns what to give to `leave`."""
        now = clock()
        page = self.page
        before = self.kind
        elapsed = now - page[SINCE]
        if before == GAP:
            phase = _GAPS[self.last * 16 + kind]
            self.before_s += elapsed
        elif before == UNSAMPLED:
            return self._wake(kind, now)
        else:
            phase = before
        if now - self._read_s > _READ_CPU_S:
            elapsed = self._read_cpu(now, phase, elapsed, before)
        page[WALL + phase] += elapsed
        live = self._live
        page[SINCE] = live[SINCE] = now
        live[CURRENT] = self.kind = kind
        if now - self._copied_s > _COPY_S:
            self.copy(now)
        return before

    def leave(self, before: int) -> None:
        """End a hooked call."""
        now = clock()
        page = self.page
        kind = self.kind
        page[WALL + kind] += now - page[SINCE]
        page[CALLS + kind] += 1
        if now - self._read_s > _READ_CPU_S:
            self._read_cpu(now, kind, 0.0, kind)
        live = self._live
        page[SINCE] = live[SINCE] = now
        live[CURRENT] = self.kind = before
        if kind not in _LIGHT:
            self.last = kind
            self.before_s = self.before_cpu_s = 0.0
            if now - self._copied_s > _COPY_S:
                self.copy(now)
            return
        if self.last != SETUP:
            self.last = kind
        if now - self._copied_s > _READ_CPU_S:
            self.copy(now)

    def use(self, end: int) -> None:
        """Copy the page up to there from now on: what is behind it is not used yet."""
        if end > self._used:
            self._used = min(end, at.NUMBERS)
            self._pack = self._struct(f"{self._used}d").pack_into

    def copy(self, now: float) -> None:
        """Copy the numbers to the page, and write the facts when they are due."""
        page = self.page
        page[CURRENT] = self.kind
        self._copied_s = now
        self._pack(self._map, 0, *page[: self._used])
        if now > self.facts.due_s:
            page[at.DELAY_AT] = run_delay_s()
            self.facts.write(now)

    def stepped(self) -> None:
        """Count an optimiser step, and decide whether the next ones are timed. Called in the gap behind it."""
        if self.quiet:
            self.passed()
            return
        page = self.page
        self.step += 1
        page[at.STEPS] += 1
        if self.step - self._look_step >= _LOOK_EVERY:
            now = clock()
            per_s = (self.step - self._look_step) / max(1e-9, now - self._look_s)
            self.fast = per_s > _FAST_STEPS_PER_S
            self.stride = min(_MOST_STRIDE, max(1, int(per_s * _TIMED_EVERY_S)))
            self._look_s, self._look_step = now, self.step
        if self.fast:
            if self._snapshot is not None:
                for n, phase in enumerate(_LOOP):
                    page[at.SAMPLED + phase] += page[at.WALL + phase] - self._snapshot[n]
            self._sleep()

    def passed(self) -> None:
        """Let a step go by untimed; they are counted when the account goes on."""
        self.skipped += 1
        self.quiet -= 1
        if not self.quiet:
            self.wake()

    def wake(self) -> None:
        """Time again what happens; for whatever is no ordinary step."""
        if self.kind == at.UNSAMPLED:
            self._wake(at.GAP, clock())

    def _sleep(self) -> None:
        """Leave the next steps untimed."""
        now = clock()
        page = self.page
        page[at.WALL + at.OTHER] += now - page[SINCE]
        page[SINCE] = self._live[SINCE] = now
        self._live[CURRENT] = self.kind = UNSAMPLED
        self.quiet = self.stride - 1
        self.skip = 2

    def _wake(self, kind: int, now: float) -> int:
        page = self.page
        cpu_s = process_cpu()
        page[at.UNSAMPLED_WALL] += now - page[SINCE]
        page[at.UNSAMPLED_CPU] += cpu_s - self._cpu_s
        page[at.CPU_AT] = self._cpu_s = cpu_s
        page[at.OWN_AT] = self._own_s = thread_cpu()
        self._read_s = page[SINCE] = self._live[SINCE] = now
        self.last = at.OPTIMISER
        self.skip = self.quiet = 0
        if self.skipped:
            count, self.skipped = self.skipped, 0
            self.step += count
            page[at.STEPS] += count
            page[at.UNSAMPLED_STEPS] += count
            if self.woken is not None:
                self.woken(count)
        self._snapshot = [page[at.WALL + phase] for phase in _LOOP]
        self._live[CURRENT] = self.kind = kind
        if now - self._copied_s > _COPY_S:
            self.copy(now)
        return GAP

    def _read_cpu(self, now: float, phase: int, elapsed: float, before: int) -> float:
        """Give the CPU time since the last reading to `phase`; returns `elapsed` without what the thread waited of it."""
        page = self.page
        cpu_s, own_s = process_cpu(), thread_cpu()
        used, own = cpu_s - self._cpu_s, own_s - self._own_s
        page[at.CPU_AT] = self._cpu_s = cpu_s
        page[at.OWN_AT] = self._own_s = own_s
        self._read_s = now
        if before != at.GAP:
            page[at.CPU + phase] += used
            return elapsed
        self.before_cpu_s += used
        waited = elapsed - own
        if elapsed < _LONG_GAP_S or waited < 0.1 * elapsed:
            page[at.CPU + phase] += used
            return elapsed
        delay_s = run_delay_s()
        waited -= min(waited, delay_s - page[at.DELAY_AT])  # it had no core: that is no waiting
        page[at.DELAY_AT] = delay_s
        own = min(own, used)
        page[at.CPU + phase] += own
        page[at.CPU + at.WAITING] += used - own
        page[at.WALL + at.WAITING] += waited
        return elapsed - waited

    def beside(self, kind: int, wall_s: float, cpu_s: float) -> None:
        """Add a hooked call of another thread than the main one."""
        page = self.page
        page[at.BESIDE_CALLS + kind] += 1
        page[at.BESIDE_WALL + kind] += wall_s
        page[at.BESIDE_CPU + kind] += cpu_s
        now = clock()
        if now - self._copied_s > _COPY_S:
            self.copy(now)

    def end(self) -> None:
        """Say when the interpreter ended, where it has time to; nothing depends on it."""
        self.facts.due_s = 0.0
        self.copy(clock())

    def _open(self, path: str) -> Any:
        """Return the page's file mapped into memory. Its blocks are there before: a full disk must not be a SIGBUS."""
        mmap = load("mmap")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            if os.write(fd, bytes(at.SIZE)) != at.SIZE:
                raise OSError("no space for a page")
            return mmap.mmap(fd, at.SIZE)
        finally:
            os.close(fd)


def run_delay_s() -> float:
    """Return how long the main thread has been ready without a core (the kernel's schedstat); 0 where it does not tell."""
    try:
        fd = os.open(f"/proc/self/task/{os.getpid()}/schedstat", os.O_RDONLY)
    except OSError:
        return 0.0
    try:
        return int(os.read(fd, 100).split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
    finally:
        os.close(fd)


def _arguments() -> list[str]:
    return list(getattr(sys, "orig_argv", None) or getattr(sys, "argv", None) or [])[:50]
