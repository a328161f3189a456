"""Where the main thread is: every second goes to a phase, by two clock readings at each hooked call.

Between `enter` and `leave` it is in the phase of the call; between two calls it is in a *gap*, which is named when the
next call comes, by both of its ends (`_GAPS`); what the thread slept of it is waiting, what it lacked a core is not. The page always tells the phase and since when, so that a reader
can close the account at any time: nothing is done at exit.

The numbers are added to on the page itself: beside a step of real work every object that is touched has to be fetched anew.
CPU clocks are system calls (a microsecond, seven with a cold cache): they are read where the last reading is a millisecond old.

Steps stand for one another: at first all are timed, then one every 16 ms, later every half a second, at random
distances. The others are counted, and their time is told as a whole; what is no step (a validation, a checkpoint, a
long wait) is never among them: it wakes us, and what took longer than steps do is no steps' time.
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
_LONG_GAP_S = 1e-3
_LOOK_EVERY = 32
STRIDE = 8  # calls that one timed call stands for
_TIMED_EVERY_S = (16e-3, 512e-3)  # of a young loop, of an old one: half a millisecond each is 0.1 % of it
# of a loop's age is what lies between: its first second gives 40 samples, its eighth four
_AGE_SHARE = 1 / 32
_LONG_STEPS = 3.0  # a step that takes as long as so many stands for itself
_SLACK_S = 1e-3
_FEW_STEPS = 4
_GROWN_S = 1.0  # a younger process is not asked for its switches: that loads a module
_LIGHT = (at.IMPORT, at.LOGGING, at.CHECKPOINT)
_LOOP = (at.DATA, at.FORWARD, at.BACKWARD, at.OPTIMISER, at.VALIDATION, at.OTHER, at.WAITING)

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

UNTIMED = 2  # of `skip`
_resource: Any = None
clock, process_cpu, thread_cpu = time.perf_counter, time.process_time, time.thread_time


class Timeline:
    """The account of this process, on its page. One per process; a forked child gets its own by `begin`."""

    __slots__ = (
        "_cpu_s", "_draw", "_folder", "_left", "_look_s", "_look_step", "_loop_s", "_map", "_own_s", "_quiet", "_read_s", "_snapshot",
        "apart_s", "before_cpu_s", "before_s", "began_s", "begun", "called", "facts", "folder_prefix", "instead", "kind", "last", "main",
        "page", "regular", "skip", "slept", "step", "step_s", "stride", "ticks", "usual", "waits_s", "weight", "woken",
    )  # fmt: skip

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.folder_prefix = os.path.join(folder, "agent-")
        self._map: Any = None
        self.slept: Callable[[], Any] = _nothing  # returns whose steps are the usual ones
        self.woken: Callable[[int], None] | None = None  # told how many steps went by untimed
        self.called: Callable[[], None] | None = (
            None  # a remedy's: told of each outermost call of an estimator
        )
        self.instead: Callable[..., Any] | None = None  # a remedy's: stands in for such a call
        self.begin("main")

    def begin(self, kind: str) -> None:
        """Begin the account of this process, on a page of its own. Raises OSError if there is no place for one."""
        self.began_s = now = clock()
        pid = os.getpid()
        name = f"{self.folder_prefix}{os.uname().nodename}-{pid}-{int(now * 1000)}"
        self.page: Any = memoryview(bytearray(at.SIZE)).cast("d")  # until there is a file
        self.facts = Facts(name + ".facts", now)
        self._read_s, self._cpu_s, self._own_s = now, process_cpu(), thread_cpu()
        self.main = get_ident()
        self.kind = at.GAP
        self.last = at.SETUP
        self.skip = 0  # 1: in a forward pass, 2: in steps that are not timed
        self.ticks: Any = iter(range(0))  # how many steps are still to be left untimed: each takes one
        self._quiet = 0  # how many there were of them
        self._left = 0  # of them, behind a step that is timed since a pass begins there
        self.usual: Any = None  # while steps are untimed: the optimiser that makes them
        self.step = 0
        self.begun = 0  # steps before the training that runs now
        self.step_s = 0.0  # what a step takes
        self.waits_s = 0.0  # of that, what its batch takes
        self.apart_s = 0.0  # of the steps that are untimed: what was long, and told by itself
        self.regular = False  # passes without gradient belong to each step
        self.before_s = self.before_cpu_s = 0.0
        self.stride = 1
        self.weight = 1  # how many steps the timed one stands for
        self._draw = pid
        self._loop_s = 0.0  # since when there are steps
        self._look_s, self._look_step = now, 0
        self._snapshot: list[float] | None = None
        self._map = self._open(name + ".page")
        self.page = page = memoryview(self._map).cast("d")
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
        page[SINCE] = now  # first: a reader in between misses a moment, and counts none twice
        page[WALL + phase] += elapsed
        page[CURRENT] = self.kind = kind
        if now > self.facts.due_s:
            self.tell(now)
        return before

    def leave(self, before: int) -> None:
        """End a hooked call."""
        now = clock()
        page = self.page
        kind = self.kind
        elapsed = now - page[SINCE]
        page[SINCE] = now
        page[WALL + kind] += elapsed
        page[CALLS + kind] += 1
        if now - self._read_s > _READ_CPU_S:
            self._read_cpu(now, kind, 0.0, kind)
        page[CURRENT] = self.kind = before
        if kind not in _LIGHT:
            self.last = kind
            self.before_s = self.before_cpu_s = 0.0
        elif self.last != SETUP:
            self.last = kind
        if now > self.facts.due_s:
            self.tell(now)

    def tell(self, now: float) -> None:
        """Write the facts, which are due."""
        self.page[at.DELAY_AT] = run_delay_s()
        if now - self.began_s > _GROWN_S:
            self.facts.put("switches", switches())
        self.facts.write(now)

    def stepped(self) -> None:
        """Count an optimiser step, and decide whether the next ones are timed. Called in the gap behind it."""
        if self.skip == UNTIMED:
            for _ in self.ticks:
                return
            self.wake(1)
            return
        page = self.page
        self.step += 1
        self.weight = 1
        page[at.STEPS] += 1
        if self.step - self._look_step >= _LOOK_EVERY or not self._loop_s:
            self._look()
        if self.stride == 1:
            return
        own = self.step - self.begun
        looks = not own & (own - 1)  # at the next step
        if self._snapshot is None:  # what was timed of this step was not the whole of it
            if self._left and not looks:
                self._sleep(self._left - 1)
            else:
                self._take_snapshot()
            return
        self._sample(self._snapshot)
        if looks:
            self._take_snapshot()
            return
        # random numbers as in ISO C's own example, which needs no module; in the mean it is stride - 2
        self._draw = (self._draw * 1103515245 + 12345) & 0x7FFFFFFF
        self._sleep((self._draw >> 8) % (2 * self.stride - 3) if self.stride > 2 else 0)

    def _look(self) -> None:
        """See how fast steps are made, and how many may go by untimed."""
        now = clock()
        if not self._loop_s:
            self._loop_s = self._look_s = now
            self._look_step = self.step
            return
        took_s = (now - self._look_s) / (self.step - self._look_step)
        self.step_s = self.step_s or took_s
        soon, late = _TIMED_EVERY_S
        every_s = min(late, max(soon, (now - self._loop_s) * _AGE_SHARE))
        self.stride = max(1, int(every_s / max(1e-9, took_s)))
        self._look_s, self._look_step = now, self.step

    def _take_snapshot(self) -> None:
        """Remember how the account stands before a step that is a sample."""
        page = self.page
        self._snapshot = [page[WALL + phase] for phase in _LOOP]
        self._snapshot += (page[CALLS + at.FORWARD], page[CALLS + at.BACKWARD])

    def _sample(self, snapshot: list[float]) -> None:
        """Take in a step that was timed while others were not; a far longer one stands for itself."""
        page = self.page
        # what stood apart may have begun before: a step that took less than nothing would make every later one shorter still
        grown = [max(0.0, page[WALL + phase] - before) for phase, before in zip(_LOOP, snapshot)]  # noqa: B905 - Python 3.9
        if not self.regular:
            grown[_LOOP.index(at.VALIDATION)] = 0.0
        took_s = sum(grown)
        most_s = _LONG_STEPS * self.step_s
        self.step_s += 0.1 * (min(took_s, most_s) - self.step_s)
        if took_s > most_s + _SLACK_S:
            return
        page[at.SAMPLED_STEPS] += 1
        for phase, seconds in zip(_LOOP, grown):  # noqa: B905
            page[at.SAMPLED + phase] += seconds
        for n, phase in enumerate((at.FORWARD, at.BACKWARD)):
            page[at.SAMPLED_CALLS + phase] += page[CALLS + phase] - snapshot[len(_LOOP) + n]

    def wake(self, more: int = 0) -> None:
        """Time again what happens, after `more` steps that took no tick; for whatever is no ordinary step."""
        if self.kind == at.UNSAMPLED:
            self._wake(at.GAP, clock(), more)

    def wake_between(self) -> None:
        """Wake between two steps, where a pass ends or begins: behind the next step, the untimed ones go on."""
        if self.kind == at.UNSAMPLED:
            left = self.ticks.__length_hint__()
            self.wake()
            # at each step it may be within one, whose other half would be told by itself
            self._left = left if self._quiet - left >= _FEW_STEPS else 0

    def _sleep(self, quiet: int) -> None:
        """Leave the next steps untimed, so many of them, but for those behind 1, 2, 4, 8 ... steps of a training.

        Equal trainings are known by their losses there: at random steps they would hardly ever meet.
        """
        own = self.step - self.begun
        quiet = min(quiet, (1 << own.bit_length()) - own - 1)
        now = clock()
        page = self.page
        elapsed = now - page[SINCE]
        page[SINCE] = now
        page[WALL + at.OTHER] += elapsed
        page[CURRENT] = self.kind = UNSAMPLED
        self._quiet, self._left = quiet, 0
        self.ticks = iter(range(quiet))
        self.apart_s = 0.0
        self.skip = UNTIMED
        self.usual = self.slept()

    def long_s(self) -> float:
        """Return what is long beside a step, and beside what its batch takes."""
        return max(_LONG_GAP_S, self.step_s, _LONG_STEPS * self.waits_s)

    def waited(self, seconds: float) -> bool:
        """Take in what a batch took in a timed step; say whether that was far longer than it is."""
        long_s = self.long_s()
        self.waits_s += 0.1 * (min(seconds, long_s) - self.waits_s)
        return seconds > long_s

    def so_far(self) -> int:
        """Return the steps so far, with those that go by untimed."""
        return self.step + (self._quiet - self.ticks.__length_hint__() if self.kind == UNSAMPLED else 0)

    def apart(self, kind: int, seconds: float) -> None:
        """Tell a long call by itself that stood among the steps; a timed one, too, is no sample then."""
        if self.kind == UNSAMPLED:
            self.apart_s += seconds
            self.page[WALL + kind] += seconds
        elif self._snapshot is not None:
            self._snapshot[_LOOP.index(kind)] += seconds

    def _wake(self, kind: int, now: float, more: int = 0) -> int:
        page = self.page
        count = self._quiet - self.ticks.__length_hint__() + more
        self.usual = None
        self.skip = 0
        elapsed = now - page[SINCE] - self.apart_s
        page[SINCE] = now
        steps_s = (count + 1) * self.step_s
        if elapsed <= _LONG_STEPS * steps_s + _SLACK_S:
            steps_s = elapsed
        self._untimed(now, steps_s, elapsed - steps_s)
        self.last = at.OPTIMISER
        self.weight += count
        if count:
            self.step += count
            page[at.STEPS] += count
            page[at.UNSAMPLED_STEPS] += count
        if self.woken is not None:
            self.woken(count)
        page[CURRENT] = self.kind = kind
        self._snapshot = None
        if more:
            self._take_snapshot()
        if now > self.facts.due_s:
            self.tell(now)
        return GAP

    def _untimed(self, now: float, steps_s: float, rest_s: float) -> None:
        """Give the time since the last reading to untimed steps, to what was told apart, and to what else there was."""
        page = self.page
        cpu_s, own_s = process_cpu(), thread_cpu()
        used, own = cpu_s - self._cpu_s, max(0.0, own_s - self._own_s)
        page[at.CPU_AT] = self._cpu_s = cpu_s
        page[at.OWN_AT] = self._own_s = own_s
        self._read_s = now
        page[at.UNSAMPLED_WALL] += steps_s
        if not rest_s and not self.apart_s:
            page[at.UNSAMPLED_CPU] += used
            return
        in_steps = min(own, steps_s)
        apart = min(own - in_steps, self.apart_s)
        in_rest = min(own - in_steps - apart, rest_s)
        others = used - apart - in_rest
        page[at.CPU + at.DATA] += apart
        page[at.CPU + at.OTHER] += in_rest
        page[at.UNSAMPLED_CPU] += max(0.0, others)
        waited = rest_s - in_rest
        if waited > 0.1 * rest_s:
            delay_s = run_delay_s()
            waited -= min(waited, delay_s - page[at.DELAY_AT])
            page[at.DELAY_AT] = delay_s
        page[WALL + at.WAITING] += waited
        page[WALL + at.OTHER] += rest_s - waited

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
        waited -= min(waited, float(delay_s - page[at.DELAY_AT]))  # it had no core: that is no waiting
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

    def end(self) -> None:
        """Count the last steps and say when the interpreter ended, where it has time to; nothing depends on it."""
        self.wake()
        self.tell(clock())

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


def _nothing() -> None:
    """Stand in for who has nothing to do."""


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


def switches() -> int:
    """Return how often a thread of this process gave its CPU away to wait; 0 where the system does not tell."""
    global _resource  # noqa: PLW0603 - a module that is not to be imported for the program
    try:
        _resource = _resource or load("resource")
    except ImportError:
        return 0
    return int(_resource.getrusage(_resource.RUSAGE_SELF).ru_nvcsw)


def _arguments() -> list[str]:
    return list(getattr(sys, "orig_argv", None) or getattr(sys, "argv", None) or [])[:50]
