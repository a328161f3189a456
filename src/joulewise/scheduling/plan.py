"""`plan`: where and when each job should run, with what that saves, the bound and the gap; pure.

    run now       at home, at once, at the first pace: what everything is compared with, and always a candidate
    best start    one run, begun when it is cheapest (at any of the job's paces)
    interruptible stretches with pauses between them, each pause at its price in seconds and joules
    elastic       paces that change with the hour (interruptible jobs with several paces)
    places        each of these in every zone that the job may enter, its data moved first
    fleet         many jobs under the capacity of their places (fleet.py)

**A deadline is kept** by planning the expected duration so that the reserved one still fits: the plan ends early by
the difference, so a run that overruns goes on at once and is done in time. Where the window does not hold the
reserve, the job runs at once and the plan says the risk.

**Never worse than running now**: on the forecast by construction, since running now is a candidate. Beyond that,
`least_saving` keeps a job from waiting for a promise smaller than the forecast's error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from joulewise.scheduling.ladder import FREE, Choice, Piece, State, best_paces, best_start, best_stretches
from joulewise.scheduling.slots import Prices, Slot, Weights, Window, window
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.job import (
    Checkpoint,
    Job,
    Objective,
    Pace,
    Place,
    Placement,
    Plan,
    Stretch,
    Toll,
    Unplaced,
    after,
    tolls,
)
from joulewise.vocabulary.quantities import format_duration
from joulewise.vocabulary.signal import Signal, require_like, utc

_EPS_S = 1e-3
_NO_TRANSFER = Toll(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a plan is made by: the objective, the weight of carbon when weighted, and when waiting is worth it.

    `least_saving` is the share of running now that must be promised before a job waits or moves. `on_steps` begins
    runs only at the border of a signal's step.
    """

    objective: Objective = Objective.CARBON
    carbon_weight: float = 0.5
    least_saving: float = 0.0
    on_steps: bool = False

    def __post_init__(self) -> None:
        """Refuse shares that are none."""
        if not 0 <= self.carbon_weight <= 1 or not 0 <= self.least_saving < 1:
            raise UsageError(
                f"carbon weight is {self.carbon_weight:g} and least saving {self.least_saving:g}; both lie between 0 and 1"
            )


DEFAULT_TERMS = Terms()


@dataclass(frozen=True, slots=True)
class Grid:
    """The signals of a plan by zone: carbon for each, and electricity prices where they are known.

    `trust` says by zone which share of what such forecasts promised of late came true (where nothing is said: all).
    """

    carbon: Mapping[str, Signal]
    prices: Mapping[str, Signal] | None = None
    trust: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse signals of unlike meaning: a German lifecycle mean says nothing beside a marginal intensity."""
        require_like(self.carbon.values())
        if self.prices:
            require_like(self.prices.values())

    @property
    def currency(self) -> str:
        """The currency of the prices, or an empty string."""
        return next((s.meaning.unit.partition("/")[0] for s in (self.prices or {}).values()), "")

    def price_of(self, zone: str) -> Signal | None:
        """Return what a kWh costs in a zone, None where no price is known; raise UsageError where only others have one."""
        if self.prices and zone not in self.prices:
            raise UsageError(f"no price for {zone}, though other zones have one; give one for each")
        return self.prices[zone] if self.prices else None

    def said(self) -> dict[str, str]:
        """Return by zone where its signal and its prices come from and what they mean."""
        told = {zone: f"{s.source or 'given'}; {s.meaning}" for zone, s in self.carbon.items()}
        for zone, price in (self.prices or {}).items():
            if zone in told:
                told[zone] += f"; prices: {price.source or 'given'}; {price.meaning}"
        return told


def plan(
    jobs: Iterable[Job],
    grid: Grid,
    at_utc: datetime,
    terms: Terms = DEFAULT_TERMS,
    places: Sequence[Place] = (),
) -> Plan:
    """Return a plan for the jobs as known at `at_utc`; a place with a capacity makes it a fleet's (needs numpy)."""
    at_utc = utc(at_utc)
    by_zone = {p.zone: p for p in places}
    jobs = tuple(jobs)
    if terms.objective in (Objective.COST, Objective.WEIGHTED) and not grid.prices:
        raise UsageError(
            f"objective {terms.objective} needs what electricity costs; set a tariff (joulewise config), fetch day-ahead prices (--online) or use carbon"
        )
    if any(p.capacity is not None for p in places):
        try:
            from joulewise.scheduling.fleet_plan import plan_fleet
        except ModuleNotFoundError as error:
            raise UsageError(
                f"a plan under a capacity needs {error.name or 'numpy'}: pip install 'joulewise[schedule]'"
            ) from error

        return plan_fleet(jobs, grid, at_utc, terms, by_zone)
    placements: list[Placement] = []
    unplaced: list[Unplaced] = []
    for job in jobs:
        placed = place(job, grid, at_utc, terms, by_zone)
        if isinstance(placed, Placement):
            placements.append(placed)
        else:
            unplaced.append(placed)
    bound = sum(p.bound for p in placements)
    return Plan(
        at_utc,
        terms.objective,
        tuple(placements),
        tuple(unplaced),
        grid.said(),
        grid.currency,
        bound,
        "each job alone",
    )


