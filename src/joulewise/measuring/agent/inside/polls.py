"""Looks for something to do that found nothing: of queues, event loops, futures.

A thread that looks again and again and finds nothing polls. Its CPU time is told from one window of `_WINDOW` such looks to
the next, where a turn of its loop takes a few times what the look itself takes (the quickest of the window), or, of a loop that
sleeps for a moment at each turn, what waking up takes. A loop that works between two looks (a game, a training loop that reads
its commands, coroutines that compute and let others run) takes more, and is none.
"""

from __future__ import annotations

import functools
from _thread import get_ident

from .stdlib import load
from .timeline import Timeline, clock, thread_cpu

TYPE_CHECKING = False  # typing would be the dearest import of a small program
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_WINDOW = 64
_TURN = (
    10.0  # looks that a turn of a bare polling loop takes at most; asyncio's takes four to six, a queue's two
)
_LETTING = 4.0  # looks that each `await asyncio.sleep(0)` of a turn takes beside it
_WAIT_S = 2.5e-3  # a look that waits no longer than this is one of a polling loop
_WAKING_S = 150e-6  # CPU time of a turn that slept: a timer, two switches, cold caches
_MOST_THREADS = 64

_MADE: dict[str, tuple[tuple[str, str], ...]] = {  # module: class and method that looks
    "queue": (("Queue", "get"), ("Queue", "empty")),
    "multiprocessing.queues": (("Queue", "get"), ("Queue", "empty"), ("SimpleQueue", "empty")),
    "concurrent.futures._base": (("Future", "done"),),
    "selectors": (("SelectSelector", "select"), ("PollSelector", "select"), ("EpollSelector", "select"), ("KqueueSelector", "select")),
}  # fmt: skip
_SLEEP = "asyncio.tasks"


class _Row:
    """A thread's looks since its window began; `told` is its fact, once it has polled."""

    __slots__ = ("began_s", "cpu_s", "let", "look_s", "looks", "number", "switches", "told")

    def __init__(self) -> None:
        self.told: dict[str, Any] | None = None
        self.number = 0
        self.begin(0)

    def begin(self, switches: int) -> None:
        self.looks = self.let = 0
        self.look_s = 1.0
        self.switches = switches
        self.began_s, self.cpu_s = clock(), thread_cpu()


class Polls:
    """The looks of one process, by thread."""

    def __init__(self, line: Timeline) -> None:
        self._line = line
        self._usage: Any = None
        self.reset()

    def reset(self) -> None:
        """Forget, as a forked child must."""
        self._rows: dict[int, _Row] = {}
        self._told = 0

    def watched(self, name: str) -> Callable[[Any], None] | None:
        """Return what is to be done with a module, if it has something to look at."""
        return self._wrap if name in _MADE else self._wrap_sleep if name == _SLEEP else None

    def wrap_known(self, modules: Any) -> None:
        """Stand around what was imported before us."""
        for name in (*_MADE, _SLEEP):
            then = self.watched(name)
            if name in modules and then is not None:
                then(modules[name])

    def _wrap(self, module: Any) -> None:
        for owner, name in _MADE[module.__name__]:
            cls = getattr(module, owner, None)
            original = cls.__dict__.get(name) if cls is not None else None
            if original is None:
                continue
            if name == "select":
                setattr(cls, name, self._selecting(original))
            elif name == "get":
                setattr(cls, name, self._getting(original))
            else:
                setattr(cls, name, self._asking(original, nothing=name == "empty"))

    def _wrap_sleep(self, module: Any) -> None:
        original, loop = module.sleep, module.events._get_running_loop  # noqa: SLF001 - the quick way to a loop

        @functools.wraps(original)
        async def sleep(
            delay: Any, *args: Any, **kwargs: Any
        ) -> Any:  # a coroutine function, as mocks ask for
            if delay <= 0:
                row = self._rows.get(get_ident())
                if row is not None:
                    row.let += 1
            if delay <= _WAIT_S and type(loop()).__module__.startswith("uvloop"):
                self._looked(1e-6)
            return await original(delay, *args, **kwargs)

        module.sleep = sleep

    def _selecting(self, original: Any) -> Any:
        @functools.wraps(original)
        def select(selector: Any, timeout: Any = None) -> Any:
            if timeout is None or timeout > _WAIT_S:
                return original(selector, timeout)
            began_s = clock()
            ready = original(selector, timeout)
            if not ready:
                self._looked(clock() - began_s)
            return ready

        return select

    def _getting(self, original: Any) -> Any:
        @functools.wraps(original)
        def get(queue: Any, *args: Any, **kwargs: Any) -> Any:
            began_s = clock()
            try:
                return original(queue, *args, **kwargs)
            except Exception:
                took_s = clock() - began_s
                if took_s <= _WAIT_S:
                    self._looked(took_s)
                raise

        return get

    def _asking(self, original: Any, *, nothing: bool) -> Any:
        @functools.wraps(original)
        def ask(asked: Any) -> Any:
            began_s = clock()
            answer = original(asked)
            if bool(answer) is nothing:
                self._looked(clock() - began_s)
            return answer

        return ask

    def _looked(self, took_s: float) -> None:
        row = self._rows.get(get_ident())
        if row is None:
            if len(self._rows) < _MOST_THREADS:
                self._rows[get_ident()] = _Row()
            return
        row.looks += 1
        row.look_s = min(row.look_s, took_s)
        if row.looks >= _WINDOW:
            self._window(row)

    def _window(self, row: _Row) -> None:
        now_s, used_s, switches = clock(), thread_cpu() - row.cpu_s, self._switches()
        wall_s, slept = now_s - row.began_s, switches - row.switches
        bare_s = row.look_s * (_TURN * _WINDOW + _LETTING * row.let)
        napping = slept >= 0.9 * _WINDOW and wall_s <= 2 * _WAIT_S * _WINDOW
        if used_s <= bare_s or (napping and used_s <= _WAKING_S * _WINDOW):
            self._tell(row, used_s, wall_s, now_s)
        row.begin(switches)

    def _tell(self, row: _Row, used_s: float, wall_s: float, now_s: float) -> None:
        if row.told is None:
            from .callers import where  # no small program is to pay for it

            row.number, self._told = self._told, self._told + 1
            row.told = {"looks": 0, "cpu_s": 0.0, "wall_s": 0.0, "where": where()}
        row.told["looks"] += _WINDOW
        row.told["cpu_s"] += used_s
        row.told["wall_s"] += wall_s
        self._line.facts.put(f"poll/{row.number}", row.told)
        if now_s > self._line.facts.due_s:
            self._line.tell(now_s)

    def _switches(self) -> int:
        """Return how often this thread has given its CPU away; 0 where the system does not tell."""
        if self._usage is None:
            resource = load("resource")
            who = getattr(resource, "RUSAGE_THREAD", None)
            self._usage = (lambda: 0) if who is None else lambda: resource.getrusage(who).ru_nvcsw
        return int(self._usage())
