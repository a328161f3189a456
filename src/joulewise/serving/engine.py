"""The queue and where it is computed, one batch at a time: what arrives while a batch runs forms the next.

    submit() ──> queue ──> turn: next_batch() ──> here or in a thread: stack, run, split, encode ──> each job's outcome

A short batch is computed in the event loop itself (`worth_a_thread`), a longer one in a thread. A batch that the model
refuses is computed again one by one, so that one bad input spoils nobody else's answer. A job that nobody waits for any
more is not computed. A fault of ours costs the requests of its batch (500) and nobody else. Everything but `_compute`
runs in the event loop; no lock is needed. There is no task and no future for a request: a turn of the loop takes in what
arrived, and calls back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, final

import numpy as np

from joulewise.serving.batching import (
    Line,
    LineFit,
    Load,
    Waiting,
    most_rows,
    next_batch,
    rows_now,
    thrifty_rows,
    worth_a_thread,
)
from joulewise.serving.exchange import Answer, Exchange
from joulewise.serving.onnx_model import Model
from joulewise.serving.tensors import Refused, Tensor

Encode = Callable[[list[Tensor]], Answer]


_NOTHING = Answer(b"")


class Outcome(NamedTuple):
    """What became of a job: its encoded answer and the CPU seconds of its share of the batch, or why there is none."""

    answer: Answer = _NOTHING
    cpu_s: float = 0.0
    refused: Refused | None = None


_FAULT = Outcome(refused=Refused(500, "the server failed on this batch"))


@final
class Job:
    """Tensors that wait for the model, and the exchanges that wait for them.

    `landed` is called once with the outcome.
    """

    __slots__ = ("encode", "exchanges", "landed", "tensors", "waiting")

    def __init__(
        self,
        tensors: Sequence[Tensor],
        batches: bool,
        encode: Encode,
        landed: Callable[[Job, Outcome], None],
        exchange: Exchange,
    ) -> None:
        self.tensors = tensors
        self.encode = encode
        self.landed = landed
        self.waiting = _waiting(tensors, batches)
        self.exchanges = [exchange]

    @property
    def deserted(self) -> bool:
        """Whether nobody waits for it any more."""
        return all(exchange.done for exchange in self.exchanges)


def _waiting(tensors: Sequence[Tensor], batches: bool) -> Waiting:
    if not batches:
        return Waiting(1, object())  # like nobody else's
    signature: Hashable = tensors[0].shape[1:] if len(tensors) == 1 else tuple(t.shape[1:] for t in tensors)
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
        on_take: Callable[[Sequence[Job]], None] = lambda _batch: None,
        executor: Executor | None = None,
    ) -> None:
        self.model = model
        self.seconds, self.cpu_seconds = LineFit(), LineFit()
        self._target_s = target_s
        self._limit_rows = limit_rows if model.batches else 1
        self._cpu_s = cpu_s
        self._on_batch = on_batch
        self._on_take = on_take
        self._queue: list[Job] = []
        self._rows = 0  # in the queue and in the batch that runs
        self.most = self._limit_rows  # the largest batch that is worth running while we keep up
        self._thrifty = self._limit_rows  # ... and where it cannot keep up
        self.seconds_line: Line | None = None
        self._cpu_line: Line | None = None
        self._turning = False  # a turn is due, or a batch is in the thread
        self._executor = executor or ThreadPoolExecutor(1, "joulewise-model")

    def load(self, held_bytes: int = 0) -> Load:
        """Return what waits and runs now."""
        return Load(len(self._queue), self._rows, held_bytes)

    @property
    def waiting(self) -> int:
        """How many jobs are in the queue."""
        return len(self._queue)

    @property
    def busy(self) -> bool:
        """Whether anything waits or runs."""
        return self._rows > 0

    def submit(self, job: Job) -> None:
        """Put a job into the queue; it will be told its outcome."""
        self._queue.append(job)
        self._rows += job.waiting.rows
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    async def drained(self) -> None:
        """Wait until nothing waits or runs."""
        while self._turning:  # noqa: ASYNC110 - at the end of a server, once
            await asyncio.sleep(0.005)

    def _turn(self) -> None:
        batch = self._take()
        if not batch:
            self._turning = False
            return
        rows = sum(job.waiting.rows for job in batch)
        self._on_take(batch)
        if self.model.waits or worth_a_thread(rows, self._target_s, self._cpu_line):
            computing = asyncio.get_running_loop().run_in_executor(self._executor, self._compute, batch)
            computing.add_done_callback(partial(self._computed, batch, rows))
            return
        computed = [_FAULT] * len(batch), 0.0, 0.0
        try:
            computed = self._compute(batch)
        finally:
            self._end(batch, rows, *computed)

    def _computed(
        self, batch: Sequence[Job], rows: int, computing: asyncio.Future[tuple[list[Outcome], float, float]]
    ) -> None:
        computed = [_FAULT] * len(batch), 0.0, 0.0
        try:
            computed = computing.result()
        finally:
            self._end(batch, rows, *computed)

    def _end(
        self, batch: Sequence[Job], rows: int, outcomes: Sequence[Outcome], took_s: float, cpu_s: float
    ) -> None:
        """Learn from a batch, tell everybody their outcome, and take the next turn after those who wait in the loop."""
        if self._queue:
            asyncio.get_running_loop().call_soon(self._turn)
        else:
            self._turning = False
        self._rows -= rows
        if not any(outcome.refused for outcome in outcomes):
            self._learn(rows, took_s, cpu_s)
        self._on_batch(rows, cpu_s)
        for job, outcome in zip(batch, outcomes, strict=True):
            job.landed(job, outcome)

    def _take(self) -> list[Job]:
        """Take the next batch out of the queue, and whatever nobody waits for any more."""
        if any(job.exchanges[0].done and job.deserted for job in self._queue):
            self._rows -= sum(job.waiting.rows for job in self._queue if job.deserted)
            deserted = [job for job in self._queue if job.deserted]
            self._queue = [job for job in self._queue if not job.deserted]
            for job in deserted:
                job.landed(job, Outcome(refused=Refused(504, "nobody waited for the answer any more")))
        if len(self._queue) == 1:
            batch, self._queue = self._queue, []
            return batch
        most = rows_now(self._rows, self.most, self._thrifty, self._target_s, self.seconds_line)
        chosen = next_batch([job.waiting for job in self._queue], most)
        if len(chosen) == len(self._queue):
            batch, self._queue = self._queue, []
            return batch
        places = set(chosen)
        batch = [self._queue[place] for place in chosen]
        self._queue = [job for place, job in enumerate(self._queue) if place not in places]
        return batch

    def _learn(self, rows: int, took_s: float, cpu_s: float) -> None:
        self.seconds.add(rows, took_s)
        self.cpu_seconds.add(rows, cpu_s)
        self.seconds_line = self.seconds.line()
        self._cpu_line = self.cpu_seconds.line()
        self.most = most_rows(self._limit_rows, self._target_s, self.seconds_line, self._cpu_line)
        self._thrifty = thrifty_rows(self._limit_rows, self._cpu_line)

    def _compute(self, batch: Sequence[Job]) -> tuple[list[Outcome], float, float]:
        """Return each job's outcome, the seconds and the CPU seconds of the batch."""
        began_s, cpu_began_s = time.perf_counter(), self._cpu_s()
        try:
            answers: list[Answer | Refused] = list(self._together(batch))
        except Refused:
            answers = [self._alone(job) for job in batch]
        cpu_s = self._cpu_s() - cpu_began_s
        per_row_s = cpu_s / sum(job.waiting.rows for job in batch)
        outcomes = [
            Outcome(refused=answer, cpu_s=per_row_s * job.waiting.rows)
            if isinstance(answer, Refused)
            else Outcome(answer, per_row_s * job.waiting.rows)
            for job, answer in zip(batch, answers, strict=True)
        ]
        return outcomes, time.perf_counter() - began_s, cpu_s

    def _together(self, batch: Sequence[Job]) -> list[Answer]:
        if len(batch) == 1:
            return [batch[0].encode(self.model.run(batch[0].tensors))]
        stacked = [np.concatenate(parts) for parts in zip(*(job.tensors for job in batch), strict=True)]
        outputs = self.model.run(stacked)
        answers, row = [], 0
        for job in batch:
            end = row + job.waiting.rows
            answers.append(job.encode([y[row:end] for y in outputs]))
            row = end
        return answers

    def _alone(self, job: Job) -> Answer | Refused:
        try:
            return job.encode(self.model.run(job.tensors))
        except Refused as refused:
            return refused
