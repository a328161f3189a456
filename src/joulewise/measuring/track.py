"""The Python face: record a stretch of your own program, with phases and what it logs.

    with joulewise.track("my-training", budget="2MJ") as run:
        for epoch in range(10):
            with run.span("data"):
                ...
            run.log(epoch=epoch, epochs=10, loss=loss)

The same recording as from the shell. Inside `joulewise run` it joins the recording that is already being made:
its spans and points are added, no device is read twice. Spans may nest and may overlap between threads and asyncio
tasks; each keeps its own parent. A forked child that calls `span` or `log` writes to a file of its own.

A budget is checked where stopping is safe: at `log` and when a span begins; there `BudgetExceeded` is raised.
`run.should_stop` tells the same without raising, for a framework's own way to stop.
"""

from __future__ import annotations

import functools
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, final

from joulewise.ledger.files import FORMAT, RecordingFile, boot_id, process_start
from joulewise.measuring.recorder import Recorder
from joulewise.vocabulary.budget import Verdict
from joulewise.vocabulary.errors import BudgetExceeded
from joulewise.vocabulary.recording import EndState, Recording

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_open_span: ContextVar[int | None] = ContextVar("joulewise_open_span", default=None)
_CHECK_EVERY_S = 0.2


@final
class Run:
    """A stretch of work that is being recorded: open spans in it, log points, ask what it has used."""

    def __init__(
        self, writer: Callable[..., None], recorder: Recorder | None, judge: Callable[[], Verdict | None]
    ) -> None:
        self._write = writer
        self._recorder = recorder
        self._judge = judge
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._checked_s = float("-inf")
        self._verdict: Verdict | None = None
        self.recording: Recording | None = None  # set when the run has ended

    @property
    def run_id(self) -> str:
        """The id of its own recording; "" where it is part of the recording around it."""
        return "" if self._recorder is None else self._recorder.run_id

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Mark a stretch of work; usable as a decorator, too. Raises BudgetExceeded if the budget is spent."""
        self._check()
        number = next(self._numbers)
        parent = _open_span.get()
        token = _open_span.set(number)
        self._append("open", id=number, parent=parent, name=str(name), thread=threading.current_thread().name)
        try:
            yield
        finally:
            _open_span.reset(token)
            self._append("close", id=number)

    def log(self, **values: Any) -> None:
        """Log numbers of this moment: `log(epoch=3, epochs=10, loss=0.2)`. Raises BudgetExceeded if the budget is spent.

        `epoch` with `epochs` (or `step` with `steps`, or `progress` from 0 to 1) makes the forecast; `samples`
        (or `tokens`, `images`, `steps`) makes the throughput; `trial` counts trials.
        """
        self._append("point", values=values)
        self._check()

    def param(self, **values: Any) -> None:
        """Note what the work is: dataset size, parameters of the model, seed."""
        self._append("params", params=values)

    def note(self, text: str) -> None:
        """Note something worth telling."""
        self._append("note", kind="user", text=text)

    @property
    def should_stop(self) -> bool:
        """Whether a hard limit of the budget is reached."""
        return self._stop_verdict() is not None

    @property
    def energy_j(self) -> float | None:
        """Joules of this work so far (its central value), None while nothing is known."""
        latest = self._recorder.latest if self._recorder else None
        return latest.energy_j.value if latest and latest.energy_j else None

    def _append(self, kind: str, /, **values: Any) -> None:
        if os.getpid() != self._process:
            self._after_fork()
        self._write(kind, **values)

    def _after_fork(self) -> None:
        """Go on in a forked child with a file of its own: the recorder's thread stayed with the parent."""
        folder = self._recorder.folder if self._recorder else None
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._recorder = None
        self._judge = _no_verdict
        self._verdict = None
        self._write = Joined(folder).append

    def _check(self) -> None:
        verdict = self._stop_verdict()
        if verdict is not None:
            raise BudgetExceeded(verdict.reason)

    def _stop_verdict(self) -> Verdict | None:
        now_s = time.monotonic()
        if now_s - self._checked_s >= _CHECK_EVERY_S:
            self._checked_s = now_s
            self._verdict = self._judge()
        return self._verdict if self._verdict is not None and self._verdict.stops else None


@final
class Joined:
    """A process's own file in a recording that another process is making."""

    def __init__(self, folder: Path | None) -> None:
        host, pid = os.uname().nodename, os.getpid()
        self._lock = threading.Lock()
        self._began_s = time.monotonic()
        name = f"joined-{host}-{pid}-{int(self._began_s * 1000)}.jsonl"
        self._file = RecordingFile(folder, name)
        self._file.append(
            "head", format=FORMAT, run=folder.name if folder else "", name="", role="joined", host=host, boot=boot_id(),
            pid=pid, pid_start=process_start(pid), utc=datetime.now(UTC).isoformat(timespec="milliseconds"), mono=self._began_s,
        )  # fmt: skip

    def append(self, kind: str, /, **values: Any) -> None:
        """Add a line, at the time that has passed since this file began. Safe from any thread."""
        with self._lock:
            self._file.append(kind, t=round(time.monotonic() - self._began_s, 4), **values)


@final
class Track:
    """`with joulewise.track(...)` and `@joulewise.track(...)`: opens a run, ends it with how it ended.

    `open_run` starts recording and returns the run; it is called anew each time, so that a decorated function
    makes one recording a call.
    """

    def __init__(self, open_run: Callable[[str | None], Run]) -> None:
        self._open_run = open_run
        self._run: Run | None = None

    def __enter__(self) -> Run:
        self._run = self._open_run(None)
        return self._run

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run, self._run = self._run, None
        if run is not None:
            end(run, error)

    def __call__(self, function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        """Record every call of `function`, by default under its name."""

        @functools.wraps(function)
        def recorded(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            run = self._open_run(function.__name__)
            error: BaseException | None = None
            try:
                return function(*args, **kwargs)
            except BaseException as raised:
                error = raised
                raise
            finally:
                end(run, error)

        return recorded


def end(run: Run, error: BaseException | None) -> None:
    """End a run: finished, stopped by its budget, or failed with the exception's name as the reason."""
    recorder = run._recorder  # noqa: SLF001 - one noun in two functions
    if recorder is None or recorder.process != os.getpid():  # a forked child leaves the block of its parent
        return
    if error is None:
        run.recording = recorder.stop(EndState.FINISHED, exit_code=0)
    elif isinstance(error, BudgetExceeded):
        run.recording = recorder.stop(EndState.STOPPED, reason=str(error))
    else:
        run.recording = recorder.stop(EndState.FAILED, reason=f"{type(error).__name__}: {error}"[:500])


def _no_verdict() -> None:
    return None
