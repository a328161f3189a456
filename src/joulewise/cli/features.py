"""`joulewise features list|show|unused|lineage`: what the online store holds, what it costs, and who reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from joulewise import wiring
from joulewise.cli.output import (
    echo,
    echo_json,
    figure_fields,
    figure_text,
    json_option,
    local_time,
    plain,
    table,
)
from joulewise.vocabulary.errors import RecordingError, UnknownName
from joulewise.vocabulary.footprint import Footprint
from joulewise.vocabulary.quantities import format_bytes, format_duration

if TYPE_CHECKING:
    from joulewise.features.hygiene import RequestJoin
    from joulewise.features.online import OnlineStore, ReadTally, ViewState

_store_option = click.option(
    "--store", metavar="PLACE", help="The online store: a path or redis://host:port/0."
)


@click.group("features")
def command() -> None:
    """List features, show what they cost, and name those that nobody reads."""


@command.command("list")
@_store_option
@json_option
def list_views(store: str | None, as_json: bool) -> None:
    """List the views in the store: rows, bytes, the age of the newest event, who reads them."""
    with _open(store) as online:
        states, tallies = online.states(), online.tallies()
    now = datetime.now(UTC)
    if as_json:
        echo_json({"views": [_fields(s, tallies) for s in states.values()]})
        return
    if not states:
        echo("No view was materialised here yet; begin with: joulewise materialise views.py")
        return
    rows = [
        [
            plain(s.name, 40),
            plain(s.owner, 20),
            f"{s.rows:,}",
            str(len(s.columns)),
            format_bytes(s.rows * s.row_bytes),
            _age(s, now),
            format_duration(s.ttl_s),
            f"{sum(t.reads for t in tallies if t.view == s.name):,}",
            _stale(s.name, tallies),
        ]
        for s in states.values()
    ]
    heads = ("view", "owner", "rows", "columns", "bytes", "newest event", "TTL", "reads", "stale")
    echo(table(rows, heads, right=(2, 3, 4, 5, 6, 7, 8)))


@command.command("show")
@click.argument("name", metavar="VIEW")
@_store_option
@json_option
def show(name: str, store: str | None, as_json: bool) -> None:
    """Show a view: its columns, its readers, and what its runs cost (joules and grams from the ledger)."""
    with _open(store) as online:
        states, tallies = online.states(), online.tallies()
    state = _find(states, name)
    cost, known = _cost(state)
    if as_json:
        fields = _fields(state, tallies)
        fields["runs"] = [asdict(r) for r in state.runs]
        fields["recorded_runs"] = known
        fields["energy_j"] = figure_fields(cost.total_j if cost else None)
        fields["carbon_g"] = figure_fields(cost.carbon_g if cost else None)
        echo_json(fields)
        return
    echo(f"{state.name}  {plain(state.about, 100)}".rstrip())
    echo(
        f"  keys {', '.join(state.keys)}; {state.rows:,} rows, {format_bytes(state.rows * state.row_bytes)}; owner {state.owner or 'nobody'}"
    )
    echo(
        f"  newest event {_age(state, datetime.now(UTC))} ago, TTL {format_duration(state.ttl_s)}, due every {format_duration(state.refresh_s)}"
    )
    echo(
        table(
            [[c.name, c.type, "none" if c.default is None else f"{c.default:g}"] for c in state.columns],
            ("column", "type", "default"),
        )
    )
    readers = [t for t in tallies if t.view == state.name]
    if readers:
        rows = [
            [plain(t.reader, 40), f"{t.reads:,}", f"{t.missing:,}", f"{t.stale:,}", format_duration(t.age_sum_s / max(1, t.reads - t.missing)),
             local_time(datetime.fromisoformat(t.last_utc))]
            for t in readers
        ]  # fmt: skip
        echo(
            table(rows, ("reader", "reads", "missing", "stale", "mean age", "last read"), right=(1, 2, 3, 4))
        )
    rows = [
        [
            local_time(datetime.fromisoformat(r.at_utc)),
            "all" if r.full else "what changed",
            f"{r.rows_written:,}",
            format_duration(r.cpu_s),
            r.run_id,
        ]
        for r in state.runs[-5:]
    ]
    echo(table(rows, ("run", "computed", "rows written", "CPU", "recording"), right=(2, 3)))
    if cost is not None:
        echo(
            f"{known} of the last {len(state.runs)} runs are recorded: {figure_text(cost.total_j, 'J')}, {figure_text(cost.carbon_g, 'g')} CO2e"
        )


@command.command("unused")
@click.option("--days", default=30.0, show_default=True, help="Days without a read.")
@click.option(
    "--run",
    metavar="RUN",
    help="And what this served model computes in its requests, with the views that have it.",
)
@_store_option
@json_option
def unused(days: float, run: str | None, store: str | None, as_json: bool) -> None:
    """Name what is derived for nobody: views without readers, values fresher than needed, derivations made twice."""
    from joulewise.features.hygiene import derived_twice, too_fresh
    from joulewise.features.hygiene import unused as unused_views

    asked = _requests(run) if run else []
    with _open(store) as online:
        states, tallies = online.states(), online.tallies()
    idle, fresh, twice = (
        unused_views(states, tallies, datetime.now(UTC), days=days),
        too_fresh(states, tallies),
        derived_twice(states),
    )
    joins = _beside(asked, states)
    if as_json:
        echo_json(
            {
                "unused": [asdict(u) for u in idle],
                "too_fresh": [asdict(t) for t in fresh],
                "derived_twice": [asdict(d) for d in twice],
                "request_joins": [{**asdict(j), "views": have} for j, have in joins],
            }
        )
        return
    for u in idle:
        last = (
            f"not read since {local_time(datetime.fromisoformat(u.last_read_utc))}"
            if u.last_read_utc
            else "never read"
        )
        daily = f", {format_duration(u.cpu_s_per_day)} CPU a day" if u.cpu_s_per_day is not None else ""
        echo(
            f"{u.view}: {last}; {u.rows:,} rows, {format_bytes(u.bytes)}{daily}; owner {plain(u.owner, 40) or 'nobody'}"
        )
    for t in fresh:
        echo(f"{t.view}: made anew every {format_duration(t.made_every_s)}, every {format_duration(t.needed_every_s)} would do; "
             f"saves {format_duration(t.cpu_s_saved_per_day)} CPU a day")  # fmt: skip
    for d in twice:
        echo(
            f"{' and '.join(d.columns)} are the same derivation; about {format_duration(d.cpu_s_per_run)} CPU a run"
        )
    for join, have in joins:
        echo(
            f"{join.calls:,} requests ran a statement with {join.what}, {format_duration(join.cpu_s)} CPU: {plain(join.sql, 120)}"
        )
        if have:
            echo(f"  the same derivation is in the store: read {', '.join(have)}")
    if not (idle or fresh or twice or joins):
        echo("Nothing is derived for nobody.")


def _requests(run: str) -> list[RequestJoin]:
    """Return what the processes of a recorded run joined or aggregated, the dearest first."""
    from joulewise.features.hygiene import Query, request_joins
    from joulewise.vocabulary.observed import observe

    views = observe(wiring.find(run))
    return request_joins(Query(s.sql, s.calls, s.cpu_s) for view in views for s in view.statements)


def _beside(joins: list[RequestJoin], states: Mapping[str, ViewState]) -> list[tuple[RequestJoin, list[str]]]:
    """Return each statement with the columns of views that are the same derivation."""
    if not joins:
        return []
    import duckdb

    from joulewise.features.derivation import aggregates

    known: dict[str, list[str]] = {}
    for state in states.values():
        for column, fingerprint in state.aggregates.items():
            known.setdefault(fingerprint, []).append(f"{state.name}.{column}")
    with duckdb.connect(":memory:") as connection:
        return [
            (join, sorted({c for f in aggregates(connection, join.sql).values() for c in known.get(f, ())}))
            for join in joins
        ]


@command.command("lineage")
@click.argument("name", metavar="VIEW", required=False)
@_store_option
@json_option
def lineage(name: str | None, store: str | None, as_json: bool) -> None:
    """Show what a view is made from, and which views and readers take from it."""
    with _open(store) as online:
        states, tallies = online.states(), online.tallies()
    chosen = [_find(states, name)] if name else list(states.values())
    if as_json:
        echo_json({"views": [_lineage(s, states, tallies) for s in chosen]})
        return
    for state in chosen:
        told = _lineage(state, states, tallies)
        sources = [f"{n} ({p})" for n, p in told["sources"].items()] + told["views"]
        echo(f"{state.name}  <-  {', '.join(sources) or 'no source'}")
        for taker in (*told["views_above"], *told["readers"]):
            echo(f"  ->  {plain(taker, 80)}")


@contextmanager
def _open(place: str | None) -> Iterator[OnlineStore]:
    online = wiring.online_store(place)
    try:
        yield online
    finally:
        online.close()


def _find(states: Mapping[str, ViewState], name: str) -> ViewState:
    if name not in states:
        raise UnknownName("view", name, states, "('joulewise features list' lists them)")
    return states[name]


def _fields(state: ViewState, tallies: list[ReadTally]) -> dict[str, Any]:
    return {
        "name": state.name,
        "owner": state.owner or None,
        "about": state.about or None,
        "keys": list(state.keys),
        "columns": [asdict(c) for c in state.columns],
        "rows": state.rows,
        "bytes": state.rows * state.row_bytes,
        "mark_us": state.mark_us,
        "ttl_s": state.ttl_s,
        "refresh_s": state.refresh_s,
        "readers": [asdict(t) for t in tallies if t.view == state.name],
    }


def _lineage(state: ViewState, states: Mapping[str, ViewState], tallies: list[ReadTally]) -> dict[str, Any]:
    return {
        "view": state.name,
        "sources": dict(state.sources),
        "views": [n for n in state.made_from if n not in state.sources],
        "views_above": [s.name for s in states.values() if state.name in s.made_from],
        "readers": [t.reader for t in tallies if t.view == state.name],
    }


def _cost(state: ViewState) -> tuple[Footprint | None, int]:
    """Return what the runs of a view cost together, as far as their recordings are still there, and how many are."""
    from pathlib import Path

    from joulewise.ledger.files import read_recording, run_folder
    from joulewise.vocabulary.footprint import combined

    parts = []
    for run in state.runs:
        try:
            if run.run_id:
                parts.append(
                    wiring.account(
                        read_recording(run_folder(Path(wiring.settings().runs), run.run_id))
                    ).footprint
                )
        except RecordingError:  # pruned, or made on another host
            continue
    return (combined(parts) if parts else None), len(parts)


def _age(state: ViewState, now: datetime) -> str:
    return (
        "none" if state.mark_us is None else format_duration(max(0.0, now.timestamp() - state.mark_us / 1e6))
    )


def _stale(view: str, tallies: list[ReadTally]) -> str:
    reads = sum(t.reads for t in tallies if t.view == view)
    return f"{sum(t.stale for t in tallies if t.view == view) / reads:.0%}" if reads else ""
