"""`joulewise queue [JOB]`: what waits and runs, and one job's story with the reason of every step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import click

from joulewise.cli.output import echo, echo_json, json_option, local_time, plain
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.quantities import format_duration, format_si
from joulewise.vocabulary.ticket import HELD, OPEN, Stage

if TYPE_CHECKING:
    from joulewise.ledger.jobs import Attempt, Decision, Line
    from joulewise.ledger.leases import WorkerLine
    from joulewise.ledger.store import Store
    from joulewise.vocabulary.job import Placement

_COLUMNS = (
    "id",
    "name",
    "owner",
    "engine",
    "stage",
    "start_utc",
    "ended_utc",
    "deadline_utc",
    "cpus",
    "zone",
    "reason",
)
_HEADS = ("job", "name", "owner", "stage", "start", "deadline", "CPUs", "zone", "because")


@click.command("queue")
@click.argument("job", required=False, metavar="[JOB]")
@click.option(
    "--all", "everything", is_flag=True, help="Show jobs that are over, too (the newest --limit of all)."
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="Show the newest N (default: all that are open; with --all 50).",
)
@click.option("--owner", metavar="NAME", help="Show one owner's jobs.")
@click.option("--workers", "show_workers", is_flag=True, help="Show the workers.")
@click.option("--output", is_flag=True, help="With a JOB: print what it wrote so far.")
@click.option(
    "--chart",
    is_flag=True,
    help="Draw the forecast with the processors planned in each hour; with a JOB: with the hours of its plan.",
)
@click.option(
    "--plan", "renew", is_flag=True, help="Plan what waits anew, now (workers do it by themselves)."
)
@click.option(
    "--apart", is_flag=True, help="With --plan: count each job as what it asks for, as `worker --apart` does."
)
@json_option
def command(
    job: str | None,
    everything: bool,
    limit: int | None,
    owner: str | None,
    show_workers: bool,
    output: bool,
    chart: bool,
    renew: bool,
    apart: bool,
    as_json: bool,
) -> int:
    """Show what waits and runs; with a JOB (id or its beginning, name, latest) its story, step by step, with reasons."""
    from joulewise import wiring

    if output and job is None:
        raise UsageError("--output is for one job; name it: joulewise queue JOB --output")
    if apart and not renew:
        raise UsageError("--apart says how to plan; write it with --plan")
    store = wiring.queue_store()
    try:
        if renew:
            return _renew(store, as_json, apart=apart)
        if show_workers:
            return _workers(store, as_json)
        if job is not None:
            return _output(store, job) if output else _one(store, job, as_json, chart=chart)
        return _list(store, owner, limit, everything=everything, as_json=as_json, chart=chart)
    finally:
        store.close()


def _list(
    store: Store, owner: str | None, limit: int | None, *, everything: bool, as_json: bool, chart: bool
) -> int:
    from joulewise.ledger import jobs

    stages = tuple(Stage) if everything else OPEN
    most = limit or (50 if everything else None)
    found = jobs.rows(store, stages, _COLUMNS, owner=owner, limit=most)
    if _looked_after(store, found):
        found = jobs.rows(store, stages, _COLUMNS, owner=owner, limit=most)
    if as_json:
        lines = jobs.lines(store, stages, owner=owner, limit=most)
        lines.sort(key=lambda x: (x.stage is Stage.QUEUED, x.start_utc, x.id))
        echo_json({"jobs": [line_fields(line) for line in lines]})
        return 0
    if not found:
        echo("nothing waits and nothing runs; joulewise submit -- COMMAND submits a job")
        return 0
    found.sort(key=lambda row: (row["stage"] == Stage.QUEUED.value, row["start_utc"], row["id"]))
    echo(_columns([_row(row) for row in found]))
    counts = Counter(row["stage"] for row in found)
    echo("\n" + ", ".join(f"{counts[stage.value]} {stage}" for stage in Stage if counts[stage.value]))
    from joulewise.ledger.leases import workers

    if counts[Stage.QUEUED.value] and not any(w.alive for w in workers(store)):
        echo("no worker is there to run them; start one: joulewise worker")
    if chart:
        from joulewise.cli.queue_chart import queue_chart

        echo(f"\n{queue_chart(store, jobs.lines(store, owner=owner, limit=limit), datetime.now(UTC))}")
    if everything:
        _settled(store)
    return 0


def _settled(store: Store, job_id: str = "") -> None:
    """Say what was saved of what was promised, over the jobs that were settled, or by one of them."""
    from joulewise.ledger.savings import plans

    wanted = f"job-{job_id}" if job_id else ""
    parts = [s for name, s in plans(store) if (name == wanted if wanted else name.startswith("job-"))]
    if not parts:
        return
    saved, promised = sum(p.saved_g for p in parts), sum(p.promised_g for p in parts)
    share = f" ({saved / promised:.0%})" if promised > 0 else ""
    whose = f"  settled   {parts[0].verdict}; " if job_id else f"{len(parts)} settled: "
    echo(f"{whose}{format_si(saved, 'g')} saved of {format_si(promised, 'g')} promised{share}")


def _looked_after(store: Store, found: Sequence[Mapping[str, Any]]) -> bool:
    """See how jobs do that a cluster's scheduler has and no worker looks after; return whether there were any."""
    from joulewise import wiring

    if not any(row["engine"] != "local" and row["stage"] in HELD for row in found):
        return False
    for said in wiring.catch_up(store):
        click.echo(plain(said, 300), err=True)
    return True


