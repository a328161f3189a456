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

from joulewise.features.derivation import aggregates, derivations
from joulewise.features.offline import MEMORY_BYTES, Computed, Offline
from joulewise.features.online import KEPT_RUNS, Materialisation, OnlineStore, ViewState, Writer, now_text
from joulewise.features.parts import Chunk, Part, Spread, chunks, keys_of, try_entities
from joulewise.features.rows import Key, Layout, differences, tombstone
from joulewise.features.views import View
from joulewise.vocabulary.errors import UnknownName, UsageError

Progress = Callable[[str, int, int], None]  # view, rows done, rows in all


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
    spread: Spread | None = None,
) -> list[Done]:
    """Bring `store` up to date with `views` (or those named in `only`) and return what was done, view by view.

    `since` takes the place of the mark; `full` computes everything; with `spread` that happens in parts. Raises UsageError in one line where a view or its
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
                spread=spread,
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
    spread: Spread | None = None,
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
        kinds = offline.key_kinds(view)
        found = _find(offline, view, layout, now, mark, spread)
        # a key of one whole number is what SQLite keeps best
        with store.writing(view.name, fresh=bool(why), whole_keys=kinds == ("whole",)) as writer:
            written, deleted = _write(view, layout, found, writer, now, progress)
            run = Materialisation(
                at_utc=now_text(),
                full=bool(why),
                rows_read=found.rows,
                rows_written=written,
                rows_deleted=deleted,
                bytes_written=written * layout.size,
                cpu_s=round(time.process_time() - began_cpu_s + found.cpu_s, 6),
                wall_s=round(time.perf_counter() - began_s, 6),
                run_id=run_id,
            )
            state = writer.finish(_state(offline, view, before, layout, recipe, found.newest_us, kinds, run))
        offline.drop(*found.tables)
        return Done(view.name, run, state, found.dropped, why)


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


@dataclass(slots=True)
class _Found:
    """A view's rows on their way into the store; the counts are whole when the chunks are through."""

    chunks: Iterator[Chunk]
    rows: int = 0
    newest_us: int | None = None
    dropped: int = 0
    cpu_s: float = 0.0  # of other processes
    tables: tuple[str, ...] = ()
    lost: Callable[[], Iterable[Key]] = tuple  # entities that are no longer there


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


def _find(
    offline: Offline, view: View, layout: Layout, now: datetime, mark: datetime | None, spread: Spread | None
) -> _Found:
    if mark is None and spread is not None:
        found = _Found(iter(()))
        found.chunks = _from_parts(
            found, spread.over(offline.views.values(), view, now), counted=spread.counted
        )
        return found
    if view.incremental == "rows":
        return _here(offline, view, layout, offline.compute(view, now=now, since=mark))
    if mark is None:
        whole = offline.compute(view, now=now)
        try_entities(offline, view, whole, now)
        return _here(offline, view, layout, whole)
    changed = offline.changed(view, mark)
    computed = offline.compute(view, now=now, since=mark, only=changed, filtered=False)
    found = _here(offline, view, layout, computed)
    found.tables += (changed,)
    found.lost = lambda: keys_of(offline.vanished(changed, computed, view), view)
    return found


def _here(offline: Offline, view: View, layout: Layout, computed: Computed) -> _Found:
    return _Found(
        chunks(offline, view, layout, computed),
        computed.rows,
        computed.newest_us,
        computed.dropped,
        tables=(computed.table,),
    )


def _from_parts(found: _Found, parts: Iterable[Part], *, counted: bool) -> Iterator[Chunk]:
    for one in parts:
        found.rows += one.rows
        found.dropped += one.dropped
        found.newest_us = max((n for n in (found.newest_us, one.newest_us) if n is not None), default=None)
        found.cpu_s += 0.0 if counted else one.cpu_s
        yield from one.chunks


def _write(
    view: View, layout: Layout, found: _Found, writer: Writer, now: datetime, progress: Progress | None
) -> tuple[int, int]:
    """Write the newest row of each entity, a chunk at a time; return how many were written and how many deleted."""
    written = deleted = read = 0
    for keys, at_us, rows, gone in found.chunks:
        written += writer.put(keys, at_us, rows)
        deleted += gone
        read += len(keys)
        if progress is not None:
            progress(view.name, read, found.rows)
    if lost := list(found.lost()):
        at = round(now.timestamp() * 1e6)
        written += writer.put(lost, [at] * len(lost), [tombstone(layout.stamp, at)] * len(lost))
        deleted += len(lost)
    return written, deleted


def _state(
    offline: Offline,
    view: View,
    before: ViewState | None,
    layout: Layout,
    recipe: str,
    newest_us: int | None,
    kinds: tuple[str, ...],
    run: Materialisation,
) -> ViewState:
    marks = [m for m in (newest_us, before.mark_us if before and not run.full else None) if m is not None]
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
        key_kinds=kinds,
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
