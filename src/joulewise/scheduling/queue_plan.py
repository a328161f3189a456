"""Planning the queue: what waits is planned anew under the capacity there is, and what runs where that pays.

`renew` reads the queue, plans, and writes all of it in one transaction: a planner that is killed has changed nothing,
and two at once do no harm. Waiting jobs are packed by prices on scarce hours (fleet.py); without numpy each is planned
alone, and workers hold the capacity. What is left of a job that runs and may stand still is planned with the others; one
that must save its state keeps its plan unless a newer forecast is worth that (`plan.replan`). Steps are as fine as the number of jobs allows, so that short jobs do not take whole hours.

What a machine has is counted in one unit, a processor: a job that takes a larger share of the GPUs or of the memory
counts as that share of the processors. So what is planned fits, whichever of the three is scarce. Where workers place jobs
beside each other by what like runs used (sharing.py), plans count them alike, in hundredths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import ceil
from typing import TYPE_CHECKING

from joulewise.ledger import jobs as queue
from joulewise.ledger.jobs import Line, Planned
from joulewise.ledger.leases import Held, WorkerLine, holders, workers
from joulewise.ledger.store import Store
from joulewise.scheduling.foresight import NOTHING
from joulewise.scheduling.going import margin_s
from joulewise.scheduling.handing import BOUND
from joulewise.scheduling.plan import DEFAULT_TERMS, Grid, Terms, place
from joulewise.scheduling.running import Running
from joulewise.scheduling.saved import placement_as_json
from joulewise.scheduling.sharing import Usage, count, room_of
from joulewise.scheduling.units import nodes_within, units_of
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.job import Duration, Job, Place, Placement, Unplaced, after
from joulewise.vocabulary.ticket import Needs, Stage, Ticket

if TYPE_CHECKING:
    pass

_CELLS = 1_500_000  # jobs times steps of their windows; more takes longer than a re-plan may
_STEPS_S = (300, 900, 1800, 3600)
_PAUSABLE_STEPS = 2  # a job of fewer steps of the signal wins little by a pause
# a share of its slack by which a job is planned to be done early: where forecasts put everybody off to the last clean hour,
# they would all press at once (measured: without it 2 of 640 deadlines missed, each by over half an hour)
_EARLY = 0.1
_TELLING = 5  # starts that tell how long an engine takes
_COMMANDS = 50  # of so many commands, the most frequent, a planning looks up what they used

_NODES = 8  # of more nodes than these the sum is planned: what is free is seldom in pieces then

GridOf = Callable[[Sequence[str], datetime, datetime], Grid]
NodesOf = Callable[[str], Sequence[Needs]]
UsageOf = Callable[[Ticket], Usage | None]


@dataclass(frozen=True, slots=True)
class Renewed:
    """What a planning came to: jobs planned, started jobs whose plan changed, jobs without room, what was said of the grid."""

    planned: int
    changed: int = 0
    without_room: int = 0
    grid: Mapping[str, str] = field(default_factory=dict)


def renew(
    store: Store,
    grid_of: GridOf,
    now_utc: datetime,
    terms: Terms = DEFAULT_TERMS,
    nodes_of: NodesOf = lambda _engine: (),
    usage_of: UsageOf | None = None,
) -> Renewed:
    """Plan all that waits, and all that runs and may pause, anew; write it, and return what it came to.

    `nodes_of` says what each node of an engine's cluster has; where it says nothing, each worker is a node. `usage_of` says
    what like runs of a job used, where its engine's workers let jobs share a machine by it (those of this kind of host).

    Within the hour of the last plan only what has come since is planned, into the room that the others leave: a plan
    that is made anew for every job would shuffle all of them each time. Where that leaves one out, all are planned.
    """
    waiting = queue.lines(store, (Stage.QUEUED,))
    held = holders(store)
    if not waiting and not held:
        return Renewed(0)
    tickets = queue.tickets(store, [x.id for x in waiting] + [h.line.id for h in held])
    zones = tuple(dict.fromkeys(z for t in tickets.values() for z in t.job.zones))
    until = max(t.job.deadline_utc for t in tickets.values())
    grid = grid_of(zones, now_utc, max(until, after(now_utc, 3600.0)))
    pool = [w for w in workers(store) if w.alive]
    planned: list[Planned] = []
    running: list[Running] = []
    for engine in dict.fromkeys(t.engine for t in tickets.values()):
        here_only = [w for w in pool if w.engine == engine]
        here = [x for x in waiting if x.engine == engine]
        usage = None
        if usage_of is not None and engine in BOUND:
            usage = _looked_up(usage_of, [t for t in tickets.values() if t.engine == engine])
        board = _Room(grid, now_utc, terms, here_only, _lag(store, engine), nodes_of(engine), usage)
        made, going = _renewed(store, board, here, [h for h in held if h.line.engine == engine], tickets)
        planned += made
        running.append(going)
    written = queue.write_plans(store, planned, now_utc, who="planner")
    changed = sum(going.write() for going in running)
    return Renewed(written, changed, sum(p.placement is None for p in planned), grid.said())


def _looked_up(usage_of: UsageOf, tickets: Sequence[Ticket]) -> dict[tuple[str, ...], Usage]:
    """Return by command what like runs used, of those that are known."""
    first = {t.argv: t for t in reversed(tickets)}
    often = Counter(t.argv for t in tickets).most_common(_COMMANDS)
    found = {argv: usage_of(first[argv]) for argv, _count in often}
    return {argv: usage for argv, usage in found.items() if usage is not None}


def _renewed(
    store: Store, board: _Room, waiting: Sequence[Line], held: Sequence[Held], tickets: Mapping[str, Ticket]
) -> tuple[list[Planned], Running]:
    """Return the plans of what waits for one engine, and what runs there with its plans."""
    hour = board.now.replace(minute=0, second=0, microsecond=0)
    settled = [x for x in waiting if x.planned_utc is not None and x.planned_utc >= hour]
    going = Running(store, held, tickets, board)
    if settled and len(settled) < len(waiting):
        going.keep(settled)
        kept = {x.id for x in settled}
        planned = board.plan({x.id: tickets[x.id] for x in waiting if x.id not in kept}, going)
        if not any(p.placement is None and tickets[p.job].job.duration.known for p in planned):
            return planned, going
        going = Running(store, held, tickets, board)
    going.renew(held)
    return board.plan({x.id: tickets[x.id] for x in waiting}, going), going


@dataclass(frozen=True, slots=True)
class _Lag:
    """What an engine takes to start a job, as its past jobs tell: the median, and what 19 of 20 stay below."""

    usual_s: float = 0.0
    most_s: float = 0.0

    def longer(self, duration: Duration) -> Duration:
        """Return a duration with the usual start in it."""
        return replace(duration, samples_s=tuple(s + self.usual_s for s in duration.samples_s))


def _lag(store: Store, engine: str) -> _Lag:
    told = queue.start_delays(store, engine)
    if len(told) < _TELLING:
        return _Lag()
    return _Lag(told[len(told) // 2], told[min(len(told) - 1, ceil(0.95 * len(told)))])


def planned_alone(ticket: Ticket, grid: Grid, now_utc: datetime, terms: Terms = DEFAULT_TERMS) -> Planned:
    """Return where one job goes if nobody else wants room; UsageError where its deadline cannot be met.

    A job of unknown length is not moved: it runs as soon as there is room.
    """
    job = ticket.job
    if not job.duration.known:
        return _at_once("", job, now_utc)
    placed = place(job, grid, now_utc, terms)
    if isinstance(placed, Unplaced):
        raise UsageError(f"{job.name}: {placed.reason}")
    return _planned("", placed, grid)


class _Room:
    """The planning of all that one engine has: the grid, the units of each zone's workers, and what a start takes."""

    def __init__(
        self,
        grid: Grid,
        now_utc: datetime,
        terms: Terms,
        pool: Sequence[WorkerLine],
        lag: _Lag,
        nodes: Sequence[Needs] = (),
        usage: Mapping[tuple[str, ...], Usage] | None = None,
    ) -> None:
        self.usage = usage or {}  # where nothing is known of any, the unit is a processor
        self.grid, self.now, self.terms, self.lag = grid, now_utc, terms, lag
        there = {z: [self._has(w.capacity) for w in pool if w.zone in ("", z)] for z in grid.carbon}
        self.room = {z: sum(each, NOTHING) for z, each in there.items()}
        self.room = {z: room for z, room in self.room.items() if room.cpus}
        self.nodes = {
            z: nodes_within(room.cpus, [self._has(n) for n in nodes] or there[z])
            for z, room in self.room.items()
        }

    def plan(self, waiting: Mapping[str, Ticket], going: Running) -> list[Planned]:
        """Return the plan of what waits; `going` learns the plan of what runs."""
        known = {key: t for key, t in waiting.items() if t.job.duration.known and self._has_signal(t.job)}
        planned = [_at_once(key, t.job, self.now) for key, t in waiting.items() if key not in known]
        try:
            from joulewise.scheduling.fleet_plan import plan_fleet
        except ModuleNotFoundError:  # no numpy: workers hold the capacity
            plan_fleet = None  # type: ignore[assignment]
        if plan_fleet is None or not self.room or not (known or going.pausable):
            return planned + [self._alone(key, t) for key, t in known.items()]
        jobs = [self._counted(key, t.job, self.needs(t), self.lag) for key, t in known.items()]
        jobs += [self._counted(key, job, needs) for key, (job, needs) in going.pausable.items()]
        fine = self._finer(jobs)
        places = {z: Place(z, room.cpus) for z, room in self.room.items()}
        most = {z: max((j.units for j in jobs if z in j.zones), default=0) for z in self.room}
        nodes = {
            z: each for z, each in self.nodes.items() if 1 < len(each) <= _NODES and most[z] <= max(each)
        }  # a job that takes several nodes is planned by their sum
        made = plan_fleet(jobs, fine, self.now, self.terms, places, going.taken(), nodes)
        step_s = min(s.step_s for s in fine.carbon.values())
        for placed in made.placements:
            key = placed.job.name
            placed = self._from_now(placed, step_s)  # noqa: PLW2901 - the same placement, begun earlier
            if key in known:
                planned.append(_planned(key, _as_asked(placed, known[key].job), self.grid, self.lag.most_s))
            else:
                going.fresh[key] = placed
        planned += [
            _without_room(u.job.name, known[u.job.name].job, u.reason, self.now, self.lag.most_s)
            for u in made.unplaced
            if u.job.name in known
        ]
        return planned

    @property
    def start_s(self) -> float:
        """What 19 of 20 starts stay below."""
        return self.lag.most_s

    def needs(self, ticket: Ticket) -> Needs:
        """Return what a job counts as: what it asks for, or what like runs used (in hundredths, as the room is then)."""
        return count(ticket.needs, self.usage.get(ticket.argv)) if self.usage else ticket.needs

    def _has(self, room: Needs) -> Needs:
        return room_of(room) if self.usage else room

    def units(self, zone: str, needs: Needs) -> int:
        """Return how many processors a job counts as in a zone: its largest share of what there is."""
        room = self.room.get(zone)
        return units_of(needs, room) if room else max(1, needs.cpus)

    def _alone(self, key: str, ticket: Ticket) -> Planned:
        job = ticket.job
        placed = place(self._counted(key, job, self.needs(ticket), self.lag), self.grid, self.now, self.terms)
        if isinstance(placed, Unplaced):
            return _without_room(key, job, placed.reason, self.now, self.lag.most_s)
        return _planned(key, _as_asked(placed, job), self.grid, self.lag.most_s)

    def _counted(self, key: str, job: Job, needs: Needs, lag: _Lag | None = None) -> Job:
        """Return a job as the fleet takes it: named by its id, in units, due a little before it is.

        One that has yet to be started (`lag`) is as much longer as a start takes.
        """
        lag = lag or _Lag()
        duration = lag.longer(job.duration)
        reserve_s = max(duration.reserve_s or 0.0, duration.expected_s or 0.0)
        slack_s = (job.deadline_utc - max(job.release_utc, self.now)).total_seconds() - reserve_s
        early_s = 2 * margin_s(reserve_s) + lag.most_s - lag.usual_s + _EARLY * max(0.0, slack_s)
        early_s = min(early_s, max(0.0, slack_s / 4))
        units = max(self.units(z, needs) for z in job.zones)
        due = after(job.deadline_utc, -early_s)
        step_s = max(s.step_s for s in self.grid.carbon.values())
        whole = (job.duration.expected_s or 0.0) < _PAUSABLE_STEPS * step_s
        pause = None if whole else job.interruptible
        return replace(job, name=key, duration=duration, units=units, deadline_utc=due, interruptible=pause)

    def _has_signal(self, job: Job) -> bool:
        return any(z in self.grid.carbon for z in job.zones)

    def _finer(self, jobs: Collection[Job]) -> Grid:
        """Return the grid in steps as fine as the number of jobs allows."""
        signals = self.grid.carbon
        coarsest = min(s.step_s for s in signals.values())
        window_s = sum((j.deadline_utc - max(j.release_utc, self.now)).total_seconds() for j in jobs)
        for step_s in _STEPS_S:
            if step_s >= coarsest:
                break
            if window_s / step_s <= _CELLS and all(s.step_s % step_s == 0 for s in signals.values()):
                steps = {z: s.aligned(step_s) for z, s in signals.items()}
                return Grid(steps, self.grid.prices, self.grid.trust)
        return self.grid

    def _from_now(self, placed: Placement, step_s: int) -> Placement:
        """Return a placement that begins with the next whole step as one that begins now, unless now is dirtier."""
        first = placed.stretches[0]
        wait_s = (first.start_utc - self.now).total_seconds()
        if not 0 < wait_s < step_s or placed.job.release_utc > self.now:
            return placed
        here = self.grid.carbon[first.zone or placed.zone]
        now, then = here.at(self.now), here.at(first.start_utc)
        if now is not None and then is not None and (now.value or 0.0) > (then.value or 0.0):
            return placed
        return replace(placed, stretches=(replace(first, start_utc=self.now), *placed.stretches[1:]))