def _columns(rows: Sequence[Sequence[str]]) -> str:
    """Return rows in columns; written here because ten thousand of them take a table library over a second."""
    widths = [max(map(len, column)) for column in zip(_HEADS, *rows, strict=True)][:-1]
    layout = "  ".join(f"{{:<{w}}}" for w in widths) + "  {}"
    return "\n".join([layout.format(*_HEADS), *(layout.format(*row) for row in rows)])


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["id"],
        _short(row["name"], 24),
        _short(row["owner"], 12),
        row["stage"],
        _minute((row["ended_utc"] or row["start_utc"])[:16]),
        _minute(row["deadline_utc"][:16]),
        str(row["cpus"]),
        row["zone"],
        _short(row["reason"], 70),
    )


@cache
def _minute(utc: str) -> str:
    """Return a minute of the table's as `local_time` says it; many jobs share one."""
    return str(datetime.fromisoformat(f"{utc}+00:00").astimezone())[:16]


def _short(text: str, most: int) -> str:
    return text if text.isascii() and text.isprintable() and len(text) <= most else plain(text, most)


def _one(store: Store, text: str, as_json: bool, *, chart: bool) -> int:
    from joulewise.ledger import jobs
    from joulewise.scheduling.saved import placement_from_json

    line = jobs.find(store, text)
    if _looked_after(store, [{"engine": line.engine, "stage": line.stage}]):
        line = jobs.find(store, line.id)
    ticket, told = jobs.ticket(store, line.id), jobs.placement(store, line.id)
    story, attempts = jobs.story(store, line.id), jobs.attempts(store, line.id)
    placed = None if told is None else placement_from_json(told)
    if as_json:
        echo_json(
            {
                **line_fields(line),
                "command": list(ticket.argv),
                "cwd": ticket.cwd,
                "restartable": ticket.restartable,
                "interruptible": ticket.pausable,
                "placement": told,
                "attempts": [_attempt_fields(line, a) for a in attempts],
                "story": [
                    {"at_utc": d.at_utc.isoformat(), "what": d.what, "reason": d.reason, "who": d.who}
                    for d in story
                ],
            }
        )
        return 0
    import shlex

    late = " (late)" if line.late else ""
    echo(f"{line.id}  {plain(line.name, 60)}: {line.stage}{late}; {plain(line.reason, 300)}")
    echo(f"  command   {plain(shlex.join(ticket.argv), 300)}")
    length = ticket.job.duration
    known = (
        f"{format_duration(length.expected_s or 0.0)} ({plain(length.source, 60)})"
        if length.known
        else "unknown"
    )
    echo(f"  length    {known}; deadline {local_time(line.deadline_utc)}")
    if placed is not None:
        for stretch in placed.stretches:
            echo(
                f"  plan      {local_time(stretch.start_utc)} to {local_time(stretch.end_utc)} in {placed.zone}"
            )
        echo(f"  carbon    {_carbon(placed)}")
        if placed.trust < 1 and placed.promised_g > 0:
            echo(
                f"  promise   {format_si(placed.promised_g, 'g')} less; such forecasts kept {placed.trust:.0%} in the last month"
            )
        for note in placed.notes:
            echo(f"  note      {plain(note, 300)}")
        echo(f"  grid      {plain((told or {}).get('signal', ''), 300)}")
    _settled(store, line.id)
    if chart:
        echo(_drawn(line, placed))
    echo("")
    echo("\n".join(_story(story)))
    return 0


