"""Materialise: bring an online store up to date with its views, computing only what changed.

A run begins at the high-water mark, the newest event time that the last one saw, minus the view's `lateness`. It writes
rows that are newer than what is there, or of the same time and another value (an event of the mark's own second may
come after the run); a late event never overwrites a newer row. Everything is made anew at the first
run, when the recipe has changed (its SQL, its function, a view below it), and when the columns have changed: that only
with `migrate`, because readers with the old view file would be refused from then on.

A run of one view is all or nothing (SQLite) or whole row by row (Redis, incremental), and doing it again does no harm.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from joulewise.features.derivation import aggregates, derivations
from joulewise.features.offline import MEMORY_BYTES, Computed, Offline
from joulewise.features.online import KEPT_RUNS, Materialisation, OnlineStore, ViewState, Writer, now_text
from joulewise.features.rows import Key, Layout, differences, key_of, tombstone
from joulewise.features.views import View
from joulewise.vocabulary.errors import UnknownName, UsageError

Progress = Callable[[str, int, int], None]  # view, rows done, rows in all
_TRIED = 50


@dataclass(frozen=True, slots=True)
class Done:
    """What one run of one view did, and why it computed everything (`why`, empty for an incremental one)."""

    view: str
    run: Materialisation
    state: ViewState
    dropped: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Due:
    """When a view is to be materialised next: flexible work between two times. `expected_s` is from its last runs."""

    view: str
    earliest_utc: datetime
    latest_utc: datetime  # then its values are older than their TTL
    expected_s: float | None


def materialise(
    views: Iterable[View],
    store: OnlineStore,
    *,
    only: Iterable[str] = (),
    since: datetime | None = None,
    full: bool = False,
    migrate: bool = False,
    now: datetime | None = None,
    memory_bytes: int = MEMORY_BYTES,
    progress: Progress | None = None,
    run_id: str = "",
) -> list[Done]:
    """Bring `store` up to date with `views` (or those named in `only`) and return what was done, view by view.

    `since` takes the place of the mark; `full` computes everything. Raises UsageError in one line where a view or its
    source is wrong; the views before it are done.
    """
    with Offline(list(views), memory_bytes=memory_bytes) as offline:
        names = list(only) or list(offline.views)
        for name in names:
            if name not in offline.views:
                raise UnknownName("view", name, offline.views)
        return [
            materialise_view(
                offline,
                view,
                store,
                since=since,
                full=full,
                migrate=migrate,
                now=now,
                progress=progress,
                run_id=run_id,
            )
            for view in offline.views.values()
            if view.name in names
        ]


def materialise_view(
    offline: Offline,
    view: View,
    store: OnlineStore,
    *,
    since: datetime | None = None,
    full: bool = False,
    migrate: bool = False,
    now: datetime | None = None,
    progress: Progress | None = None,
    run_id: str = "",
) -> Done:
    """Bring one view up to date; see `materialise`."""
    with store.alone(view.name):
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        now = now or datetime.now(UTC)
        columns = offline.columns(view)
        layout = Layout(columns)
        before = store.states().get(view.name)
        recipe = offline.recipe(view)
        why = _why_full(view, before, layout, recipe, full=full, migrate=migrate)
        mark = None if why else since or _mark(before, view)
        tables = _compute(offline, view, now, mark)
        with store.writing(
            view.name, fresh=bool(why), whole_keys=_whole(offline, tables.computed, view)
        ) as writer:
            written, deleted = _write(offline, view, layout, tables, writer, now, progress)
            run = Materialisation(
                at_utc=now_text(),
                full=bool(why),
                rows_read=tables.computed.rows,
                rows_written=written,
                rows_deleted=deleted,
                bytes_written=written * layout.size,
                cpu_s=round(time.process_time() - began_cpu_s, 6),
                wall_s=round(time.perf_counter() - began_s, 6),
                run_id=run_id,
            )
            state = writer.finish(_state(offline, view, before, layout, recipe, tables.computed, run))
        offline.drop(tables.computed.table, *((tables.changed,) if tables.changed else ()))
        return Done(view.name, run, state, tables.computed.dropped, why)


def due(state: ViewState) -> Due:
    """Return when a view's next run may begin at the earliest and must have ended at the latest. Pure."""
    if not state.runs:
        now = datetime.now(UTC)
        return Due(state.name, now, now, None)
    last = datetime.fromisoformat(state.runs[-1].at_utc)
    walls = sorted(r.wall_s for r in state.runs[-9:])
    return Due(
        state.name,
        last + timedelta(seconds=state.refresh_s),
        last + timedelta(seconds=max(state.ttl_s, state.refresh_s)),
        walls[len(walls) // 2],
    )


@dataclass(frozen=True, slots=True)
class _Tables:
    computed: Computed
    changed: str = ""


def _why_full(
    view: View, before: ViewState | None, layout: Layout, recipe: str, *, full: bool, migrate: bool
) -> str:
    if before is None:
        return "first run"
    changed = differences(before.columns, layout.columns)
    if before.keys != view.keys:
        changed = f"keys {', '.join(before.keys)} -> {', '.join(view.keys)}" + (
            f", {changed}" if changed else ""
        )
    if changed:
        if not migrate:
            raise UsageError(
                f"view {view.name} has other columns than in the store ({changed}); readers with the old view file would be "
                "refused from then on: run again with --migrate when they are ready"
            )
        return f"columns changed: {changed}"
    if before.recipe != recipe:
        return "recipe changed"
    return "asked for" if full else ""


def _mark(before: ViewState | None, view: View) -> datetime | None:
    if before is None or before.mark_us is None:
        return None
    return (
        datetime(1970, 1, 1, tzinfo=UTC)
        + timedelta(microseconds=before.mark_us)
        - timedelta(seconds=view.lateness_s)
    )


def _compute(offline: Offline, view: View, now: datetime, mark: datetime | None) -> _Tables:
    if view.incremental == "rows":
        return _Tables(offline.compute(view, now=now, since=mark))
    if mark is not None:
        changed = offline.changed(view, mark)
        return _Tables(offline.compute(view, now=now, since=mark, only=changed, filtered=False), changed)
    whole = offline.compute(view, now=now)
    _try_entities(offline, view, whole, now)
    return _Tables(whole)


def _try_entities(offline: Offline, view: View, whole: Computed, now: datetime) -> None:
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


def _whole(offline: Offline, computed: Computed, view: View) -> bool:
    """Whether the key is one whole number, which SQLite keeps best."""
    return offline.key_kinds(computed, view) == ("whole",)


def _write(
    offline: Offline,
    view: View,
    layout: Layout,
    tables: _Tables,
    writer: Writer,
    now: datetime,
    progress: Progress | None,
) -> tuple[int, int]:
    """Write the newest row of each entity, a chunk at a time; return how many were written and how many deleted."""
    written = deleted = read = 0
    for keys, at_us, rows, gone in _chunks(offline, view, layout, tables.computed):
        written += writer.put(keys, at_us, rows)
        deleted += gone
        read += len(keys)
        if progress is not None:
            progress(view.name, read, tables.computed.rows)
    if tables.changed:
        lost = list(_keys(offline.vanished(tables.changed, tables.computed, view), view))
        at = round(now.timestamp() * 1e6)
        written += writer.put(lost, [at] * len(lost), [tombstone(layout.stamp, at)] * len(lost))
        deleted += len(lost)
    return written, deleted


def _chunks(
    offline: Offline, view: View, layout: Layout, computed: Computed
) -> Iterator[tuple[list[Key], list[int], list[bytes], int]]:
    for columns in offline.newest(computed, view):
        at_us = columns["at_us"]
        packed = layout.pack(at_us, columns).tobytes()
        size = layout.size
        rows = [packed[n : n + size] for n in range(0, len(packed), size)]
        times: list[int] = at_us.tolist()
        gone = columns["gone"].nonzero()[0].tolist()
        for number in gone:
            rows[number] = tombstone(layout.stamp, times[number])
        yield list(_keys(columns, view)), times, rows, len(gone)


def _keys(columns: dict[str, Any], view: View) -> Iterable[Key]:
    parts = [columns[k].tolist() for k in view.keys]
    if len(parts) == 1:
        return (k if isinstance(k, int | str) else str(k) for k in parts[0])
    return (
        key_of(tuple(p if isinstance(p, int | str) else str(p) for p in entity), view.keys)
        for entity in zip(*parts, strict=True)
    )


def _state(
    offline: Offline,
    view: View,
    before: ViewState | None,
    layout: Layout,
    recipe: str,
    computed: Computed,
    run: Materialisation,
) -> ViewState:
    marks = [
        m for m in (computed.newest_us, before.mark_us if before and not run.full else None) if m is not None
    ]
    runs = (*(before.runs if before else ()), run)[-KEPT_RUNS:]
    return ViewState(
        name=view.name,
        keys=view.keys,
        columns=layout.columns,
        stamp=layout.stamp.hex(),
        recipe=recipe,
        mark_us=max(marks, default=None),
        ttl_s=view.ttl_s,
        refresh_s=view.refresh_s,
        owner=view.owner,
        about=view.about,
        stale=view.stale,
        away=view.away,
        key_kinds=offline.key_kinds(computed, view),
        made_from=tuple(offline.lineage(view)),
        sources={n: _public(s.place) for n, s in view.sources.items()},
        derivations=derivations(offline, view),
        aggregates=_own(aggregates(offline.connection, view.sql), layout) if view.sql else {},
        row_bytes=layout.size,
        since_utc=before.since_utc or (before.runs or (run,))[0].at_utc if before else run.at_utc,
        runs=runs,
    )


def _own(fingerprints: Mapping[str, str], layout: Layout) -> dict[str, str]:
    return {c.name: fingerprints[c.name] for c in layout.columns if c.name in fingerprints}


def _public(place: str) -> str:
    head, at, tail = place.rpartition("@")
    return f"{head.partition('://')[0]}://{tail}" if at and "://" in head else place


__all__ = ["Done", "Due", "Materialisation", "due", "materialise", "materialise_view"]
