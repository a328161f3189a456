"""Parts: a view computed in partitions of its entities, here one after another or elsewhere side by side.

    task ──> part(): a DuckDB of its own, the sources' rows of its entities ──> packed rows ──> the one that writes

Only a view whose rows depend on their own entity can be parted (`incremental = "entities"`); each part tries that on a
sample before it is believed. One writes, so a run is all or nothing as ever. A part reads every file of its sources and
keeps its own rows: the parts together read so many times as there are parts, and PostgreSQL sends each row once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from joulewise.features.offline import MEMORY_BYTES, Computed, Offline
from joulewise.features.rows import Key, Layout, key_of, tombstone
from joulewise.features.sources import Partition
from joulewise.features.views import View
from joulewise.vocabulary.errors import UsageError

Chunk = tuple[
    list[Key], list[int], list[bytes], int
]  # keys, event times, packed rows, how many are deletions
_TRIED = 50


@dataclass(frozen=True, slots=True)
class Task:
    """What one part needs to know; it can be sent to another machine."""

    views: tuple[View, ...]
    view: str
    partition: Partition
    now: datetime
    memory_bytes: int = MEMORY_BYTES


@dataclass(frozen=True, slots=True)
class Part:
    """What one part found: packed rows, and the CPU seconds that it took where it ran."""

    chunks: tuple[Chunk, ...]
    rows: int
    newest_us: int | None
    dropped: int
    cpu_s: float


Map = Callable[[Callable[[Task], Part], Sequence[Task]], Iterator[Part]]


@dataclass(frozen=True, slots=True)
class Spread:
    """How a view is parted: in how many parts, and who runs them (`map`: one after another, in little memory).

    `counted` says whether the CPU seconds of the parts are this process's own already.
    """

    parts: int
    run: Map = map
    memory_bytes: int = MEMORY_BYTES
    counted: bool = True

    def over(self, views: Iterable[View], view: View, now: datetime) -> Iterator[Part]:
        """Yield the parts of a view as they come. Raises UsageError for a view that cannot be parted."""
        if view.incremental != "entities":
            raise UsageError(
                f"view {view.name} cannot be computed in parts: its rows may depend on other entities; if they do not, set "
                "incremental = 'entities'"
            )
        told = tuple(views)
        tasks = [
            Task(told, view.name, Partition(number, self.parts), now, self.memory_bytes)
            for number in range(self.parts)
        ]
        return self.run(part, tasks)


def part(task: Task) -> Part:
    """Compute one part of a view."""
    began_s = time.process_time()
    with Offline(task.views, memory_bytes=task.memory_bytes, partition=task.partition) as offline:
        view = offline.views[task.view]
        computed = offline.compute(view, now=task.now)
        try_entities(offline, view, computed, task.now)
        packed = tuple(chunks(offline, view, Layout(computed.columns), computed))
    return Part(packed, computed.rows, computed.newest_us, computed.dropped, time.process_time() - began_s)


def chunks(offline: Offline, view: View, layout: Layout, computed: Computed) -> Iterator[Chunk]:
    """Yield the newest row of each entity, packed, about a million rows of the table at a time."""
    for columns in offline.newest(computed, view):
        at_us = columns["at_us"]
        packed = layout.pack(at_us, columns).tobytes()
        size = layout.size
        rows = [packed[n : n + size] for n in range(0, len(packed), size)]
        times: list[int] = at_us.tolist()
        gone = columns["gone"].nonzero()[0].tolist()
        for number in gone:
            rows[number] = tombstone(layout.stamp, times[number])
        yield list(keys_of(columns, view)), times, rows, len(gone)


def try_entities(offline: Offline, view: View, whole: Computed, now: datetime) -> None:
    """Refuse `incremental = 'entities'` where a sample computed by itself gives other rows than the whole does."""
    import numpy as np

    sample = offline.sample(whole, view, _TRIED)
    alone = offline.compute(view, now=now, only=sample)
    expected = next(offline.newest(whole, view, within=sample, chunk_rows=1 << 62))
    found = next(offline.newest(alone, view, chunk_rows=1 << 62))
    for name, values in expected.items():
        got = found[name]
        same = len(values) == len(got) and (
            np.ma.allclose(values, got, rtol=1e-5)
            or np.allclose(np.ma.filled(values, 0), np.ma.filled(got, 0), rtol=1e-5, equal_nan=True)
            if values.dtype.kind in "fiub"
            else bool((np.asarray(values) == np.asarray(got)).all())
        )
        if not same:
            raise UsageError(
                f"view {view.name}: incremental is 'entities', but {name} of an entity is another when it is computed without the "
                "other entities; use incremental = 'rows'"
            )
    offline.drop(sample, alone.table)


def keys_of(columns: dict[str, Any], view: View) -> Iterable[Key]:
    """Return the entities of columns as the stores know them."""
    parts = [columns[k].tolist() for k in view.keys]
    if len(parts) == 1:
        return (k if isinstance(k, int | str) else str(k) for k in parts[0])
    return (
        key_of(tuple(p if isinstance(p, int | str) else str(p) for p in entity), view.keys)
        for entity in zip(*parts, strict=True)
    )