def _drawn(line: Line, placed: Placement | None) -> str:
    """Return the forecast from now on with the hours of the plan."""
    from joulewise import wiring
    from joulewise.cli.plan import forecast_chart

    now = datetime.now(UTC)
    if placed is None or line.deadline_utc <= now:
        return "  nothing is planned from now on, so there is nothing to draw"
    grid = wiring.planning_grid((placed.zone,), now, line.deadline_utc, {})
    return f"\n{forecast_chart(placed, grid)}"


def _carbon(placed: Placement) -> str:
    now, then = placed.run_now.carbon_g, placed.predicted.carbon_g
    return f"{format_si(then, 'g')} planned, {format_si(now, 'g')} if run at once"


def _story(story: Sequence[Decision]) -> list[str]:
    return [
        f"  {d.at_utc.astimezone():%Y-%m-%d %H:%M:%S}  {d.what:<12}  {plain(d.reason, 200)}" for d in story
    ]


def _output(store: Store, text: str) -> int:
    from joulewise import wiring
    from joulewise.ledger import jobs

    line = jobs.find(store, text)
    tries = [a for a in jobs.attempts(store, line.id) if a.handle]
    if not tries:
        raise UsageError(f"{line.id} has not started yet, so it wrote nothing")
    engine = wiring.engine(line.engine)
    offset = 0
    while part := engine.logs(tries[-1].handle, offset):
        click.echo(part, nl=False)
        offset += len(part)
    return 0


def _renew(store: Store, as_json: bool, *, apart: bool) -> int:
    from joulewise import wiring

    for said in wiring.catch_up(store):
        click.echo(plain(said, 300), err=True)
    done = wiring.renew_queue(store, apart=apart)
    if as_json:
        echo_json(
            {
                "planned": done.planned,
                "changed": done.changed,
                "without_room": done.without_room,
                "grid": dict(done.grid),
            }
        )
        return 0
    echo(
        f"{done.planned} planned, {done.changed} of those that run planned anew, {done.without_room} without room before their deadline"
    )
    for zone, said in done.grid.items():
        echo(f"grid {plain(zone)}: {plain(said, 300)}")
    return 0


def _workers(store: Store, as_json: bool) -> int:
    from joulewise.ledger.leases import holders, workers

    found, held = workers(store), holders(store)
    if as_json:
        echo_json({"workers": [_worker_fields(w, sum(h.worker == w.name for h in held)) for w in found]})
        return 0
    for w in found:
        mine = [h.line.id for h in held if h.worker == w.name]
        alive = "" if w.alive else "; silent, its jobs wait to be adopted"
        echo(
            f"{w.name}: {w.capacity}, zone {w.zone or 'any'}, engine {w.engine}; runs {', '.join(mine) or 'nothing'}{alive}"
        )
    if not found:
        echo("no worker is there; start one: joulewise worker")
    return 0


def line_fields(line: Line) -> dict[str, Any]:
    """Return a job's line as JSON fields."""
    return {
        "job": line.id,
        "name": line.name,
        "owner": line.owner,
        "engine": line.engine,
        "zone": line.zone,
        "stage": line.stage.value,
        "priority": line.priority,
        "cpus": line.needs.cpus,
        "gpus": line.needs.gpus,
        "memory_bytes": line.needs.memory_bytes,
        "submitted_utc": line.submitted_utc.isoformat(),
        "start_utc": line.start_utc.isoformat(),
        "deadline_utc": line.deadline_utc.isoformat(),
        "ended_utc": line.ended_utc.isoformat() if line.ended_utc else None,
        "late": line.late,
        "exit_code": line.exit_code,
        "reason": line.reason,
    }


def _attempt_fields(line: Line, tried: Attempt) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "run_tag": f"job:{line.id}-{tried.fence}",
        "worker": tried.worker,
        "handle": tried.handle,
        "begun_utc": tried.begun_utc.isoformat(),
        "ended_utc": tried.ended_utc.isoformat() if tried.ended_utc else None,
        "exit_code": tried.exit_code,
        "reason": tried.reason,
        "ran": [[a.isoformat(), b.isoformat() if b else None] for a, b in tried.ran],
        "ran_s": sum(((b or now) - a).total_seconds() for a, b in tried.ran),
    }


def _worker_fields(worker: WorkerLine, jobs: int) -> dict[str, Any]:
    return {
        "name": worker.name,
        "host": worker.host,
        "zone": worker.zone,
        "engine": worker.engine,
        "cpus": worker.capacity.cpus,
        "gpus": worker.capacity.gpus,
        "memory_bytes": worker.capacity.memory_bytes,
        "jobs": jobs,
        "alive": worker.alive,
    }
