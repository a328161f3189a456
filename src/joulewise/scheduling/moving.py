"""Moving what was handed over: a newer forecast may know a better hour for a job that a cluster has and has not begun.

Apart from handing.py because planning is no part of a worker, which stays small.
"""

from __future__ import annotations

from datetime import datetime

from joulewise.launching.port import Engine
from joulewise.ledger import jobs as queue
from joulewise.ledger.leases import Held, Leases
from joulewise.ledger.store import Store
from joulewise.scheduling.handing import may_hand_over
from joulewise.scheduling.plan import Grid, replan
from joulewise.scheduling.queue_plan import GridOf
from joulewise.scheduling.saved import placement_as_json, placement_from_json
from joulewise.vocabulary.errors import EngineError
from joulewise.vocabulary.job import Placement
from joulewise.vocabulary.ticket import Stage


def move_handed(
    store: Store, engine: Engine, leases: Leases, grid_of: GridOf, now_utc: datetime
) -> list[str]:
    """Plan anew what an engine has and has not begun, of plans older than the hour, and move its begin where that pays.

    Returns what there is to say, a line a job that was moved or could not be.
    """
    if not may_hand_over(store, engine):
        return []
    hour = now_utc.replace(minute=0, second=0, microsecond=0)
    said: list[str] = []
    for held in leases.orphans(engine.name, bound=False):
        line, told = held.line, queue.placement(store, held.line.id)
        fresh = line.planned_utc is not None and line.planned_utc >= hour
        waits = line.stage is Stage.PAUSED and held.attempt.handle and not held.attempt.ran
        if told is None or fresh or not waits or line.wanted or line.start_utc <= now_utc:
            continue
        ticket = queue.ticket(store, line.id)
        grid = grid_of(ticket.job.zones, now_utc, ticket.job.deadline_utc)
        before = placement_from_json(told)
        placed = replan(before, grid, now_utc)
        if leases.adopt(held, now_utc, said=False):
            said += _moved(store, engine, leases, held, placed, grid, now_utc)
    leases.leave()
    return said


def _moved(
    store: Store, engine: Engine, leases: Leases, held: Held, placed: Placement, grid: Grid, now_utc: datetime
) -> list[str]:
    """Tell engine and ledger of a plan; the engine first: a start that it does not know of is none."""
    line, when = held.line, f"{placed.start_utc:%Y-%m-%d %H:%M} UTC"
    start = placed.start_utc if placed.start_utc != line.start_utc else None
    if start is not None:
        try:
            engine.begin(held.attempt.handle, placed.start_utc)
        except EngineError as error:  # it has just begun, or the cluster does not answer: the next look tells
            return [f"{line.id} ({line.name}) stays as it is: {error}"]
    told = {**placement_as_json(placed), "signal": grid.said().get(placed.zone, "")}
    queue.replace_placement(store, line.id, line.fence, told, now_utc, start)
    if start is None:
        return []
    queue.decide(
        store,
        now_utc,
        (line.id, "moved", f"a newer forecast: {engine.name} begins it at {when}"),
        who=leases.worker,
    )
    return [f"{line.id} ({line.name}) moved to {when}: a newer forecast"]
