"""Ask something slow again and again, in a thread of its own, so that reading its last answer never waits.

An exporter on the network or a command of the cluster may take seconds, or never answer. The recorder must not
wait for it: it reads the last answer and how old that is.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, final

from joulewise.vocabulary.errors import MeterError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """The last good answer, when it came (monotonic seconds), and why there is none since ("" if there is)."""

    value: T | None = None
    at_s: float = 0.0
    fault: str = ""


@final
class Poller(Generic[T]):
    """Asks `ask` every `interval_s` seconds and keeps its last answer; `ask` raises MeterError where it has none.

    Nothing is asked before `start` or `poll`. The thread is a daemon, and is started anew in a forked child.
    """

    def __init__(
        self, ask: Callable[[], T], interval_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self.interval_s = interval_s
        self._monotonic = monotonic
        self._answer: Answer[T] = Answer()
        self._pid = 0  # of the process in which the thread runs; 0: it was not started
        self._closed = threading.Event()

    @property
    def answer(self) -> Answer[T]:
        """The last answer; never waits."""
        if self._pid and self._pid != os.getpid():
            self._closed = threading.Event()
            self._begin(threading.Event())
        return self._answer

    def age_s(self) -> float:
        """Return how old the last good answer is, in seconds."""
        return self._monotonic() - self._answer.at_s

    def start(self, wait_s: float) -> Answer[T]:
        """Begin to ask in a thread, wait at most `wait_s` for the first answer, and return what there is then."""
        asked = threading.Event()
        self._begin(asked)
        if not asked.wait(wait_s):
            return Answer(fault=f"no answer within {wait_s:g} s")
        return self._answer

    def poll(self) -> Answer[T]:
        """Ask now, in this thread, and return the answer."""
        try:
            value = self._ask()
        except MeterError as fault:
            self._answer = Answer(self._answer.value, self._answer.at_s, str(fault))
        else:
            self._answer = Answer(value, self._monotonic())
        return self._answer

    def close(self) -> None:
        """Ask no more; a question that is under way is not waited for."""
        self._pid = 0
        self._closed.set()

    def _begin(self, asked: threading.Event) -> None:
        self._pid = os.getpid()
        threading.Thread(
            target=self._run, args=(asked, self._closed), name="joulewise-poll", daemon=True
        ).start()

    def _run(self, asked: threading.Event, closed: threading.Event) -> None:
        while True:
            self.poll()
            asked.set()
            if closed.wait(self.interval_s):
                return
