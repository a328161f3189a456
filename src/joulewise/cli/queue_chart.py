"""The queue over the forecast, zone by zone: how clean the hours to come are, and how many processors are planned in each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from joulewise.cli.output import local_time, plain
from joulewise.vocabulary.ticket import Stage

if TYPE_CHECKING:
    from joulewise.ledger.jobs import Line
    from joulewise.ledger.store import Store
    from joulewise.scheduling.plan import Grid
    from joulewise.vocabulary.job import Stretch

BARS = "▁▂▃▄▅▆▇█"
_HOUR = timedelta(hours=1)
_MOST_H = 72


def queue_chart(store: Store, lines: Sequence[Line], now: datetime) -> str:
    """Return a chart for each zone in which something is planned from now on."""
    from joulewise import wiring
    from joulewise.ledger import jobs
    from joulewise.scheduling.saved import placement_from_json

    told = jobs.placements(store, [line.id for line in lines])
    cpus = {line.id: line.needs.cpus for line in lines}
    planned: dict[str, list[tuple[int, Stretch]]] = {}
    for key, value in told.items():
        placed = placement_from_json(value)
        for stretch in placed.remaining_from(now):
            planned.setdefault(stretch.zone or placed.zone, []).append((cpus[key], stretch))
    if not planned:
        return "nothing is planned from now on, so there is nothing to draw"
    last = max(s.end_utc for hours in planned.values() for _cpus, s in hours)
    until = min(max(last, now + 6 * _HOUR), now + _MOST_H * _HOUR)
    grid = wiring.planning_grid(tuple(planned), now, until, {})
    waiting = sum(line.stage is Stage.QUEUED and line.id not in told for line in lines)
    more = f"\n{waiting} jobs without a plan run as soon as there is room" if waiting else ""
    return "\n\n".join(zone_chart(zone, hours, grid, now, until) for zone, hours in planned.items()) + more


def zone_chart(
    zone: str, planned: Sequence[tuple[int, Stretch]], grid: Grid, now: datetime, until: datetime
) -> str:
    """Return the forecast of a zone as bars over the processors that are planned in each hour."""
    hours = grid.carbon[zone].aligned(3600).between(now.replace(minute=0, second=0, microsecond=0), until)
    values = [v or 0.0 for v in hours.values]
    loads = [
        sum(
            count * max(0.0, (min(s.end_utc, hour + _HOUR) - max(s.start_utc, hour)) / _HOUR)
            for count, s in planned
        )
        for hour in hours.times()
    ]
    low, high = min(values), max(values)
    return (
        f"{plain(zone)}  {high:5.0f} g/kWh highest, {low:.0f} lowest; an hour each from {local_time(hours.start_utc)} on\n"
        f"  {_bars(values, low, high)}  g/kWh\n  {_bars(loads, 0.0, max(loads), gap=True)}  "
        f"processors planned, {max(loads):.3g} at most"
    )


def _bars(values: Sequence[float], low: float, high: float, *, gap: bool = False) -> str:
    """Return a bar for each value; with `gap` a blank for what is 0."""
    if high <= low:
        return BARS[3] * len(values)
    return "".join(" " if gap and v <= 1e-9 else BARS[round((v - low) / (high - low) * 7)] for v in values)
