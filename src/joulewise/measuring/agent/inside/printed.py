"""The curve of a program that trains without a framework: its own numbers, read where it prints, by epoch.

Only a program that has imported numpy is looked at, and one whose calling code has no variable named like an epoch is let go.
"""

from __future__ import annotations

import sys
from _thread import get_ident

from .timeline import Timeline, clock

_TRIES = 50  # lines without an epoch, before the program is let go
_EACH = 2000  # lines that are looked at, each; later ones at most every
_EVERY_S = 0.05


class Printed:
    """What a process printed so far. `look` is called when it has printed a line, or logged one."""

    def __init__(self, line: Timeline) -> None:
        self._line = line
        self._looks = self._missed = 0
        self._due_s = 0.0
        self._epochs: set[float] = set()
        self._told: object = None

    def look(self) -> None:
        """Read the epoch and the metrics of the calling code."""
        now_s = clock()
        if now_s < self._due_s or "numpy" not in sys.modules or get_ident() != self._line.main:
            return
        from . import callers

        self._looks += 1
        if self._looks > _EACH:
            self._due_s = now_s + _EVERY_S
        try:
            epoch, values = callers.epoch(), callers.metrics()
        except Exception as error:  # noqa: BLE001 - the agent's edge: no fault of ours reaches the program
            self._line.facts.add("faults", f"printed: {type(error).__name__}: {error}"[:300])
            self._due_s = float("inf")
            return
        if epoch is None:
            self._missed += 1
            if self._missed >= _TRIES and not self._epochs:
                self._due_s = float("inf")
            return
        if len(self._epochs) < 100_000:
            self._epochs.add(epoch)
        kept = {k: v for k, v in values.items() if v == v and abs(v) != float("inf")}  # noqa: PLR0124 - NaN is not itself
        if kept and (epoch, kept) != self._told:
            self._told = (epoch, kept)
            self._line.facts.put("epochs", len(self._epochs))
            self._line.facts.add("named", [now_s, len(self._epochs), epoch, kept])
