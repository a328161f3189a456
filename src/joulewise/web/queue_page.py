"""The queue: what waits, runs and has ended, its planned hours over the forecast, and one job's story. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from joulewise.ledger.jobs import Attempt, Decision, Line
from joulewise.ledger.leases import WorkerLine
from joulewise.vocabulary.job import Placement
from joulewise.vocabulary.quantities import format_duration, format_si
from joulewise.vocabulary.signal import Signal
from joulewise.vocabulary.ticket import OPEN, Stage, Ticket
from joulewise.web import charts
from joulewise.web.report import ticks
from joulewise.web.templating import clip, drawn, environment

_BEFORE, _LEAST, _MOST = timedelta(hours=2), timedelta(hours=24), timedelta(days=7)
_DRAWN = 100


@dataclass(frozen=True, slots=True)
class Queue:
    """What the page shows: jobs (open ones and those that ended last), plans in force, tries, workers, and the forecast."""

    lines: Sequence[Line]
    placements: Mapping[str, Placement]
    attempts: Mapping[str, Sequence[Attempt]]
    workers: Sequence[WorkerLine]
    forecast: Signal | None
    now_utc: datetime


def address(job_id: str) -> str:
    """Return where the page about a job is."""
    return f"/queue/{quote(job_id, safe='')}"


def render(queue: Queue) -> str:
    """Return the page about the queue."""
    open_lines = [line for line in queue.lines if line.stage in OPEN]
    carbon = [(p.predicted.carbon_g, p.run_now.carbon_g) for p in queue.placements.values()]
    planned, at_once = sum(p for p, _ in carbon), sum(n for _, n in carbon)
    promise = ""
    if carbon and at_once > 0:
        saved = 1 - planned / at_once
        promise = "No hour is known to be cleaner than now."
        if saved > 0.005:
            promise = f"Planned: {format_si(planned, 'g')} CO₂e, {100 * saved:.0f} % less than at once ({format_si(at_once, 'g')})."
    return (
        environment()
        .get_template("queue.html")
        .render(
            nav="queue",
            title="Queue",
            counts=", ".join(
                f"{n} {s.value}" for s in Stage if (n := sum(x.stage is s for x in queue.lines))
            ),
            promise=promise,
            chart=_chart(queue),
            rows=[_row(line, queue.placements.get(line.id)) for line in queue.lines],
            workers=[_worker(w) for w in queue.workers],
            nobody=bool(open_lines) and not any(w.alive for w in queue.workers),
            live="/queue" if open_lines else "",
        )
    )


def _row(line: Line, placed: Placement | None) -> dict[str, str]:
    when = line.ended_utc or line.start_utc
    return {
        "id": line.id,
        "href": address(line.id),
        "name": clip(line.name, 60),
        "owner": clip(line.owner, 30),
        "stage": line.stage.value,
        "start": f"{when:%Y-%m-%d %H:%M} UTC",
        "deadline": f"{line.deadline_utc:%Y-%m-%d %H:%M} UTC",
        "zone": clip(line.zone, 30),
        "saving": "" if placed is None else f"{100 * placed.saving:.0f} %",
        "reason": clip(line.reason, 200),
    }


def _worker(worker: WorkerLine) -> dict[str, str]:
    has = worker.capacity
    room = f"{has.cpus} CPUs" + (f", {has.gpus} GPUs" if has.gpus else "")
    return {
        "name": clip(worker.name, 60),
        "zone": clip(worker.zone, 30),
        "engine": clip(worker.engine, 20),
        "room": room,
        "alive": "there" if worker.alive else "not heard of",
    }


def _chart(queue: Queue) -> dict[str, Any] | None:
    """Return planned and past stretches of the jobs on one axis of time, over the forecast; None without a job."""
    shown = [line for line in queue.lines if line.id in queue.placements or queue.attempts.get(line.id)][
        :_DRAWN
    ]
    if not shown:
        return None
    start = queue.now_utc.replace(minute=0, second=0, microsecond=0) - _BEFORE
    last = max(
        (
            s.end_utc
            for line in shown
            if line.id in queue.placements
            for s in queue.placements[line.id].stretches
        ),
        default=start,
    )
    end = min(start + _MOST, max(start + _LEAST, last + timedelta(hours=1)))
    span_s = (end - start).total_seconds()

    def at(moment: datetime) -> float:
        return min(1.0, max(0.0, (moment - start).total_seconds() / span_s))

    def path(stretches: Sequence[tuple[datetime, datetime]]) -> str:
        sides = [(at(a), at(b)) for a, b in stretches if b > start and a < end]
        return "".join(
            f"M{charts.UNITS * a:.1f} 0h{charts.UNITS * max(b - a, 0.001):.1f}v1h-{charts.UNITS * max(b - a, 0.001):.1f}z"
            for a, b in sides
        )

    lanes = []
    for line in shown:
        placed = queue.placements.get(line.id)
        ran = [(a, b or queue.now_utc) for attempt in queue.attempts.get(line.id, ()) for a, b in attempt.ran]
        to_come = (
            [(s.start_utc, s.end_utc) for s in placed.remaining_from(queue.now_utc)]
            if placed and line.stage in OPEN
            else []
        )
        lanes.append({
            "name": clip(line.name, 40), "href": address(line.id), "stage": line.stage.value, "ran": drawn(path(ran)),
            "planned": drawn(path(to_come)), "deadline": f"{100 * at(line.deadline_utc):.2f}%", "due": line.deadline_utc <= end,
        })  # fmt: skip
    hours = charts.time_axis(span_s, 8)
    return {
        "lanes": lanes,
        "now": f"{100 * at(queue.now_utc):.2f}%",
        "grid": _forecast(queue.forecast, start, end),
        "along": [
            {**tick, "label": f"{start + timedelta(seconds=t):%a %H:%M}"}
            for tick, t in zip(ticks(hours), hours.ticks, strict=True)
        ],
    }


def _forecast(signal: Signal | None, start: datetime, end: datetime) -> dict[str, Any] | None:
    """Return the forecast as steps on the jobs' axis; None where none is at hand or it tells no hour from another."""
    if signal is None:
        return None
    span_s = (end - start).total_seconds()
    steps = []
    for number, point in enumerate(signal.points):
        a = (signal.start_utc + timedelta(seconds=number * signal.step_s) - start).total_seconds() / span_s
        b = a + signal.step_s / span_s
        if point.value is not None and b > 0 and a < 1:
            steps.append((max(0.0, a), min(1.0, b), point.value))
    values = [v for _, _, v in steps]
    if not values or max(values) < 1.01 * min(values):
        return None
    return {
        "path": drawn(charts.steps([(a, b, v / max(values)) for a, b, v in steps])),
        "words": f"{clip(signal.zone, 30)}: {min(values):.0f} to {max(values):.0f} g CO₂e/kWh",
    }


