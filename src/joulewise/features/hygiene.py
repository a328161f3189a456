"""Hygiene: what a store of features does for nobody. Pure functions of its states and tallies, as plain values.

`diagnosing` makes findings of these; `joulewise features unused` prints them. Each names the CPU seconds that it costs;
joules follow from the recordings of the runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from joulewise.features.online import ReadTally, ViewState

_JOINS = re.compile(r"\b(JOIN|OVER\s*\(|GROUP\s+BY)\b|\b(COUNT|SUM|AVG|MIN|MAX)\s*\(", re.IGNORECASE)
_HIDDEN = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Unused:
    """A view that nobody has read since `last_read_utc` ("" is never), what it takes and what it costs a day."""

    view: str
    owner: str
    rows: int
    bytes: int
    last_read_utc: str
    runs: int
    cpu_s_per_day: float | None


@dataclass(frozen=True, slots=True)
class TooFresh:
    """A view that is made anew more often than anybody needs: every `made_every_s`, where `needed_every_s` would do.

    `why` is `tolerated` (every reader is content with older values) or `reads` (fewer reads than runs).
    """

    view: str
    made_every_s: float
    needed_every_s: float
    why: str
    cpu_s_saved_per_day: float


@dataclass(frozen=True, slots=True)
class DerivedTwice:
    """Columns of several views that are the same derivation of the same rows: compute it in one of them."""

    columns: tuple[str, ...]  # view.column
    cpu_s_per_run: float  # of all the views but the cheapest, their whole cost shared by their columns


@dataclass(frozen=True, slots=True)
class Query:
    """A statement that a served model ran while it answered requests, how often, and its CPU seconds in all."""

    sql: str
    calls: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class RequestJoin:
    """A join, window or aggregate in the request path: materialise it and read one row."""

    sql: str
    calls: int
    cpu_s: float
    what: str


def unused(
    states: Mapping[str, ViewState], tallies: Iterable[ReadTally], now: datetime, *, days: float = 30.0
) -> list[Unused]:
    """Return the views that nobody has read for `days` and no other view is made from, the dearest first.

    A view younger than that is given the time.
    """
    read: dict[str, str] = {}
    for tally in tallies:
        read[tally.view] = max(read.get(tally.view, ""), tally.last_utc)
    needed = {name for state in states.values() for name in state.made_from}
    since = now - timedelta(days=days)
    found = []
    for state in states.values():
        last = read.get(state.name, "")
        if state.name in needed or (last and datetime.fromisoformat(last) >= since):
            continue
        began = state.since_utc or (state.runs[0].at_utc if state.runs else "")
        if not last and began and datetime.fromisoformat(began) >= since:
            continue
        found.append(
            Unused(
                state.name,
                state.owner,
                state.rows,
                state.rows * state.row_bytes,
                last,
                len(state.runs),
                _cpu_s_per_day(state),
            )
        )
    return sorted(found, key=lambda u: -(u.cpu_s_per_day or 0.0))


def too_fresh(states: Mapping[str, ViewState], tallies: Iterable[ReadTally]) -> list[TooFresh]:
    """Return the views that are made anew at least twice as often as their readers need, the largest saving first.

    Needed is the longer of two times: half of the age that the least patient reader tolerates, and the time between
    two reads of the view. Needs three runs and one read.
    """
    by_view: dict[str, list[ReadTally]] = {}
    for tally in tallies:
        by_view.setdefault(tally.view, []).append(tally)
    found = []
    for state in states.values():
        readers, every_s = by_view.get(state.name, []), _every_s(state)
        if not readers or every_s is None:
            continue
        tolerated_s = min(t.tolerates_s for t in readers) / 2
        first = min(datetime.fromisoformat(t.first_utc) for t in readers)
        last = max(datetime.fromisoformat(t.last_utc) for t in readers)
        reads = sum(t.reads for t in readers)
        between_s = (last - first).total_seconds() / (reads - 1) if reads > 1 else 0.0
        needed_s, why = max((tolerated_s, "tolerated"), (between_s, "reads"))
        if needed_s < 2 * every_s:
            continue
        per_day = _cpu_s_per_day(state) or 0.0
        found.append(TooFresh(state.name, every_s, needed_s, why, per_day * (1 - every_s / needed_s)))
    return sorted(found, key=lambda t: -t.cpu_s_saved_per_day)


def derived_twice(states: Mapping[str, ViewState]) -> list[DerivedTwice]:
    """Return the derivations that several views compute from the same rows, the dearest first."""
    places: dict[str, list[tuple[str, float]]] = {}
    for state in states.values():
        share = _median([r.cpu_s for r in state.runs]) / max(1, len(state.columns))
        for column, fingerprint in state.derivations.items():
            places.setdefault(fingerprint, []).append((f"{state.name}.{column}", share))
    found = [
        DerivedTwice(
            tuple(sorted(name for name, _ in where)),
            sum(cost for _, cost in where) - min(cost for _, cost in where),
        )
        for where in places.values()
        if len(where) > 1
    ]
    return sorted(found, key=lambda d: (-d.cpu_s_per_run, d.columns))


def told_of(
    view: str, states: Mapping[str, ViewState], tallies: Sequence[ReadTally], now: datetime
) -> dict[str, str | float]:
    """Return what is wasted on one view as plain facts: for its run's recording, where `diagnosing` finds them."""
    facts: dict[str, str | float] = {}
    for idle in unused(states, tallies, now):
        if idle.view == view:
            facts["unread_since"] = idle.last_read_utc
    for fresh in too_fresh(states, tallies):
        if fresh.view == view:
            facts.update(
                made_every_s=fresh.made_every_s, needed_every_s=fresh.needed_every_s, fresh_why=fresh.why
            )
    others = []
    for twice in derived_twice(states):  # of those that derive it, the first keeps it
        mine = [c for c in twice.columns if c.partition(".")[0] == view]
        if mine and mine[0] != twice.columns[0]:
            others.append(twice.columns[0])
    if others:
        facts.update(
            derived_also=", ".join(others), derived_share=len(others) / max(1, len(states[view].columns))
        )
    return facts


def request_joins(queries: Iterable[Query]) -> list[RequestJoin]:
    """Return the statements that join, aggregate or use a window while requests wait, the dearest first."""
    found = []
    for query in queries:
        words = _JOINS.findall(_HIDDEN.sub("''", query.sql))
        if words:
            told = dict.fromkeys(re.sub(r"\s*\($", "", (a or b).upper()) for a, b in words)
            found.append(RequestJoin(query.sql, query.calls, query.cpu_s, ", ".join(told)))
    return sorted(found, key=lambda r: -r.cpu_s)


def _every_s(state: ViewState) -> float | None:
    """Return the median time between two runs; None for fewer than three."""
    times = [datetime.fromisoformat(r.at_utc) for r in state.runs]
    return _median([(b - a).total_seconds() for a, b in pairwise(times)]) if len(times) >= 3 else None


def _cpu_s_per_day(state: ViewState) -> float | None:
    every_s = _every_s(state)
    return _median([r.cpu_s for r in state.runs]) * 86_400 / every_s if every_s else None


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    if not ordered:
        return 0.0
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