def place(
    job: Job,
    grid: Grid,
    at_utc: datetime,
    terms: Terms = DEFAULT_TERMS,
    places: Mapping[str, Place] | None = None,
    state: State = State.FRESH,
) -> Placement | Unplaced:
    """Return the best placement of one job without a capacity, or why there is none."""
    refused = refusal(job, grid, at_utc)
    if refused:
        return Unplaced(job, refused)
    desk = _Desk(job, grid, utc(at_utc), terms, places or {}, state)
    return desk.placement()


def front(
    job: Job,
    grid: Grid,
    at_utc: datetime,
    terms: Terms = DEFAULT_TERMS,
    places: Mapping[str, Place] | None = None,
    steps: int = 10,
) -> tuple[Placement, ...]:
    """Return placements of which none is better than another in carbon, cost and joules at once, cleanest first."""
    tried: list[Placement] = []
    objectives = [replace(terms, objective=o) for o in (Objective.CARBON, Objective.JOULES)]
    if grid.prices:
        objectives.append(replace(terms, objective=Objective.COST))
        objectives += [
            replace(terms, objective=Objective.WEIGHTED, carbon_weight=n / steps) for n in range(1, steps)
        ]
    for each in objectives:
        placed = place(job, grid, at_utc, each, places)
        if isinstance(placed, Placement):
            tried.append(placed)
    kept = [p for p in tried if not any(_dominates(q.predicted, p.predicted) for q in tried)]
    seen: dict[tuple[float, ...], Placement] = {}
    for placed in kept:
        toll = placed.predicted
        seen.setdefault(
            (round(toll.carbon_g, 6), round(toll.cost or 0.0, 9), round(toll.energy_j, 3)), placed
        )
    return tuple(sorted(seen.values(), key=lambda p: p.predicted.carbon_g))


