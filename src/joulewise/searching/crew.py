"""A crew: several workers of one study on this machine, each a process of its own, sized to the machine.

The workers share the study's log and decide for themselves (worker.py); this process trains nothing. It waits for them,
starts a killed one again, and shows how far the study has come. Killed itself, its workers end at their next epoch.

Workers are forked, so that an objective may be any function: it must not have used a GPU before. Each finds its own
processors (OMP_NUM_THREADS and the like, unless set) and its own GPU (CUDA_VISIBLE_DEVICES) in the environment.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import final

from joulewise.searching.study import Study
from joulewise.vocabulary.errors import JoulewiseError, UsageError

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_DEATHS = 5  # in a row with no epoch in between: then the machine is at fault, or the objective
_LOOK_S = 0.1
_COMPLAINED = 2


def size(cpus: float, gpus: Sequence[str]) -> int:
    """Return how many workers a machine has room for: one a GPU, else one for two processors."""
    return len(gpus) or max(1, int(cpus) // 2)


def visible_gpus(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the GPUs that a program started here would see, as CUDA_VISIBLE_DEVICES names them."""
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(n.strip() for n in chosen.split(",") if n.strip() and n.strip() != "-1")
    try:
        found = [n for n in os.listdir("/proc/driver/nvidia/gpus") if n]
    except OSError:
        return ()
    return tuple(str(i) for i in range(len(found)))


def share(
    place: int, workers: int, cpus: float, gpus: Sequence[str], environment: Mapping[str, str]
) -> dict[str, str]:
    """Return what the environment of the worker at `place` (from 0) has of its own."""
    threads = str(max(1, int(cpus) // workers))
    own = {name: threads for name in _THREADS if name not in environment}
    if gpus:
        own["CUDA_VISIBLE_DEVICES"] = gpus[place % len(gpus)]
    return own


@final
class Crew:
    """`workers` processes that each call `work(place)`; `opened` opens the study to look at it."""

    def __init__(self, workers: int, work: Callable[[int], None], opened: Callable[[], Study]) -> None:
        self._work = work
        self._opened = opened
        self._places = range(workers)
        self._alive: dict[int, int] = {}  # process: place
        self._deaths = 0
        self._epochs = 0

    def go(self, shown: Callable[[Study], None] | None = None) -> Study:
        """Return the study, closed, when all workers have ended; `shown` is told of it about ten times a second."""
        sys.stdout.flush()
        sys.stderr.flush()
        for place in self._places:
            self._start(place)
        study = self._opened()  # after the forks: a connection to a database belongs to one process
        try:
            while self._alive:
                time.sleep(_LOOK_S)
                study.look()
                self._reap(study)
                if shown is not None:
                    shown(study)
            study.look()
        except BaseException:
            self._end()
            raise
        finally:
            study.close()
        if study.known.broken:
            raise UsageError(study.reason)
        return study

    def _start(self, place: int) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            os._exit(self._as_worker(place, parent))
        self._alive[pid] = place

    def _as_worker(self, place: int, parent: int) -> int:
        """Work in the forked process; return its exit code. What it raises is told, and never unwinds into the parent's frames."""
        code = _COMPLAINED
        try:
            if os.getppid() == parent:
                self._work(place)
            code = 0
        except JoulewiseError as error:
            print(f"joulewise: {error}", file=sys.stderr)
        except KeyboardInterrupt:
            code = 128 + signal.SIGINT
        except BaseException:  # noqa: BLE001 - this frame is the process's last
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        return code

    def _reap(self, study: Study) -> None:
        """Wait for workers that have ended; one that was killed is started again."""
        epochs = sum(t.epoch for t in study.trials)
        if epochs > self._epochs:
            self._epochs, self._deaths = epochs, 0
        for pid in list(self._alive):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                continue
            place = self._alive.pop(pid)
            if not os.WIFSIGNALED(status):
                if os.WEXITSTATUS(status) and not study.known.broken:
                    study.notes.append(f"a worker ended with exit code {os.WEXITSTATUS(status)}")
                continue
            self._deaths += 1
            number = os.WTERMSIG(status)
            if self._deaths >= _DEATHS * len(self._places):
                self._end()
                raise UsageError(
                    f"{self._deaths} workers died before any could end an epoch; the last by signal {number} "
                    f"({signal.Signals(number).name})"
                )
            if not study.known.over:
                self._start(place)

    def _end(self) -> None:
        """Ask the workers to end, and wait for them."""
        for pid in self._alive:
            os.kill(pid, signal.SIGINT)
        for pid in list(self._alive):
            os.waitpid(pid, 0)
            del self._alive[pid]


def orphaned(parent: int) -> Callable[[Study], str]:
    """Return what a worker asks before every epoch: whether the process that started it is gone, in words."""
    return lambda _study: "" if os.getppid() == parent else "the process that started this worker is gone"
