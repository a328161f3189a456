"""A fleet: workers of one study on a cluster's nodes, each a job of an engine (Slurm, Ray), sharing a database.

Each worker is the command that the user gave, with one worker; all give the same study name and store, so they share trials and
budget (log.py, worker.py). This process trains nothing: it hands the jobs over, looks at the study and at the engine, starts a
job that was lost again, and cancels what still runs when it is interrupted. If it goes itself, the jobs go on to their end,
and the same command joins them again by the study's name.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import final

from joulewise.launching.local import MARK
from joulewise.launching.port import Engine, Order, Resources, Unreachable
from joulewise.searching.study import Study
from joulewise.vocabulary.errors import UsageError

_LOOK_S = 1.0
_LOSSES = 3  # of each place, with no epoch in between: then something else is wrong


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where workers run as jobs: the engine's name (`slurm`, `ray`, `local`), a worker's command, and what it needs.

    It starts in this folder, with joulewise's own settings of this environment; the rest is the engine's.
    """

    engine: str
    argv: tuple[str, ...]
    resources: Resources = field(default_factory=Resources)


@final
class Fleet:
    """`workers` jobs on an engine; `opened` opens the study to look at it."""

    def __init__(self, engine: Engine, cluster: Cluster, workers: int, opened: Callable[[], Study]) -> None:
        self._engine = engine
        self._cluster = cluster
        self._opened = opened
        self._token = secrets.token_hex(4)  # this start of the fleet: keys are for ever
        self._places = range(workers)
        self._handles: dict[int, str] = {}
        self._to_start = set(self._places)
        self._attempts = dict.fromkeys(self._places, 0)
        self._losses = 0
        self._epochs = 0

    def go(self, shown: Callable[[Study], None] | None = None) -> Study:
        """Return the study, closed, when all jobs have ended; `shown` is told of it about once a second."""
        study = self._opened()
        try:
            while self._handles or self._to_start:
                for place in sorted(self._to_start):
                    self._start(place, study.name)
                time.sleep(_LOOK_S)
                study.look()
                self._judge(study)
                if shown is not None:
                    shown(study)
            study.look()
        except BaseException:
            for handle in self._handles.values():
                self._engine.cancel(handle)
            raise
        finally:
            study.close()
        if study.known.broken:
            raise UsageError(study.reason)
        return study

    def _start(self, place: int, name: str) -> None:
        key = f"search-{self._token}-{place}-{self._attempts[place]}"
        own = {k: v for k, v in os.environ.items() if k.startswith("JOULEWISE_") and k != MARK}
        order = Order(
            key, self._cluster.argv, os.getcwd(), own, f"{name}-{place}", resources=self._cluster.resources
        )
        with suppress(Unreachable):  # whether it has the order is unknown: asked again with the same key
            self._handles[place] = self._engine.start(order)
            self._to_start.discard(place)

    def _judge(self, study: Study) -> None:
        """Let go of jobs that have ended; one that did not end by itself is started again while the study goes on."""
        epochs = sum(t.epoch for t in study.trials)
        if epochs > self._epochs:
            self._epochs, self._losses = epochs, 0
        for place, handle in list(self._handles.items()):
            try:
                status = self._engine.status(handle)
            except Unreachable:  # what the cluster did is unknown: asked again in a second
                continue
            if status.live:
                continue
            del self._handles[place]
            if status.exit_code == 0 or study.known.over:
                continue
            self._losses += 1
            why = f"a worker is {status.state.value} ({status.reason or f'exit code {status.exit_code}'})"
            if self._losses >= _LOSSES * len(self._places):
                words = self._engine.logs(handle).decode(errors="replace").strip().splitlines()[-1:]
                raise UsageError(
                    f"{why}, as {self._losses - 1} before it; it said: {''.join(words) or 'nothing'}"
                )
            study.notes.append(f"{why}; another takes its place")
            self._attempts[place] += 1
            self._to_start.add(place)