def replan(
    placement: Placement,
    grid: Grid,
    at_utc: datetime,
    requeue: Checkpoint = FREE,
    terms: Terms = DEFAULT_TERMS,
    hysteresis: float = 0.01,
) -> Placement:
    """Return the placement for the rest of a job on a newer forecast, or the old one where changing does not pay.

    A change must save more than the requeue costs (its dead seconds and joules at the job's power) and at least
    `hysteresis` of what the rest of the old plan would cost. A job of one start that runs is left alone. Of what was
    done already the old prediction is kept, by its share of the work.
    """
    at_utc = utc(at_utc)
    job = placement.job
    done_s = sum(
        (min(s.end_utc, at_utc) - s.start_utc).total_seconds()
        for s in placement.stretches
        if s.start_utc < at_utc
    )
    running = any(s.start_utc <= at_utc < s.end_utc for s in placement.stretches)
    begun = done_s > _EPS_S
    if not placement.remaining_from(at_utc) or (begun and job.interruptible is None):
        return placement
    speeds = {p.name: p.speed for p in job.paces}
    work_s = _work_done(placement, at_utc, speeds)
    expected, reserve = job.duration.expected_s or 0.0, placement.reserve_s
    rest_s = max(1.0, expected - work_s)
    rest = replace(
        job,
        duration=replace(job.duration, samples_s=(rest_s,), margin=max(0.0, (reserve - work_s) / rest_s - 1)),
        release_utc=max(job.release_utc, at_utc),
        zones=(placement.zone,) if begun else job.zones,
        data_bytes=0.0 if begun else job.data_bytes,
    )
    state = (State.RUNNING if running else State.PAUSED) if begun else State.FRESH
    fresh = place(rest, grid, at_utc, terms, None, state)
    if isinstance(fresh, Unplaced):
        return placement
    desk = _Desk(rest, grid, at_utc, terms, {}, state)
    old_value = desk.value_of(placement.zone, placement.remaining_from(at_utc))
    price = desk.value_of_energy(placement.zone, requeue.energy_j + requeue.dead_s * job.power_w)
    if fresh.value + max(price, hysteresis * old_value) >= old_value:
        return placement
    done = tuple(
        Stretch(s.start_utc, min(s.end_utc, at_utc), s.pace, s.zone)
        for s in placement.stretches
        if s.start_utc < at_utc
    )
    share = min(1.0, work_s / expected) if expected else 0.0
    late_s = (fresh.end_utc - placement.end_utc).total_seconds() + placement.predicted.delay_s
    return replace(
        fresh,
        job=job,
        stretches=_joined((*done, *fresh.stretches)),
        predicted=replace(tolls((placement.predicted.scaled(share), fresh.predicted)), delay_s=late_s),
        run_now=placement.run_now,
        value=placement.value * share + fresh.value,
        value_now=placement.value_now,
        bound=placement.value * share + fresh.bound,
        reserve_s=reserve,
        notes=(*placement.notes, f"planned anew at {at_utc:%Y-%m-%d %H:%M} UTC"),
    )


def refusal(job: Job, grid: Grid, at_utc: datetime) -> str:
    """Return why a job cannot be planned at all, or an empty string."""
    if not job.duration.known:
        return (
            "its duration is unknown and no like run is in the ledger: nothing to plan with; run it now, or say how "
            "long it takes (--duration 6h)"
        )
    if not any(z in grid.carbon for z in job.zones):
        return f"no signal for {', '.join(job.zones)}: give a history or a source for it"
    home = job.zones[0]
    if home not in grid.carbon:
        return f"no signal for its home {home}, so nothing says what running now would cost"
    fastest = max(p.speed for p in job.paces)
    expected = job.duration.expected_s or 0.0
    room_s = (job.deadline_utc - max(job.release_utc, at_utc)).total_seconds()
    if expected / fastest > room_s + _EPS_S:
        return (
            f"it takes {format_duration(expected / fastest)}, but its deadline is only "
            f"{format_duration(max(0.0, room_s))} away; give it until "
            f"{after(max(job.release_utc, at_utc), expected / fastest):%Y-%m-%d %H:%M} UTC"
        )
    return ""


@dataclass(frozen=True, slots=True)
class _Offer:
    """One candidate: where, how, and at what value."""

    zone: str
    rung: str
    choice: Choice
    value: float
    transfer: Toll


