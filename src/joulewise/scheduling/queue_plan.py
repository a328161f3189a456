"""Planning the queue: what waits is planned anew under the capacity there is, and what runs where that pays.

`renew` reads the queue, plans, and writes all of it in one transaction: a planner that is killed has changed nothing,
and two at once do no harm. Waiting jobs are packed by prices on scarce hours (fleet.py); without numpy each is planned
alone, and workers hold the capacity. Jobs that run keep their plan unless a newer forecast is worth more than a pause
(`plan.replan`). Steps are as fine as the number of jobs allows, so that short jobs do not take whole hours.

What a machine has is counted in one unit, a processor: a job that takes a larger share of the GPUs or of the memory
counts as that share of the processors. So what is planned fits, whichever of the three is scarce.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import ceil

from joulewise.ledger import jobs as queue
from joulewise.ledger.jobs import Line, Planned
from joulewise.ledger.leases import Held, WorkerLine, holders, workers
from joulewise.ledger.store import Store
from joulewise.scheduling.plan import DEFAULT_TERMS, Grid, Terms, place, replan
from joulewise.scheduling.queue import NOTHING
from joulewise.scheduling.saved import placement_as_json, placement_from_json
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.job import Job, Place, Placement, Unplaced, after
from joulewise.vocabulary.ticket import Needs, Stage, Ticket

_CELLS = 1_500_000  # jobs times steps of their windows; more takes longer than a re-plan may
_STEPS_S = (300, 900, 1800, 3600)

GridOf = Callable[[Sequence[str], datetime, datetime], Grid]


@dataclass(frozen=True, slots=True)
class Renewed:
    """What a planning came to: jobs planned, started jobs whose plan changed, jobs without room, what was said of the grid."""

    planned: int
    changed: int = 0
    without_room: int = 0
    grid: Mapping[str, str] = field(default_factory=dict)


def renew(store: Store, grid_of: GridOf, now_utc: datetime, terms: Terms = DEFAULT_TERMS) -> Renewed:
    """Plan all that waits anew, and what runs where that pays; write it, and return what it came to."""
    waiting = queue.lines(store, (Stage.QUEUED,))
    held = holders(store)
    if not waiting and not held:
        return Renewed(0)
    tickets = queue.tickets(store, [x.id for x in waiting])
    running = _placements(store, held)
    zones = dict.fromkeys(z for t in tickets.values() for z in t.job.zones)
    zones |= dict.fromkeys(p.zone for p in running.values())
    if not zones:  # nothing that waits or runs has a plan to renew
        return Renewed(0)
    latest = [line.deadline_utc for line in waiting] + [p.job.deadline_utc for p in running.values()]
    until = max(latest, default=now_utc)
    grid = grid_of(tuple(zones), now_utc, max(until, after(now_utc, 3600.0)))
    changed, taken = _renew_running(store, held, running, grid, now_utc, terms)
    pool = [w for w in workers(store) if w.alive]
    planned = _plan_waiting(waiting, tickets, grid, now_utc, terms, pool, taken)
    written = queue.write_plans(store, planned, now_utc, who="planner")
    without = sum(p.placement is None for p in planned)
    return Renewed(written, changed, without, grid.said())


def planned_alone(ticket: Ticket, grid: Grid, now_utc: datetime, terms: Terms = DEFAULT_TERMS) -> Planned:
    """Return where one job goes if nobody else wants room; UsageError where its deadline cannot be met.

    A job of unknown length is not moved: it runs as soon as there is room.
    """
    job = ticket.job
    if not job.duration.known:
        why = "its length is unknown and no like run was recorded: it runs as soon as there is room"
        return _at_once(job, now_utc, why)
    placed = place(job, grid, now_utc, terms)
    if isinstance(placed, Unplaced):
        raise UsageError(f"{job.name}: {placed.reason}")
    return _planned("", placed, grid)


def _plan_waiting(
    waiting: Sequence[Line],
    tickets: Mapping[str, Ticket],
    grid: Grid,
    now_utc: datetime,
    terms: Terms,
    pool: Sequence[WorkerLine],
    taken: Sequence[tuple[str, datetime, datetime, Needs]],
) -> list[Planned]:
    planned: list[Planned] = []
    movable: list[tuple[str, Ticket]] = []
    for line in waiting:
        ticket = tickets[line.id]
        if ticket.job.duration.known and any(z in grid.carbon for z in ticket.job.zones):
            movable.append((line.id, ticket))
        else:
            planned.append(replace(_at_once(ticket.job, line.submitted_utc, line.reason), job=line.id))
    places = _capacity(pool, list(grid.carbon))
    try:
        from joulewise.scheduling.fleet_plan import Taken, plan_fleet
    except ModuleNotFoundError:  # no numpy: workers hold the capacity
        places = {}
    if not places:
        return planned + [_alone(key, t.job, grid, now_utc, terms) for key, t in movable]
    jobs: dict[str, Job] = {}
    for key, ticket in movable:
        in_zones = [z for z in ticket.job.zones if z in places] or [ticket.job.zones[0]]
        units = max((_units(ticket.needs, places[z][1]) for z in in_zones if z in places), default=1)
        jobs[key] = replace(ticket.job, name=key, units=max(1, units))
    fine = _finer(grid, jobs.values(), now_utc)
    busy = [
        Taken(zone, start, end, _units(needs, places[zone][1]))
        for zone, start, end, needs in taken
        if zone in places
    ]
    made = plan_fleet(
        tuple(jobs.values()),
        fine,
        now_utc,
        terms,
        {z: Place(z, max(1, c)) for z, (c, _) in places.items()},
        busy,
    )
    known = dict(movable)
    planned += [_planned(p.job.name, replace(p, job=known[p.job.name].job), grid) for p in made.placements]
    for left in made.unplaced:
        planned.append(_without_room(left.job.name, known[left.job.name].job, left.reason, now_utc))
    return planned


def _alone(key: str, job: Job, grid: Grid, now_utc: datetime, terms: Terms) -> Planned:
    placed = place(job, grid, now_utc, terms)
    if isinstance(placed, Unplaced):
        return _without_room(key, job, placed.reason, now_utc)
    return _planned(key, placed, grid)


def _planned(key: str, placed: Placement, grid: Grid) -> Planned:
    """Return what the queue keeps of a placement; the signal that it rests on stands beside it."""
    job = placed.job
    share = placed.saving
    if placed.risk:
        why = f"at risk: {placed.risk}"
    elif share > 0:
        how = "with the room there is" if placed.rung == "fleet" else placed.rung
        why = f"{how}: {share:.1%} less than running at once"
    elif len(set(grid.carbon[placed.zone].values)) == 1:
        why = "nothing is known that tells one hour from another"
    else:
        why = "no later hour is cleaner"
    told = placement_as_json(placed) | {"signal": grid.said()[placed.zone]}
    return Planned(key, placed.zone, placed.start_utc, _latest(job), why, told)


def _without_room(key: str, job: Job, reason: str, now_utc: datetime) -> Planned:
    start = max(now_utc, job.release_utc)
    return Planned(key, job.zones[0], start, _latest(job), f"runs as soon as there is room: {reason}")


def _at_once(job: Job, when_utc: datetime, why: str) -> Planned:
    return Planned("", job.zones[0], max(when_utc, job.release_utc), job.deadline_utc, why)


def _latest(job: Job) -> datetime:
    """Return the latest start that leaves the job its reserve; not before its release."""
    reserve_s = max(job.duration.reserve_s or 0.0, job.duration.expected_s or 0.0)
    return max(job.release_utc, after(job.deadline_utc, -reserve_s))


def _capacity(pool: Sequence[WorkerLine], zones: Sequence[str]) -> dict[str, tuple[int, Needs]]:
    """Return by zone the units that its workers have together, and what they have in all."""
    found: dict[str, tuple[int, Needs]] = {}
    for zone in zones:
        here = [w.capacity for w in pool if w.zone in ("", zone)]
        if here:
            total = sum(here, NOTHING)
            found[zone] = (total.cpus, total)
    return found


def _units(needs: Needs, total: Needs) -> int:
    """Return how many processors a job counts as: its largest share of what there is."""
    units = needs.cpus
    if needs.gpus:
        units = max(units, ceil(needs.gpus / max(1, total.gpus) * total.cpus))
    if needs.memory_bytes and total.memory_bytes:
        units = max(units, ceil(needs.memory_bytes / total.memory_bytes * total.cpus - 1e-9))
    return units


def _finer(grid: Grid, jobs: Collection[Job], now_utc: datetime) -> Grid:
    """Return the grid in steps as fine as the number of jobs allows."""
    coarsest = min(s.step_s for s in grid.carbon.values())
    window_s = sum((j.deadline_utc - max(j.release_utc, now_utc)).total_seconds() for j in jobs)
    for step_s in _STEPS_S:
        if step_s >= coarsest:
            return grid
        if window_s / step_s <= _CELLS and all(s.step_s % step_s == 0 for s in grid.carbon.values()):
            return Grid({z: s.aligned(step_s) for z, s in grid.carbon.items()}, grid.prices)
    return grid


def _placements(store: Store, held: Sequence[Held]) -> dict[str, Placement]:
    told = queue.placements(store, [h.line.id for h in held])
    return {key: placement_from_json(value) for key, value in told.items()}


def _renew_running(
    store: Store,
    held: Sequence[Held],
    running: Mapping[str, Placement],
    grid: Grid,
    now_utc: datetime,
    terms: Terms,
) -> tuple[int, list[tuple[str, datetime, datetime, Needs]]]:
    """Plan what runs anew where that pays; return how many changed, and what all of it will take of whom and when."""
    changed = 0
    taken: list[tuple[str, datetime, datetime, Needs]] = []
    for one in held:
        line, placed = one.line, running.get(one.line.id)
        if placed is None:
            until = max(line.deadline_utc, after(now_utc, 3600.0))
            taken.append((line.zone, now_utc, until, line.needs))
            continue
        if (
            placed.job.interruptible is not None
            and placed.zone in grid.carbon
            and placed.remaining_from(now_utc)
        ):
            fresh = replan(placed, grid, now_utc, placed.job.interruptible, terms)
            if fresh is not placed and queue.replace_placement(
                store, line.id, line.fence, placement_as_json(fresh), "a newer forecast: planned anew", now_utc,
                who="planner",
            ):  # fmt: skip
                changed += 1
                placed = fresh
        rest = placed.remaining_from(now_utc)
        overrun = placed.reserve_s - (placed.job.duration.expected_s or 0.0)
        taken += [(line.zone, s.start_utc, s.end_utc, line.needs) for s in rest]
        last = rest[-1].end_utc if rest else now_utc
        if not rest:  # it overruns: nobody knows for how long, so for as long again as it was given
            taken.append((line.zone, now_utc, last + timedelta(seconds=max(300.0, overrun)), line.needs))
    return changed, taken
