"""The queue and where it is computed, one batch at a time: what arrives while a batch runs forms the next.

    submit() ──> queue ──> pump: next_batch() ──> thread: stack, run, split, encode ──> each job's outcome

A short batch is computed in the event loop itself (`worth_a_thread`), a longer one in a thread. A batch that the model
refuses is computed again one by one, so that one bad input spoils nobody else's answer. A job that nobody waits for any
more is not computed. A fault of ours costs the requests of its batch (500) and nobody else. Everything but `_compute`
runs in the event loop; no lock is needed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import final

import numpy as np

from joulewise.serving.batching import Line, LineFit, Load, Waiting, most_rows, next_batch, worth_a_thread
from joulewise.serving.onnx_model import Model
from joulewise.serving.tensors import Refused, Tensor

Encode = Callable[[list[Tensor]], bytes]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job: its encoded answer and the CPU seconds of its share of the batch, or why there is none."""

    body: bytes = b""
    cpu_s: float = 0.0
    refused: Refused | None = None


@final
class Job:
    """Tensors that wait for the model, and who waits for them.

    `landed` is called once with the outcome, before those who wait hear of it.
    """

    __slots__ = ("encode", "landed", "outcome", "tensors", "waiters", "waiting")

    def __init__(
        self,
        tensors: Sequence[Tensor],
        batches: bool,
        encode: Encode,
        landed: Callable[[Job, Outcome], None] | None = None,
    ) -> None:
        self.tensors = tensors
        self.encode = encode
        self.landed = landed
        self.waiting = _waiting(tensors, batches)
        self.waiters: set[asyncio.Future[Outcome]] = set()
        self.outcome: Outcome | None = None

    async def wait(self, deadline_s: float) -> Outcome:
        """Wait for the outcome; after `deadline_s` it is a refusal (504). The job itself goes on if others wait."""
        if self.outcome is not None:
            return self.outcome
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Outcome] = loop.create_future()
        self.waiters.add(waiter)
        timer = loop.call_later(deadline_s, _expire, waiter, deadline_s)
        try:
            return await waiter
        finally:
            timer.cancel()
            self.waiters.discard(waiter)

    def land(self, outcome: Outcome) -> None:
        """Tell everybody who waits."""
        self.outcome = outcome
        if self.landed is not None:
            self.landed(self, outcome)
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(outcome)


def _expire(waiter: asyncio.Future[Outcome], deadline_s: float) -> None:
    if not waiter.done():
        reason = f"the deadline of {deadline_s:.3g} s passed before the answer"
        waiter.set_result(Outcome(refused=Refused(504, reason)))


def _waiting(tensors: Sequence[Tensor], batches: bool) -> Waiting:
    if not batches:
        return Waiting(1, object())  # like nobody else's
    signature: Hashable = tuple(t.shape[1:] for t in tensors)
    return Waiting(tensors[0].shape[0], signature)