class _Desk:
    """The planning of one job: its windows by zone, its candidates, its bound."""

    def __init__(
        self,
        job: Job,
        grid: Grid,
        at_utc: datetime,
        terms: Terms,
        places: Mapping[str, Place],
        state: State,
    ) -> None:
        self.job, self.grid, self.terms, self.places, self.state = job, grid, terms, places, state
        self.origin = max(utc(job.release_utc), at_utc)
        self.window_s = (utc(job.deadline_utc) - self.origin).total_seconds()
        self.expected_s = job.duration.expected_s or 0.0
        self.reserve_s = max(job.duration.reserve_s or 0.0, self.expected_s)
        self.home = job.zones[0]
        self._windows: dict[str, Window] = {}
        self._prices: dict[str, Prices] = {}
        self.now_toll = self._now()
        self.weights = self._weights()

    def placement(self) -> Placement:
        """Return the best candidate as a placement."""
        value_now = self._now_value()
        fresh = self.state is State.FRESH
        at_once_s = self.expected_s
        if self.state is State.PAUSED and self.job.interruptible:
            at_once_s += self.job.interruptible.dead_s
        now = Choice((Piece(0.0, at_once_s, self.job.paces[0]),), value_now, value_now)
        fits_now = self.expected_s <= self.window_s + _EPS_S
        tight = self.reserve_s > self.window_s + _EPS_S
        stay = _Offer(self.home, "run now", now, value_now, _NO_TRANSFER)
        offers = [stay] if fits_now and fresh else []
        if not tight or not fits_now:
            offers += self._offers(self.reserve_s - self.expected_s if not tight else 0.0)
        best = min(offers or [stay], key=lambda o: (round(o.value, 9), o.choice.pieces[-1].end_s))
        if fits_now and fresh and best.value > value_now * (1 - self.terms.least_saving) - 1e-12:
            best = stay
        bound = min([o.choice.bound + (o.value - o.choice.cost) for o in self._offers(0.0)] + [best.value])
        toll = self._toll(best)
        return Placement(
            self.job,
            best.zone,
            tuple(
                Stretch(after(self.origin, p.begin_s), after(self.origin, p.end_s), p.pace.name)
                for p in best.choice.pieces
            ),
            best.rung,
            toll,
            self.now_toll,
            best.value,
            value_now,
            max(0.0, bound),
            self.reserve_s,
            self._risk(tight, best),
            self._notes(best.zone),
            self.grid.trust.get(best.zone, 1.0) if best.zone == self.home else 1.0,
        )

    def value_of(self, zone: str, stretches: Sequence[Stretch]) -> float:
        """Return what stretches cost in the objective on this desk's forecast, resumptions included."""
        prices = self.prices(zone)
        paces = {p.name: p for p in self.job.paces}
        pause = self.job.interruptible or FREE
        value, last_end = 0.0, 0.0 if self.state is State.RUNNING else None
        for number, stretch in enumerate(stretches):
            begin, end = ((t - self.origin).total_seconds() for t in (stretch.start_utc, stretch.end_utc))
            value += prices.between(begin, end) * paces.get(stretch.pace, self.job.paces[0]).power_w
            resumed = (
                begin > last_end + _EPS_S if last_end is not None else self.state is State.PAUSED or number
            )
            if resumed:
                value += pause.energy_j * prices.at(begin) + pause.idle_w * prices.between(
                    last_end or 0.0, begin
                )
            last_end = end
        return value

    def value_of_energy(self, zone: str, energy_j: float) -> float:
        """Return what these joules cost at the window's mean price."""
        prices = self.prices(zone)
        return energy_j * prices.between(0.0, prices.end_s) / max(prices.end_s, 1.0)

    def prices(self, zone: str) -> Prices:
        """Return the prices in the objective over a zone's window."""
        if zone not in self._prices:
            self._prices[zone] = Prices(self._window(zone).slots, self.weights)
        return self._prices[zone]

    def _offers(self, room_s: float) -> list[_Offer]:
        """Return the best of every rung in every zone, keeping `room_s` (at the first pace) free at the end."""
        return [offer for zone in self._zones() for offer in self._offers_in(zone, room_s)]

    def _offers_in(self, zone: str, room_s: float) -> Iterator[_Offer]:
        transfer, arrives_s = self._transfer(zone)
        latest_s = self.window_s - room_s
        prices = self._later(zone, arrives_s)
        if prices is None:
            return
        toll = self.weights.gram * transfer.carbon_g + self.weights.money * (transfer.cost or 0.0)
        toll += self.weights.joule * transfer.energy_j
        pause = self.job.interruptible
        moved = f" in {zone}" if zone != self.home else ""
        if self.state is State.FRESH or pause is None:
            for number, pace in enumerate(self.job.paces):
                latest = self.window_s - room_s / pace.speed
                found = best_start(prices, self.expected_s, pace, latest, on_steps=self.terms.on_steps)
                if found:
                    named = f"best start, {pace.name}" if number else "best start"
                    yield _Offer(zone, named + moved, found, found.cost + toll, transfer)
        if pause is None:
            return
        for number, pace in enumerate(self.job.paces):
            found = best_stretches(prices, self.expected_s, pace, latest_s, pause, self.state)
            if found:
                named = f"interruptible, {pace.name}" if number else "interruptible"
                yield _Offer(zone, named + moved, found, found.cost + toll, transfer)
        if len(self.job.paces) > 1 and self.state is State.FRESH:
            found = best_paces(prices, self.expected_s, self.job.paces, latest_s, pause)
            if found:
                yield _Offer(zone, "elastic" + moved, found, found.cost + toll, transfer)

    def _zones(self) -> list[str]:
        job = self.job
        allowed = [z for z in job.zones if z == self.home or not job.residency or z in job.residency]
        return [z for z in allowed if z in self.grid.carbon]

    def _transfer(self, zone: str) -> tuple[Toll, float]:
        """Return what moving the data costs (at home's grid, at once) and when they have arrived."""
        if zone == self.home or not self.job.data_bytes:
            return _NO_TRANSFER, 0.0
        there = self.places.get(zone) or Place(zone)
        slot = self._window(self.home).slots[0]
        energy_j = self.job.data_bytes * there.transfer_j_per_byte
        cost = energy_j * slot.money_per_j if self.grid.prices else None
        return Toll(
            energy_j, energy_j * slot.g_per_j, cost
        ), self.job.data_bytes / there.bandwidth_bytes_per_s

    def _later(self, zone: str, arrives_s: float) -> Prices | None:
        if arrives_s <= 0:
            return self.prices(zone)
        slots = [
            Slot(max(s.begin_s, arrives_s), s.end_s, s.g_per_j, s.money_per_j)
            for s in self._window(zone).slots
            if s.end_s > arrives_s + _EPS_S
        ]
        return Prices(slots, self.weights) if slots else None

    def _window(self, zone: str) -> Window:
        if zone not in self._windows:
            there = self.places.get(zone)
            price = self.grid.price_of(zone)
            # running now may end after the deadline where only a faster pace fits
            until = after(self.origin, max(self.window_s, self.expected_s))
            self._windows[zone] = window(
                self.grid.carbon[zone], self.origin, until, price, there.pue if there else 1.0
            )
        return self._windows[zone]

    def _now(self) -> Toll:
        slots = self._window(self.home).slots
        power = self.job.power_w
        grams = Prices(slots, Weights()).between(0.0, self.expected_s) * power
        money = Prices(slots, Weights(0.0, 1.0)).between(0.0, self.expected_s) * power
        return Toll(power * self.expected_s, grams, money if self.grid.prices else None)

    def _weights(self) -> Weights:
        objective, now = self.terms.objective, self.now_toll
        if objective is Objective.CARBON:
            return Weights()
        if objective is Objective.COST:
            return Weights(0.0, 1.0)
        if objective is Objective.JOULES:
            return Weights(0.0, 0.0, 1.0)
        share = self.terms.carbon_weight
        return Weights(share / max(now.carbon_g, 1e-12), (1 - share) / max(now.cost or 0.0, 1e-12))

    def _now_value(self) -> float:
        return self.prices(self.home).between(0.0, self.expected_s) * self.job.power_w

    def _toll(self, offer: _Offer) -> Toll:
        slots = self._window(offer.zone).slots
        pieces, pause = offer.choice.pieces, self.job.interruptible or FREE
        ends = [pieces[0].begin_s if self.state is State.FRESH else 0.0, *(p.end_s for p in pieces)]
        resumed = [
            (end, p.begin_s)
            for n, (end, p) in enumerate(zip(ends, pieces, strict=False))
            if p.begin_s > end + _EPS_S or (not n and self.state is State.PAUSED)
        ]
        parts = []
        for weights in (Weights(), Weights(0.0, 1.0), Weights(0.0, 0.0, 1.0)):
            prices = Prices(slots, weights)
            run = sum(prices.between(p.begin_s, p.end_s) * p.pace.power_w for p in pieces)
            rest = sum(
                pause.energy_j * prices.at(b) + pause.idle_w * prices.between(a, b) for a, b in resumed
            )
            parts.append(run + rest)
        grams, money, joules = parts
        moved = offer.transfer
        return Toll(
            joules + moved.energy_j,
            grams + moved.carbon_g,
            money + (moved.cost or 0.0) if self.grid.prices else None,
            pieces[-1].end_s - self.expected_s,
        )

    def _risk(self, tight: bool, offer: _Offer) -> str:
        if not tight:
            return ""
        spare = self.window_s - offer.choice.pieces[-1].end_s
        return (
            f"if it takes over {format_duration(self.expected_s + max(0.0, spare))} it misses its deadline: the window "
            f"does not hold the {format_duration(self.reserve_s)} that such a job may take"
        )

    def _notes(self, zone: str) -> tuple[str, ...]:
        notes = list(self._window(zone).notes)
        missing = [z for z in self.job.zones if z not in self.grid.carbon]
        kept_out = [z for z in self.job.zones[1:] if self.job.residency and z not in self.job.residency]
        if missing:
            notes.append(f"no signal for {', '.join(missing)}: not considered")
        if kept_out:
            notes.append(f"data may not enter {', '.join(kept_out)}: not considered")
        return tuple(notes)


