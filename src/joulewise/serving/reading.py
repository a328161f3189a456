"""Bodies that arrive too slowly, without a timer for each: one look over all that are being read.

A client that sends a byte now and then would hold a place for ever. Most bodies are here when they are asked for, so a
timer for each would cost more than reading it; one timer looks over all readers while there are any. A body gets
between one and one and a half times `within_s`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

from joulewise.serving.tensors import Refused


@final
class Readers:
    """The tasks that wait for a body, and since when."""

    def __init__(self, within_s: float) -> None:
        self._within_s = within_s
        self._since_s: dict[asyncio.Task[Any], float] = {}
        self._slow: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._since_s)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read a body in this block; raises Refused (408) in it when it takes too long."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - requests are answered in tasks
        self._since_s[task] = time.monotonic()
        if self._timer is None:
            self._look_later()
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._slow:
                raise
            task.uncancel()
            raise Refused(408, f"the body did not arrive within {self._within_s:.3g} s") from None
        finally:
            del self._since_s[task]
            self._slow.discard(task)

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._within_s / 2, self._look)

    def _look(self) -> None:
        self._timer = None
        now_s = time.monotonic()
        for task, since_s in self._since_s.items():
            if now_s - since_s >= self._within_s and task not in self._slow:
                self._slow.add(task)
                task.cancel()
        if self._since_s:
            self._look_later()
