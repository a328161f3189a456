"""`joulewise import prometheus`: what a Prometheus has kept of machines' power, as recordings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit, urlunsplit

import click

from joulewise import wiring
from joulewise.cli.import_ import runs_folder
from joulewise.cli.output import echo, echo_json, json_option, plain
from joulewise.exchange.prometheus_history import (
    UNITS,
    Question,
    question,
    record,
    samples_of,
    series_tag,
    utc,
    windows,
    without,
)
from joulewise.measuring.meters.prometheus import Sample
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.moments import parse_moment
from joulewise.vocabulary.quantities import parse_duration
from joulewise.vocabulary.recording import Component

_COMPONENTS = [c.value for c in Component if c is not Component.NODE] + ["node"]


@click.command("prometheus")
@click.argument("url")
@click.option("--query", required=True, metavar="EXPR", help="dcgm, kepler, ipmi, rapl, or any PromQL expression.")  # fmt: skip
@click.option("--from", "since", required=True, metavar="WHEN", help="From when: 2026-03-01, 7d (ago).")
@click.option("--to", "until", metavar="WHEN", help="Until when; unset: now.")
@click.option("--step", default="60s", show_default=True, metavar="TIME", help="How fine; not finer than its scrapes.")  # fmt: skip
@click.option("--unit", type=click.Choice(list(UNITS)), default="W", show_default=True, help="Of an expression of yours; all but W are counters.")  # fmt: skip
@click.option("--component", type=click.Choice(_COMPONENTS), default="node", show_default=True, help="What an expression of yours covers.")  # fmt: skip
@json_option
def command(
    url: str, query: str, since: str, until: str | None, step: str, unit: str, component: str, as_json: bool
) -> None:
    """Make a recording for each machine of what the Prometheus server at URL has kept.

    What was imported of a machine before is not imported again, also where the times overlap.
    """
    from joulewise.exchange.imported import keep

    step_s = parse_duration(step)
    if step_s < 1:
        raise UsageError(f"--step is {step!r}, but must be at least 1s")
    now = datetime.now(UTC)
    start, end = _moment(since, now, "--from"), _moment(until, now, "--to") if until else now
    start, end = (datetime.fromtimestamp(m.timestamp() // step_s * step_s, UTC) for m in (start, end))
    if end <= start:
        raise UsageError(f"--from ({utc(start)}) must lie before --to ({utc(end)})")
    asked = question(query, unit, Component.OTHER if component == "node" else Component(component))
    machines = _ask(url, asked, start, end, step_s)
    runs, source = runs_folder(), _named(url)
    new, known_s = list[str](), 0.0
    for host, samples in sorted(machines.items()):
        free = without(start, end, _imported(series_tag(host, asked, source)))
        known_s += (end - start).total_seconds() - sum((b - a).total_seconds() for a, b in free)
        for begin, stop in free:
            inside = {t: s for t, s in samples.items() if begin.timestamp() <= t <= stop.timestamp()}
            made = record(host, inside, asked, source, (begin, stop), step_s)
            run_id = keep(runs, made) if made is not None else None
            if run_id is not None:
                new.append(run_id)
    wiring.refresh().close()
    if as_json:
        echo_json({"machines": sorted(machines), "new": new, "seconds_known": known_s})
        return
    if not machines:
        echo(f"Prometheus has nothing for {plain(asked.expression, 80)} from {utc(start)} to {utc(end)}")
        return
    already = f"; {known_s / 3600:.4g} machine hours were there already" if known_s else ""
    echo(f"{len(new)} recordings made of {len(machines)} {'machine' if len(machines) == 1 else 'machines'}{already}")  # fmt: skip


def _ask(
    url: str, asked: Question, start: datetime, end: datetime, step_s: float
) -> dict[str, dict[float, list[Sample]]]:
    from joulewise.exchange.sending import request

    found: dict[str, dict[float, list[Sample]]] = {}
    for begin, stop in windows(start, end, step_s):
        options = {"query": asked.expression, "start": utc(begin), "end": utc(stop), "step": f"{step_s:g}"}
        answer = request("POST", f"{url.rstrip('/')}/api/v1/query_range", data=options)
        for host, samples in samples_of(answer).items():
            found.setdefault(host, {}).update(samples)  # the sample at a border is in both answers
    return found


def _imported(tag: str) -> list[tuple[datetime, datetime]]:
    """Return the stretches of which there are recordings with this tag."""
    from joulewise.ledger.index import tagged_runs

    ledger = wiring.refresh()
    try:
        return [(r.started_utc, r.started_utc + timedelta(seconds=r.duration_s)) for r in tagged_runs(ledger, tag)]  # fmt: skip
    finally:
        ledger.close()


def _moment(text: str, now: datetime, option: str) -> datetime:
    try:
        return now - timedelta(seconds=parse_duration(text)) if text[-1:].isalpha() else parse_moment(text, now)  # fmt: skip
    except (UsageError, OverflowError):
        raise UsageError(f"{option} is {text!r}, but must be a day, a time, or how long ago (7d)") from None


def _named(url: str) -> str:
    """Return a URL without user and password."""
    parts = urlsplit(url)
    place = parts.hostname or ""
    return urlunsplit((parts.scheme, f"{place}:{parts.port}" if parts.port else place, parts.path.rstrip("/"), "", ""))  # fmt: skip