def _work_done(placement: Placement, at_utc: datetime, speeds: Mapping[str, float]) -> float:
    dead_s = placement.job.interruptible.dead_s if placement.job.interruptible else 0.0
    work, last_end = 0.0, None
    for stretch in placement.stretches:
        if stretch.start_utc >= at_utc:
            break
        run = (min(stretch.end_utc, at_utc) - stretch.start_utc).total_seconds()
        if last_end is not None and stretch.start_utc > last_end:
            run = max(0.0, run - dead_s)
        work += run * speeds.get(stretch.pace, 1.0)
        last_end = stretch.end_utc
    return work


def _joined(stretches: Sequence[Stretch]) -> tuple[Stretch, ...]:
    joined: list[Stretch] = []
    for stretch in stretches:
        if joined and joined[-1].end_utc == stretch.start_utc and joined[-1].pace == stretch.pace:
            joined[-1] = Stretch(joined[-1].start_utc, stretch.end_utc, stretch.pace, stretch.zone)
        else:
            joined.append(stretch)
    return tuple(joined)


def _dominates(one: Toll, other: Toll) -> bool:
    mine, theirs = ((t.carbon_g, t.cost or 0.0, t.energy_j) for t in (one, other))
    better = [a < b - 1e-9 * max(1.0, abs(b)) for a, b in zip(mine, theirs, strict=True)]
    no_worse = all(a <= b + 1e-9 * max(1.0, abs(b)) for a, b in zip(mine, theirs, strict=True))
    return no_worse and any(better)


def paces_of_workers(power_w: float, most: int, exponent: float) -> tuple[Pace, ...]:
    """Return the paces of 1 to `most` workers whose joint speed is n ** `exponent`, each drawing `power_w`."""
    return tuple(
        Pace(f"{n} worker{'s' if n > 1 else ''}", float(n) ** exponent, power_w * n)
        for n in range(1, most + 1)
    )
