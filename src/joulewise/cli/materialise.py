"""`joulewise materialise FILE`: bring the online store up to date with the views of a file; each run is recorded."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from joulewise import wiring
from joulewise.cli.materialise_later import command_of, submit_all
from joulewise.cli.output import echo, echo_json, figure_fields, json_option, local_time, plain, table
from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.quantities import format_bytes, format_duration, format_figure

if TYPE_CHECKING:
    from joulewise.features.materialising import Done
    from joulewise.features.offline import Offline
    from joulewise.features.online import OnlineStore
    from joulewise.features.views import View
    from joulewise.measuring.accounting import Account

_TELL_AFTER_S = 1.0
_LOOK_EVERY_S = 60.0  # whether a view's run has left the queue


@click.command("materialise")
@click.argument("file", metavar="FILE")
@click.option(
    "--view", "names", metavar="NAME", multiple=True, help="Only this view (may be given several times)."
)
@click.option(
    "--since",
    default="auto",
    metavar="WHEN",
    show_default=True,
    help="Compute what is newer than this: auto (what changed since the last run), all, or a time (ISO 8601).",
)
@click.option(
    "--migrate", is_flag=True, help="Allow other columns than the store has: everything is made anew."
)
@click.option("--watch", is_flag=True, help="Go on: materialise each view when it is due, until interrupted.")
@click.option(
    "--submit", is_flag=True, help="Put each view's next run into the queue, within its freshness bound."
)
@click.option(
    "--zone", metavar="ZONE", help="With --submit: where it will run (default: the settings' zone)."
)
@click.option("--store", metavar="PLACE", help="The online store: a path or redis://host:port/0.")
@click.option(
    "--memory", default="1GB", metavar="BYTES", show_default=True, help="Memory that computing may take."
)
@json_option
def command(
    file: str,
    names: tuple[str, ...],
    since: str,
    migrate: bool,
    watch: bool,
    submit: bool,
    zone: str | None,
    store: str | None,
    memory: str,
    as_json: bool,
) -> None:
    """Bring the online store up to date with the views of FILE (views.py or views.toml).

    Only what changed is computed. Each run of a view is recorded: joules, bytes and grams stand in the ledger.
    """
    from joulewise.features.loading import load_views
    from joulewise.features.offline import Offline

    start = _since(since)
    memory_bytes = _bytes(memory)
    views = load_views(file)
    if submit and since != "auto":
        raise UsageError("--since does not go with --submit: a run of the queue computes what changed")
    # recorded from outside (by a worker, by `joulewise run`), the one view's run is that recording
    outer = os.path.basename(os.environ.get(wiring.INSIDE, "")) if len(names) == 1 else ""
    online = wiring.online_store(store)
    try:
        while submit:
            _submit(
                views,
                names,
                online,
                command_of(file, store, memory, migrate=migrate),
                zone,
                memory_bytes,
                as_json=as_json,
            )
            if not watch:
                return
            time.sleep(_LOOK_EVERY_S)
        while True:
            done = []
            with Offline(views, memory_bytes=memory_bytes) as offline:
                for view in _chosen(offline, names):
                    if watch and not _is_due(view, online):
                        continue
                    done.append(
                        _run(offline, view, online, start, outer, full=since == "all", migrate=migrate)
                    )
            _show(done, as_json=as_json, quiet=watch)
            if not watch:
                return
            time.sleep(_pause_s(views, online))
    except (KeyboardInterrupt, RuntimeError) as stopped:
        # DuckDB tells an interrupt that meets it in a query as a RuntimeError
        if isinstance(stopped, RuntimeError) and "interrupted" not in str(stopped).casefold():
            raise
        if not watch:
            raise KeyboardInterrupt from None
    finally:
        online.close()


def _submit(
    views: list[View],
    names: tuple[str, ...],
    online: OnlineStore,
    words: tuple[str, ...],
    zone: str | None,
    memory_bytes: int,
    *,
    as_json: bool,
) -> None:
    """Put the next run of each chosen view into the queue, and tell when it will run."""
    from joulewise.features.offline import Offline

    zones = tuple(filter(None, [zone or wiring.settings().zone]))
    if not zones:
        raise UsageError("say where it runs, for instance --zone DE, or set a zone (joulewise config)")
    with Offline(views) as offline:
        chosen = list(_chosen(offline, names))
    put = submit_all(chosen, online, words, tuple(wiring.grid_zone(z) for z in zones), memory_bytes)
    if as_json:
        echo_json(
            {
                "jobs": [
                    {
                        "view": p.view,
                        "job": p.job,
                        "new": p.submitted is not None,
                        "deadline_utc": p.deadline_utc.isoformat(),
                        "start_utc": p.submitted.placement.start_utc.isoformat()
                        if p.submitted and p.submitted.placement
                        else None,
                        "reason": p.reason,
                    }
                    for p in put
                ]
            }
        )
        return
    for p in put:
        placed = p.submitted.placement if p.submitted else None
        when = f"; planned {local_time(placed.start_utc)}" if placed else ""
        word = "is in the queue" if p.submitted else "was in the queue already"
        echo(
            f"{plain(p.view, 40)}: {p.job} {word}{when}, fresh until {local_time(p.deadline_utc)}: {plain(p.reason, 200)}"
        )


def _run(
    offline: Offline,
    view: View,
    online: OnlineStore,
    since: datetime | None,
    outer: str,
    *,
    full: bool,
    migrate: bool,
) -> tuple[Done, Account | None]:
    """Materialise one view inside a recording of its own, or in the one from outside (`outer`)."""
    from joulewise.features.hygiene import told_of
    from joulewise.features.materialising import materialise_view

    began_s = time.monotonic()
    told = False

    def progress(name: str, read: int, rows: int) -> None:
        nonlocal told
        if sys.stderr.isatty() and time.monotonic() - began_s > _TELL_AFTER_S:
            told = True
            click.echo(f"\r{name}: {read:,} entities of {rows:,} rows", err=True, nl=False)

    with wiring.track(f"materialise {view.name}", view=view.name, rows=0, bytes=0) as run:
        done = materialise_view(
            offline,
            view,
            online,
            since=since,
            full=full,
            migrate=migrate,
            progress=progress,
            run_id=run.run_id or outer,
        )
        run.param(rows=done.run.rows_written, bytes=done.run.bytes_written, full=done.run.full)
        run.param(**told_of(view.name, online.states(), online.tallies(), datetime.now(UTC)))
    if told:
        click.echo("", err=True)
    return done, wiring.account(run.recording) if run.recording else None


def _show(done: list[tuple[Done, Account | None]], *, as_json: bool, quiet: bool) -> None:
    if as_json:
        echo_json({"views": [_fields(one, account) for one, account in done]})
        return
    if quiet and not done:
        return
    rows = []
    for one, account in done:
        cost = account.footprint if account else None
        rows.append(
            [
                plain(one.view, 40),
                one.why or "what changed",
                f"{one.run.rows_read:,}",
                f"{one.run.rows_written:,}",
                f"{one.run.rows_deleted:,}",
                format_bytes(one.run.bytes_written),
                format_duration(one.run.cpu_s),
                _text(cost.total_j if cost else None, "J"),
                _text(cost.carbon_g if cost else None, "g"),
            ]
        )
    heads = ("view", "computed", "rows read", "written", "deleted", "bytes", "CPU", "energy", "CO2e")
    echo(table(rows, heads, right=(2, 3, 4, 5, 6)))


def _fields(done: Done, account: Account | None) -> dict[str, Any]:
    cost = account.footprint if account else None
    return {
        "view": done.view,
        "why_full": done.why or None,
        "rows_dropped": done.dropped,
        "rows_in_store": done.state.rows,
        "mark_us": done.state.mark_us,
        **asdict(done.run),
        "energy_j": figure_fields(cost.total_j if cost else None),
        "carbon_g": figure_fields(cost.carbon_g if cost else None),
    }


def _text(figure: Figure | None, unit: str) -> str:
    return "unknown" if figure is None else format_figure(figure, unit)


def _chosen(offline: Offline, names: tuple[str, ...]) -> list[View]:
    for name in names:
        if name not in offline.views:
            raise UnknownName("view", name, offline.views)
    return [v for v in offline.views.values() if not names or v.name in names]


def _is_due(view: View, online: OnlineStore) -> bool:
    from joulewise.features.materialising import due

    state = online.states().get(view.name)
    return state is None or due(state).earliest_utc <= datetime.now(UTC)


def _pause_s(views: list[View], online: OnlineStore) -> float:
    from joulewise.features.materialising import due

    states = online.states()
    now = datetime.now(UTC)
    waits = [(due(states[v.name]).earliest_utc - now).total_seconds() for v in views if v.name in states]
    return min(max(min(waits, default=1.0), 0.2), 3600.0)


def _since(text: str) -> datetime | None:
    if text in ("auto", "all"):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--since is {text!r}, but must be auto, all or a time such as 2026-11-01T00:00Z"
        ) from None
    return (moment if moment.tzinfo else moment.astimezone()).astimezone(UTC)


def _bytes(text: str) -> int:
    from joulewise.vocabulary.quantities import split_quantity

    number, unit = split_quantity(text)
    scale = {"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}.get(unit.upper())
    if scale is None:
        raise UsageError(f"--memory is {text!r}, but must be a size such as 500MB or 2GB")
    return int(number * scale)
