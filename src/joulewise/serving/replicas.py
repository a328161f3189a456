"""Replicas on one machine: each worker tells its traffic on a board, the first decides how many there are, the parent starts and ends them.

All take connections from the same socket, so whoever is idle takes the next. When one has come, the others give it some of
their kept connections; when one goes, others are given its own: nothing that was asked is lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, final

from joulewise.serving.app import Service
from joulewise.serving.keeping import Keeper, Line
from joulewise.serving.scaling import Replica, Scale, Scaling, per_s, scale, watched

_TELL_S = 1.0
_LOADED = 0.3  # of a core: from this load on what a request takes tells how many can be answered
_BUSY = 0.8  # of a core: a queue needs room


@final
class Capacity:
    """How many requests a second one worker can answer.

    As many as it does answer while more wait than the latency target allows; else by the CPU time that they took when it was last
    loaded; before that by its models' lines.
    """

    def __init__(self, target_s: float) -> None:
        self._target_s = target_s
        self._seen = (0.0, 0, 0.0)
        self._per_s = 0.0

    def look(self, now_s: float, requests: int, busy_s: float, waiting: int, by_lines: float) -> float:
        """Return it as of now; `requests` and their CPU seconds are those since the worker began. 0 is not known."""
        (then_s, before, was_s), self._seen = self._seen, (now_s, requests, busy_s)
        rate = (requests - before) / (now_s - then_s) if now_s > then_s else 0.0
        if rate > 0 and waiting > self._target_s * rate:
            self._per_s = rate
        elif rate > 0 and busy_s - was_s >= _LOADED * (now_s - then_s):
            self._per_s = _BUSY * (requests - before) / (busy_s - was_s)
        return self._per_s or by_lines


@final
class Replicas:
    """How many workers there are, decided anew every `scaling.step_s`. `minutes` is asked once for the traffic of past days."""

    def __init__(
        self,
        scaling: Scaling,
        wake_s: float = 1.0,
        minutes: Callable[[], Sequence[float]] = tuple,
        told: Callable[[str], None] = lambda _note: None,
    ) -> None:
        self.scaling = scaling
        self.count = scaling.least
        self._wake_s = wake_s
        self._minutes = minutes
        self._told = told
        self._state: dict[str, Any] = {}
        self._per_s = 0.0
        self._needs: list[tuple[float, int]] = []

    def decide(self, lines: dict[int, Line], now_s: float) -> Scale | None:
        """Return how many workers from now on, by the board's lines; None while nobody knows what one can do."""
        self._state, traffic = watched(
            self._state,
            now_s,
            {str(number): line.requests for number, line in lines.items()},
            sum(line.waiting for line in lines.values()),
        )
        self._per_s = max((line.per_s for line in lines.values()), default=0.0) or self._per_s
        if not self._per_s:
            return None
        self._needs = [(at, need) for at, need in self._needs if now_s - at <= self.scaling.hold_s]
        found = scale(
            traffic,
            Replica(self._per_s, self._wake_s),
            self.scaling,
            [need for _at, need in self._needs],
        )
        self._needs.append((now_s, found.needed))
        return found

    async def keep(self, service: Service, keeper: Keeper) -> None:
        """Tell this worker's traffic once a second; the first worker decides, too."""
        if keeper.number == 0:
            loop = asyncio.get_running_loop()
            self._state["minutes"] = list(await loop.run_in_executor(None, self._minutes))
            keeper.want(self.count)
        decided_s, before = time.monotonic(), 0.0
        capacity, tally = Capacity(self.scaling.target_s), service.tally
        while True:
            able = capacity.look(time.monotonic(), tally.requests, tally.busy_s, tally.inside, per_s(service))
            keeper.tell(Line(float(tally.requests), float(tally.inside), able))
            if keeper.number == 0 and time.monotonic() - decided_s >= self.scaling.step_s:
                decided_s = time.monotonic()
                lines = keeper.lines()
                asked = sum(line.requests for line in lines.values())
                if asked != before:
                    service.used_s = decided_s  # what others answer keeps the first awake
                before = asked
                self._follow(self.decide(lines, decided_s), keeper)
            await asyncio.sleep(_TELL_S)

    def _follow(self, found: Scale | None, keeper: Keeper) -> None:
        if found is not None and found.replicas != self.count:
            self._told(f"{found.replicas} replicas from now on, before {self.count} ({found.why})")
            self.count = found.replicas
            keeper.want(self.count)
