"""What a job of the queue really saved against running at once, by the grid's actual hours: `joulewise settle JOB`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from joulewise import wiring
from joulewise.cli import settling_alerts
from joulewise.cli.output import echo, echo_json, plain
from joulewise.cli.plan_settling import currency, report_fields, report_text, tariff_of
from joulewise.cli.reading import by_zone
from joulewise.ledger import jobs
from joulewise.ledger.savings import keep_plan
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.job import Placement, Stretch, Toll
from joulewise.vocabulary.settled import Report
from joulewise.vocabulary.ticket import OPEN

if TYPE_CHECKING:
    from joulewise.ledger.store import Store
    from joulewise.vocabulary.signal import Signal


def settle_job(text: str, histories: Sequence[str], marginals: Sequence[str], *, as_json: bool) -> None:
    """Settle a job that is over, keep that in the ledger, and print it."""
    from joulewise.grid.history import read_file
    from joulewise.scheduling.saved import placement_from_json
    from joulewise.scheduling.settle import settle_placement
    from joulewise.vocabulary.signal import Kind, Meaning

    store = wiring.queue_store()
    try:
        line = jobs.find(store, text)
        if line.stage in OPEN:
            raise UsageError(
                f"{line.id} is not over ({line.stage}): settle it when it has ended and its hours have passed"
            )
        told, ran = jobs.promise(store, line.id), _ran(store, line)
        if told is None:
            raise UsageError(f"nothing was promised for {line.id}: it ran as soon as there was room")
        if not ran:
            raise UsageError(f"{line.id} never ran, so there is nothing to settle")
        planned = placement_from_json(told)
        placed, drew_w = _as_drawn(planned, line, store, ran)
        zones = tuple(dict.fromkeys((planned.job.zones[0], *(s.zone for s in ran))))
        files = by_zone(histories, zones)
        start = min(planned.job.release_utc, ran[0].start_utc)
        length = timedelta(seconds=sum(s.duration_s for s in ran))
        end = max(planned.end_utc, ran[-1].end_utc, start + length + timedelta(hours=1))
        actual = {z: read_file(Path(files[z]), z) if z in files else _actual(z, start, end) for z in zones}
        marginal = {
            z: read_file(Path(f), z, meaning=Meaning(kind=Kind.MARGINAL))
            for z, f in by_zone(marginals, zones).items()
        }
        part = settle_placement(placed, actual, marginal or None, tariff_of(zones, start, end), ran)
        report = Report((replace(part, name=line.name),))
        keep_plan(store, f"job-{line.id}", report, datetime.now(UTC))
    finally:
        store.close()
    settling_alerts.of_placements(f"job {line.name}", report)
    if as_json:
        echo_json(
            {"job": line.id, "drew_w": drew_w, "planned_w": planned.job.power_w, **report_fields(report)}
        )
        return
    echo(report_text(report, currency()))
    drew = "no joules were recorded" if drew_w is None else f"it drew {drew_w:.3g} W on average"
    echo(
        f"by {plain(actual[zones[0]].source or 'the given hours', 200)}; {drew}, planned with {planned.job.power_w:.3g} W"
    )


def _ran(store: Store, line: jobs.Line) -> list[Stretch]:
    """Return when a job ran, over all its attempts: what an attempt that was lost had used, was used."""
    return [
        Stretch(begin, end, "", line.zone)
        for tried in jobs.attempts(store, line.id)
        for begin, end in tried.ran
        if end is not None and end > begin
    ]


def _as_drawn(
    placed: Placement, line: jobs.Line, store: Store, ran: Sequence[Stretch]
) -> tuple[Placement, float | None]:
    """Return the placement with the watts that were measured in place of those that were planned, and these watts."""
    keys = {f"job:{line.id}-{tried.fence}" for tried in jobs.attempts(store, line.id)}
    joules = wiring.recorded_energy(keys)
    if joules is None:
        return placed, None
    watts = joules / sum(s.duration_s for s in ran)
    factor = watts / placed.job.power_w if placed.job.power_w else 1.0
    job = replace(placed.job, paces=tuple(replace(p, power_w=p.power_w * factor) for p in placed.job.paces))

    def drawn(toll: Toll) -> Toll:
        return replace(toll, energy_j=toll.energy_j * factor, carbon_g=toll.carbon_g * factor)

    return replace(placed, job=job, predicted=drawn(placed.predicted), run_now=drawn(placed.run_now)), watts


def _actual(zone: str, start: datetime, end: datetime) -> Signal:
    signal = wiring.actual(zone, start, end)
    if signal is None:
        raise UsageError(
            f"the actual hours of {zone} are not known yet: 'joulewise forecast {zone} --online' fetches them, or give "
            "them with --history FILE"
        )
    return signal
