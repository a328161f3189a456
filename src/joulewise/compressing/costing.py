"""What a request costs on this host, by the size of its batch, for several forms of a model: in turn, round by round.

Each round asks every form the same rows for a while, one after the other, beginning with another each time, so that
whatever else the machine does falls on all of them. Where energy counters can be read (`Gauge.counted_j`), joules are
what they count meanwhile; elsewhere a request's CPU time is, which becomes joules at the recording's joules of a CPU-second.
Cold starts are those of a fresh process: the interpreter, ONNX Runtime, the model, one answer.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np

from joulewise.compressing.data import Array, Data
from joulewise.vocabulary.errors import UsageError

Run = Callable[[Mapping[str, Array]], object]
ROUNDS, COLD_ROUNDS = 9, 3
_BLOCK_S = 0.05
_MOST_CALLS = 2000


class Gauge(Protocol):
    """What tells how much has been spent. None is unknown."""

    def cpu_s(self) -> float:
        """Return the CPU seconds of this process so far."""

    def wall_s(self) -> float:
        """Return the seconds of a clock that does not jump."""

    def counted_j(self) -> float | None:
        """Return the joules that energy counters have counted so far; None where there is no counter."""

    def j_per_cpu_s(self) -> float | None:
        """Return the joules at the wall of a CPU-second of this process."""


@dataclass(frozen=True, slots=True)
class Unmetered:
    """A gauge that knows the CPU time only."""

    def cpu_s(self) -> float:
        """Return the CPU seconds of this process so far."""
        return time.process_time()

    def wall_s(self) -> float:
        """Return the seconds of the monotonic clock."""
        return time.perf_counter()

    def counted_j(self) -> float | None:
        """Return None: there is no counter."""
        return None

    def j_per_cpu_s(self) -> float | None:
        """Return None: nothing was recorded."""
        return None


@dataclass(slots=True)
class Cost:
    """What was measured of one form, a number a round, by batch size."""

    each: dict[int, list[float]] = field(
        default_factory=dict
    )  # of a request: joules if counted, else CPU seconds
    cpu_s: dict[int, list[float]] = field(default_factory=dict)  # of a request
    seconds: dict[int, list[float]] = field(default_factory=dict)  # of a batch

    def ratios(self, base: Cost) -> dict[int, list[float]]:
        """Return the cost beside another's, round by round."""
        return {
            size: [own / other for own, other in zip(rounds, base.each[size], strict=True)]
            for size, rounds in self.each.items()
        }

    def request_j(self, size: int, j_per_cpu_s: float | None, *, counted: bool) -> float | None:
        """Return the joules of a request in a batch of a size, None if they are not known."""
        if counted:
            return median(self.each[size])
        return None if j_per_cpu_s is None else median(self.cpu_s[size]) * j_per_cpu_s


def measure(
    runs: Mapping[str, Run], data: Data, sizes: Sequence[int], gauge: Gauge, rounds: int = ROUNDS
) -> dict[str, Cost]:
    """Return what each form costs at each batch size."""
    costs = {
        name: Cost({n: [] for n in sizes}, {n: [] for n in sizes}, {n: [] for n in sizes}) for name in runs
    }
    feeds = {size: data.feed(0, size) for size in sizes}
    calls = {(name, size): _calls(run, feeds[size], gauge) for name, run in runs.items() for size in sizes}
    names = list(runs)
    for turn in range(rounds):
        first = turn % len(names)
        for size in sizes:
            for name in names[first:] + names[:first]:
                _block(runs[name], feeds[size], calls[name, size], gauge, costs[name], size)
    return costs


def _calls(run: Run, feed: Mapping[str, Array], gauge: Gauge) -> int:
    """Return how many calls make a block, after one to warm up."""
    run(feed)
    began_s = gauge.wall_s()
    run(feed)
    return max(1, min(_MOST_CALLS, round(_BLOCK_S / max(gauge.wall_s() - began_s, 1e-6))))


def _block(run: Run, feed: Mapping[str, Array], calls: int, gauge: Gauge, cost: Cost, size: int) -> None:
    began_j, began_cpu_s, began_s = gauge.counted_j(), gauge.cpu_s(), gauge.wall_s()
    for _ in range(calls):
        run(feed)
    took_s, cpu_s, ended_j = gauge.wall_s() - began_s, gauge.cpu_s() - began_cpu_s, gauge.counted_j()
    requests = calls * size
    cost.cpu_s[size].append(max(cpu_s, 1e-9) / requests)
    cost.seconds[size].append(took_s / calls)
    counted = None if began_j is None or ended_j is None else ended_j - began_j
    cost.each[size].append(max(cpu_s if counted is None else counted, 1e-9) / requests)


@dataclass(frozen=True, slots=True)
class Cold:
    """A cold start until the first answer: seconds and CPU seconds."""

    seconds: float
    cpu_s: float


def cold_starts(
    paths: Mapping[str, Path], data: Data, device: str, threads: int, rounds: int = COLD_ROUNDS
) -> dict[str, Cold]:
    """Return the median cold start of each form, in turn. Raises UsageError."""
    told: dict[str, list[tuple[float, float]]] = {name: [] for name in paths}
    with TemporaryDirectory() as folder:
        rows = Path(folder) / "row.npz"
        np.savez(rows, allow_pickle=False, **data.feed(0, 1))
        for _ in range(rounds):
            for name, path in paths.items():
                told[name].append(_cold(path, rows, device, threads, name))
    return {
        name: Cold(median(s for s, _ in all_of), median(c for _, c in all_of))
        for name, all_of in told.items()
    }


def _cold(path: Path, rows: Path, device: str, threads: int, name: str) -> tuple[float, float]:
    began_s = time.perf_counter()
    told = [str(path), str(rows), device, str(threads), name]
    command = [sys.executable, "-m", "joulewise.compressing.cold", *told]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    took_s = time.perf_counter() - began_s
    if done.returncode:
        raise UsageError(
            f"{path.name} does not answer in a fresh process: {' '.join(done.stderr.split())[-300:]}"
        )
    return took_s, float(done.stdout)