def _as_asked(placed: Placement, job: Job) -> Placement:
    """Return the placement of a job that was planned with its start, as one of the job itself: waiting draws nothing."""
    counted_s = placed.job.duration.expected_s or 1.0
    share = min(1.0, (job.duration.expected_s or counted_s) / counted_s)
    if share == 1.0:
        return replace(placed, job=job)
    return replace(
        placed,
        job=job,
        predicted=placed.predicted.scaled(share),
        run_now=placed.run_now.scaled(share),
        value=placed.value * share,
        value_now=placed.value_now * share,
        bound=placed.bound * share,
        reserve_s=job.duration.reserve_s or placed.reserve_s,
    )


def _planned(key: str, placed: Placement, grid: Grid, lag_s: float = 0.0) -> Planned:
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
    return Planned(key, placed.zone, placed.start_utc, _latest(job, lag_s), why, told)


def _without_room(key: str, job: Job, reason: str, now_utc: datetime, lag_s: float) -> Planned:
    start = max(now_utc, job.release_utc)
    return Planned(key, job.zones[0], start, _latest(job, lag_s), f"runs as soon as there is room: {reason}")


def _at_once(key: str, job: Job, now_utc: datetime) -> Planned:
    why = "its length is unknown and no like run was recorded: it runs as soon as there is room"
    if job.duration.known:
        why = f"no signal for {', '.join(job.zones)} any more: it runs as soon as there is room"
    return Planned(key, job.zones[0], max(now_utc, job.release_utc), job.deadline_utc, why)


def _latest(job: Job, lag_s: float = 0.0) -> datetime:
    """Return the latest start that leaves the job its reserve, the engine its start and others the time to make room."""
    reserve_s = max(job.duration.reserve_s or 0.0, job.duration.expected_s or 0.0)
    return max(job.release_utc, after(job.deadline_utc, -reserve_s - margin_s(reserve_s) - lag_s))
