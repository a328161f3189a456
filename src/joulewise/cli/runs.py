"""`joulewise runs`: the ledger's list of recordings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from joulewise import wiring
from joulewise.cli.output import echo, echo_json, figure_fields, json_option, local_time, plain, table
from joulewise.ledger.index import ORDERS, count_runs, list_runs
from joulewise.ledger.summary import Summary
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.quantities import format_duration, format_figure, parse_duration
from joulewise.vocabulary.recording import EndState


@click.command("runs")
@click.argument("text", required=False)
@click.option("--name", metavar="NAME", help="Only recordings whose name begins so.")
@click.option(
    "--state", type=click.Choice([s.value for s in EndState]), help="Only recordings in this state."
)
@click.option(
    "--since", metavar="WHEN", help="Only recordings since a day (2026-03-01) or a time ago (7d, 12h)."
)
@click.option(
    "--sort", type=click.Choice(list(ORDERS)), default="newest", show_default=True, help="The order."
)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many.")
@click.option("--offset", type=click.IntRange(min=0), default=0, help="Leave out so many first.")
@click.option("--savings", is_flag=True, help="Show what was settled instead: promises and outcomes.")
@click.option("--jobs", is_flag=True, help="Show the recordings of one job's nodes and ranks as that job.")
@json_option
def command(
    text: str | None,
    name: str | None,
    state: str | None,
    since: str | None,
    sort: str,
    limit: int,
    offset: int,
    savings: bool,
    jobs: bool,
    as_json: bool,
) -> None:
    """List the recordings, newest first.

    TEXT is looked for in ids, names, commands, tags and parameters. Energy is the work's, at its devices; grams and
    money are in `joulewise show`.
    """
    if savings:
        from joulewise.cli.savings import show

        show(limit, as_json=as_json)
        return
    if jobs:
        from joulewise.cli.run_groups import show as show_jobs

        show_jobs(text, limit, as_json=as_json)
        return
    chosen: dict[str, Any] = {
        "text": text,
        "name": name,
        "state": EndState(state) if state else None,
        "since": _moment(since) if since else None,
    }
    ledger = wiring.refresh()
    try:
        rows = list_runs(ledger, limit=limit, offset=offset, order=sort, **chosen)
        count = count_runs(ledger, **chosen)
    finally:
        ledger.close()
    if as_json:
        echo_json({"count": count, "offset": offset, "runs": [_fields(row) for row in rows]})
        return
    if not rows:
        echo("no recording fits" if count or text or name or state or since else _FIRST)
        return
    echo(
        table(
            [_row(r) for r in rows],
            ("started", "name", "state", "time", "energy", "basis", "id"),
            right=(3, 4),
        )
    )
    if count > offset + len(rows):
        echo(f"\n{len(rows)} of {count}; --limit and --offset show more")


_FIRST = "there is no recording yet; make one: joulewise run -- python train.py"


def _row(row: Summary) -> list[str]:
    energy = row.energy_j
    return [
        local_time(row.started_utc),
        plain(row.name, 32),
        row.state.value,
        format_duration(row.duration_s),
        "unknown" if energy is None else format_figure(energy, "J"),
        "" if energy is None else energy.basis.word,
        row.run_id,
    ]


def _fields(row: Summary) -> dict[str, Any]:
    return {
        "run_id": row.run_id,
        "name": row.name,
        "host": row.host,
        "role": row.role,
        "started_utc": row.started_utc.isoformat(),
        "duration_s": row.duration_s,
        "state": row.state.value,
        "exit_code": row.exit_code,
        "energy_j": figure_fields(row.energy_j),
        "idle_j": figure_fields(row.idle_j),
        "machine_j": figure_fields(row.machine_j),
        "components_j": row.components_j,
        "command": row.command,
        "tags": row.tags,
        "params": row.params,
        "points": row.points,
        "last_point": row.last_point,
        "damage": row.damage,
        "job": row.job,
        "folder": row.folder,
    }


def _moment(text: str) -> datetime:
    try:
        day = datetime.fromisoformat(text)
    except ValueError:
        try:
            return datetime.now(UTC) - timedelta(seconds=parse_duration(text))
        except (UsageError, OverflowError):
            raise UsageError(
                f"--since is {text!r}, but must be a day (2026-03-01) or a time ago (7d, 12h)"
            ) from None
    return day if day.tzinfo else day.astimezone()