def render_job(
    line: Line,
    ticket: Ticket,
    placed: Placement | None,
    story: Sequence[Decision],
    attempts: Sequence[Attempt],
) -> str:
    """Return the page about one job: what was asked, what is planned, what was done and why."""
    length = ticket.job.duration
    facts = [
        ("command", clip(shlex.join(ticket.argv), 600)),
        ("folder", clip(ticket.cwd, 200)),
        ("owner", clip(line.owner, 60)),
        (
            "length",
            f"{format_duration(length.expected_s or 0.0)}, {clip(length.source, 60)}"
            if length.known
            else "unknown",
        ),
        ("deadline", f"{line.deadline_utc:%Y-%m-%d %H:%M} UTC" + (" (late)" if line.late else "")),
        ("engine, zone", f"{clip(line.engine, 20)}, {clip(line.zone, 30) or 'none'}"),
        ("may be paused", "yes" if ticket.pausable else "no"),
        ("may start again", "yes" if ticket.restartable else "no"),
    ]
    if placed is not None:
        saved = f"{format_si(placed.predicted.carbon_g, 'g')} planned, {format_si(placed.run_now.carbon_g, 'g')} at once"
        facts.append(("carbon", saved))
    return (
        environment()
        .get_template("job.html")
        .render(
            nav="queue",
            title=clip(line.name or line.id, 80),
            id=line.id,
            stage=line.stage.value,
            reason=clip(line.reason, 400),
            facts=facts,
            stretches=[
                (
                    f"{s.start_utc:%a %Y-%m-%d %H:%M} UTC",
                    f"{s.end_utc:%a %H:%M} UTC",
                    format_duration(s.duration_s),
                )
                for s in (placed.stretches if placed else ())
            ],
            notes=[clip(n, 300) for n in (placed.notes if placed else ())],
            story=[
                (f"{d.at_utc:%Y-%m-%d %H:%M:%S} UTC", clip(d.what, 40), clip(d.reason, 300)) for d in story
            ],
            attempts=[
                {
                    "worker": clip(a.worker, 60),
                    "begun": f"{a.begun_utc:%Y-%m-%d %H:%M} UTC",
                    "end": clip(a.end_state, 30) or "it runs",
                    "reason": clip(a.reason, 200),
                }
                for a in attempts
            ],
            live=address(line.id) if line.stage in OPEN else "",
        )
    )
