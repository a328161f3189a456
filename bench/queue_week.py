"""A week of the queue by an injected clock: `python bench/queue_week.py DIR`, DIR laid out as the carbon data.

The real worker, planner and ledger over an engine in simulated time (joulewise.testing.simulated): some 40 mixed short jobs a
day (10 minutes to 6 hours, 1 to 4 of 12 processors (40 % load), half of them interruptible, 4 to 36 hours of slack; half of the lengths known,
half learnt from like runs), forecasts from history alone as they were at the time, everything settled with the actual hours.
Beside it first come, first served under the same capacity; and the same week with the grid's service down for a day.

Prints grams, the share of the promised saving that was realised, and missed deadlines; exit code 1 where a goal is missed.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from math import exp
from pathlib import Path
from time import process_time

from joulewise.grid.at_hand import outlook
from joulewise.grid.history import read_file
from joulewise.ledger import jobs as queue
from joulewise.ledger.jobs import Planned
from joulewise.ledger.leases import Leases, lease_clock
from joulewise.ledger.memory import open_memory
from joulewise.ledger.store import Store
from joulewise.scheduling.plan import Grid
from joulewise.scheduling.queue_plan import planned_alone, renew
from joulewise.scheduling.saved import placement_from_json
from joulewise.scheduling.settle import settle_placement
from joulewise.scheduling.slots import Prices, Weights, window
from joulewise.scheduling.worker import Post, Worker
from joulewise.testing.clock import FakeClock
from joulewise.testing.simulated import SimulatedEngine
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.job import Checkpoint, Duration, Job, Pace, Stretch
from joulewise.vocabulary.signal import Signal
from joulewise.vocabulary.ticket import OPEN, Needs, Stage, Ticket

ROOM = Needs(12)
DAYS, PER_DAY, STEP_S = 7, 40, 120.0
ZONES = ("DE", "GB", "US-CAL-CISO", "AU-NSW")
WEEK = datetime(2023, 5, 8, tzinfo=UTC)


@dataclass(frozen=True)
class Came:
    """A job that comes at a time, with the length that it will truly have."""

    at: datetime
    ticket: Ticket


@dataclass
class Outcome:
    """What a week came to."""

    grams: float = 0.0
    promised: float = 0.0
    saved: float = 0.0
    missed: int = 0
    excused: int = 0
    done: int = 0
    pauses: int = 0
    refused: int = 0
    said: set[str] = field(default_factory=set)
    ran: dict[str, list[tuple[datetime, datetime]]] = field(default_factory=dict)
    predicted: dict[str, float] = field(default_factory=dict)
    forecasts: dict[datetime, Grid] = field(default_factory=dict)


def week(zone: str, seed: int) -> list[Came]:
    """Return the jobs of a week in the order in which they come; working hours see more of them."""
    chance = random.Random(f"{zone} {seed}")
    came = []
    for day in range(DAYS):
        for _ in range(PER_DAY):
            hour = min(23.9, max(0.0, chance.gauss(13.0, 4.5)))
            at = WEEK + timedelta(days=day, hours=hour)
            hours = min(6.0, max(1 / 6, exp(chance.gauss(0.0, 0.9))))
            known = chance.random() < 0.5
            spread = [hours * exp(chance.gauss(0.0, 0.15)) for _ in range(20)]
            truth = hours if known else chance.choice(spread)
            duration = Duration.of(hours * 3600) if known else Duration.learnt([h * 3600 for h in spread])
            reserve_h = (duration.reserve_s or 0.0) / 3600
            cpus = chance.choice([1, 1, 2, 2, 4])
            job = Job(
                f"{zone}-{len(came)}", duration, at, at + timedelta(hours=reserve_h + chance.uniform(4, 36)),
                (Pace("1 worker", 1.0, 60.0 * cpus),), Checkpoint(1.0) if chance.random() < 0.5 else None, (zone,),
            )  # fmt: skip
            came.append(
                Came(
                    at,
                    Ticket(
                        job,
                        ("sleep", f"{truth * 3600:.0f}"),
                        "/",
                        chance.choice(["ada", "bob", "eve"]),
                        needs=Needs(cpus),
                    ),
                )
            )
    return sorted(came, key=lambda c: c.at)


def simulate(
    zone: str,
    actual: Signal,
    came: Sequence[Came],
    *,
    planned: bool,
    down: tuple[datetime, datetime] | None = None,
) -> Outcome:
    """Let a week pass, planned or first come, first served, and settle it with the actual hours."""
    store, clock, out = open_memory(), FakeClock(WEEK), Outcome()
    engine = SimulatedEngine(clock)
    forecasts = out.forecasts

    def grid_of(_zones: Sequence[str], start: datetime, _end: datetime) -> Grid:
        hour = start.replace(minute=0)
        if hour not in forecasts:  # hourly history: nothing new is known within the hour
            known_until = down[0] if down and down[0] <= start < down[1] else hour
            past = actual.between(known_until - timedelta(days=28), known_until)
            told = outlook(zone, hour, 72, past=past)
            out.said.update(told.notes)
            forecasts[hour] = Grid({zone: replace(told.signal, source=told.method)})
        return forecasts[hour]

    worker = Worker(
        store, engine, Post("w", "here/1", ROOM), clock,
        plan=(lambda: renew(store, grid_of, clock.now_utc())) if planned else None,
        leases=Leases(store, "w", "here/1", clock=lease_clock),
    )  # fmt: skip
    waiting = list(came)
    ids: dict[str, Ticket] = {}
    while waiting or queue.lines(store, OPEN, limit=1):
        now = clock.now_utc()
        while waiting and waiting[0].at <= now:
            ticket = waiting.pop(0).ticket
            if planned:
                try:
                    first = planned_alone(ticket, grid_of((zone,), now, ticket.job.deadline_utc), now)
                except UsageError:
                    out.refused += 1
                    continue
            else:
                latest = ticket.job.deadline_utc - timedelta(seconds=ticket.job.duration.reserve_s or 0.0)
                first = Planned("", zone, now, latest, "first come, first served")
                ticket = replace(ticket, job=replace(ticket.job, interruptible=None))
            ids[queue.add(store, ticket, first, now)] = ticket
        worker.round()
        clock.sleep(STEP_S)
    for job_id, ticket in ids.items():
        _settle(store, engine, job_id, ticket, actual, out, zone, planned=planned)
    store.close()
    return out


def _settle(
    store: Store,
    engine: SimulatedEngine,
    job_id: str,
    ticket: Ticket,
    actual: Signal,
    out: Outcome,
    zone: str,
    *,
    planned: bool,
) -> None:
    line, ran = queue.find(store, job_id), engine.ran(job_id)
    out.done += line.stage is Stage.DONE
    late = ran[-1][1] > line.deadline_utc
    longer = sum((b - a).total_seconds() for a, b in ran) > (ticket.job.duration.reserve_s or 0.0) + 1
    out.missed += late and not longer
    out.excused += late and longer
    out.pauses += len(ran) - 1
    out.ran[ticket.job.name] = ran
    out.grams += sum(grams(actual, ticket.job.power_w, a, b) for a, b in ran)
    if planned:
        promise = placement_from_json(queue.promise(store, job_id) or {})
        out.predicted[ticket.job.name] = promise.predicted.carbon_g
        settled = settle_placement(promise, {zone: actual}, ran=[Stretch(a, b) for a, b in ran])
        out.promised += settled.promised_g
        out.saved += settled.saved_g


def grams(actual: Signal, power_w: float, start: datetime, end: datetime) -> float:
    """Return the grams of drawing `power_w` between two times."""
    prices = Prices(window(actual, start, end).slots, Weights())
    return prices.between(0.0, prices.end_s) * power_w


def promised(served: Outcome, out: Outcome, came: Sequence[Came], zone: str) -> float:
    """Return the grams that the plans promised against first come, first served, by the forecasts that they were made with."""
    total = 0.0
    for one in came:
        job = one.ticket.job
        hour = max(h for h in out.forecasts if h <= one.at + timedelta(seconds=STEP_S))
        forecast = out.forecasts[hour].carbon[zone]
        length = job.duration.expected_s or 0.0
        start = served.ran[job.name][0][0]
        total += (
            grams(forecast, job.power_w, start, start + timedelta(seconds=length)) - out.predicted[job.name]
        )
    return total


def main() -> int:
    folder = Path(sys.argv[1]) / "hourly"
    zones = sys.argv[2].split(",") if len(sys.argv) > 2 else ZONES
    wrong, sums = 0, [0.0, 0.0, 0.0]
    print(
        "zone          jobs  fcfs kg  queue kg  saved kg   less  promised kg  realised  pauses  missed (fcfs)  cpu s"
    )
    for zone in zones:
        actual = read_file(next(folder.glob(f"{zone}_*.csv")), zone)
        came = week(zone, 1)
        begun = process_time()
        served = simulate(zone, actual, came, planned=False)
        out = simulate(zone, actual, came, planned=True)
        told, saved = promised(served, out, came, zone), served.grams - out.grams
        sums = [a + b for a, b in zip(sums, (told, saved, served.grams), strict=True)]
        print(
            f"{zone:<12}  {out.done:4d}  {served.grams / 1e3:7.2f}  {out.grams / 1e3:8.2f}  {saved / 1e3:8.2f}  {saved / served.grams:5.1%}  "
            f"{told / 1e3:11.2f}  {saved / told:8.1%}  {out.pauses:6d}  {out.missed:2d} ({served.missed})  {process_time() - begun:12.0f}",
            flush=True,
        )
        wrong += out.missed + out.refused + (out.done != len(came))
    print(
        f"all: {sums[1] / sums[2]:.1%} less than first come, first served; {sums[1] / sums[0]:.1%} of the promise realised (goal 90 %)"
    )
    zone = zones[0]
    actual, came = read_file(next(folder.glob(f"{zone}_*.csv")), zone), week(zone, 1)
    outage = (WEEK + timedelta(days=2, hours=10), WEEK + timedelta(days=3, hours=10))
    down = simulate(zone, actual, came, planned=True, down=outage)
    print(
        f"{zone}, the grid's service down for a day: {down.done} of {len(came)} done, {down.missed} deadlines missed, {down.grams / 1e3:.2f} kg"
    )
    print(f"  said: {'; '.join(sorted(down.said))}")
    return int(bool(wrong or down.missed or sums[1] < 0.9 * sums[0]))


if __name__ == "__main__":
    sys.exit(main())