@final
class Engine:
    """Runs jobs through a model in batches, and learns what a batch costs in seconds and CPU seconds."""

    def __init__(
        self,
        model: Model,
        *,
        target_s: float = 0.1,
        limit_rows: int = 64,
        cpu_s: Callable[[], float] = time.thread_time,
        on_batch: Callable[[int, float], None] = lambda _rows, _cpu_s: None,
    ) -> None:
        self.model = model
        self.seconds, self.cpu_seconds = LineFit(), LineFit()
        self._target_s = target_s
        self._limit_rows = limit_rows if model.batches else 1
        self._cpu_s = cpu_s
        self._on_batch = on_batch
        self._queue: list[Job] = []
        self._rows = 0  # in the queue and in the batch that runs
        self.most = self._limit_rows  # the largest batch that is worth running now
        self.seconds_line: Line | None = None
        self._pump: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "joulewise-model")

    def load(self, held_bytes: int = 0) -> Load:
        """Return what waits and runs now."""
        return Load(len(self._queue), self._rows, held_bytes)

    @property
    def busy(self) -> bool:
        """Whether anything waits or runs."""
        return self._rows > 0

    def submit(self, job: Job) -> None:
        """Put a job into the queue; whoever waits for it will have the outcome."""
        self._queue.append(job)
        self._rows += job.waiting.rows
        if self._pump is None or self._pump.done():
            self._begin()

    def _begin(self) -> None:
        self._pump = asyncio.get_running_loop().create_task(self._run())
        self._pump.add_done_callback(self._ended)

    def _ended(self, pump: asyncio.Task[None]) -> None:
        """Begin again if a fault ended the pump while others wait; the loop's handler tells of the fault."""
        if self._queue and not pump.cancelled():
            self._begin()

    async def close(self) -> None:
        """Wait for what is in the queue, then end the thread."""
        if self._pump is not None:
            await asyncio.wait({self._pump})
        self._thread.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue:
            self._drop_deserted()
            chosen = set(next_batch([job.waiting for job in self._queue], self.most))
            batch = [self._queue[place] for place in sorted(chosen)]
            if not batch:
                break
            self._queue = [job for place, job in enumerate(self._queue) if place not in chosen]
            rows = sum(job.waiting.rows for job in batch)
            outcomes = [Outcome(refused=Refused(500, "the server failed on this batch"))] * len(batch)
            try:
                if self.model.waits or worth_a_thread(rows, self._target_s, self.seconds_line):
                    computing = loop.run_in_executor(self._thread, self._compute, batch)
                    outcomes, took_s, cpu_s = await computing
                else:
                    outcomes, took_s, cpu_s = self._compute(batch)
                if not any(outcome.refused for outcome in outcomes):
                    self._learn(rows, took_s, cpu_s)
                self._on_batch(rows, cpu_s)
            finally:
                self._rows -= rows
                for job, outcome in zip(batch, outcomes, strict=True):
                    job.land(outcome)
            await asyncio.sleep(0)  # a turn for those who wait, and for what arrived meanwhile

    def _learn(self, rows: int, took_s: float, cpu_s: float) -> None:
        self.seconds.add(rows, took_s)
        self.cpu_seconds.add(rows, cpu_s)
        self.seconds_line = self.seconds.line()
        self.most = most_rows(self._limit_rows, self._target_s, self.seconds_line, self.cpu_seconds.line())

    def _drop_deserted(self) -> None:
        """Take out of the queue what nobody waits for any more."""
        deserted = [job for job in self._queue if not job.waiters]
        if deserted:
            self._queue = [job for job in self._queue if job.waiters]
            for job in deserted:
                self._rows -= job.waiting.rows
                job.land(Outcome(refused=Refused(504, "nobody waited for the answer any more")))

    def _compute(self, batch: Sequence[Job]) -> tuple[list[Outcome], float, float]:
        """Return each job's outcome, the seconds and the CPU seconds of the batch."""
        began_s, cpu_began_s = time.perf_counter(), self._cpu_s()
        try:
            bodies: list[bytes | Refused] = list(self._together(batch))
        except Refused:
            bodies = [self._alone(job) for job in batch]
        cpu_s = self._cpu_s() - cpu_began_s
        per_row_s = cpu_s / sum(job.waiting.rows for job in batch)
        outcomes = [
            Outcome(refused=body, cpu_s=per_row_s * job.waiting.rows)
            if isinstance(body, Refused)
            else Outcome(body, per_row_s * job.waiting.rows)
            for job, body in zip(batch, bodies, strict=True)
        ]
        return outcomes, time.perf_counter() - began_s, cpu_s

    def _together(self, batch: Sequence[Job]) -> list[bytes]:
        if len(batch) == 1:
            return [batch[0].encode(self.model.run(batch[0].tensors))]
        stacked = [np.concatenate(parts) for parts in zip(*(job.tensors for job in batch), strict=True)]
        outputs = self.model.run(stacked)
        bodies, row = [], 0
        for job in batch:
            end = row + job.waiting.rows
            bodies.append(job.encode([y[row:end] for y in outputs]))
            row = end
        return bodies

    def _alone(self, job: Job) -> bytes | Refused:
        try:
            return job.encode(self.model.run(job.tensors))
        except Refused as refused:
            return refused
