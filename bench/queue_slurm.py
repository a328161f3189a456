"""A day of the queue on a real Slurm, an hour scaled to 20 s: `python bench/queue_slurm.py DIR`, DIR laid out as the carbon data.

For each of four zones, side by side, a private Slurm of two nodes (root, Debian's packages). Some 40 mixed short jobs come over a day (half an hour to 5 hours, 1 to 4 of 12
processors, half of them interruptible, 4 to 20 hours of slack). They are real programs that count their own working time. The
real worker, planner, ledger and engine run them: the worker's clock runs 180 times as fast as the machine's. It submits each
job in its hour, and Slurm suspends it through dirty hours and resumes it. When it ran is what the programs themselves wrote
down. Forecasts are from history alone; everything is settled with the actual hours.

Beside it first come, first served under the same capacity, computed. Prints grams, the share of the promised saving that
was realised, what the plans' own hours are worth in the actual grid ("by plan": what the forecast cost, apart from what running
cost), pauses and missed deadlines; exit code 1 where a goal is missed. Takes a quarter of an hour, mostly of waiting.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import exp
from pathlib import Path
from typing import Any

from joulewise.grid.at_hand import outlook
from joulewise.grid.history import read_file
from joulewise.launching.slurm import Slurm
from joulewise.ledger import jobs as queue
from joulewise.ledger.leases import Leases, lease_clock
from joulewise.ledger.memory import open_memory
from joulewise.scheduling.plan import Grid
from joulewise.scheduling.queue_plan import planned_alone, renew
from joulewise.scheduling.saved import placement_from_json
from joulewise.scheduling.slots import Prices, Weights, window
from joulewise.scheduling.worker import Post, Worker
from joulewise.testing.slurm import private_slurm
from joulewise.vocabulary.job import Checkpoint, Duration, Job, Pace
from joulewise.vocabulary.signal import Signal
from joulewise.vocabulary.ticket import OPEN, Needs, Stage, Ticket

SCALE = 180.0  # 3600 s in 20 s
ROOM, JOBS = Needs(12), 40
ZONES = ("DE", "GB", "US-CAL-CISO", "AU-NSW")
DAY = datetime(2023, 5, 10, tzinfo=UTC)
OVERHEAD_S = (
    2.0 * SCALE
)  # what Slurm and a loaded machine take for a start: told to the planner as a part of each length
WORKS = """
import sys, time
left, last, log = float(sys.argv[1]), None, open(sys.argv[2], "a", buffering=1)
while left > 0:
    now = time.monotonic()
    if last is None or now - last > 1.5:  # it was started, or stood still
        if last is not None:
            print(stamp, file=log)
        print(time.time(), end=" ", file=log)
    else:
        left -= now - last
    last, stamp = now, time.time()
    time.sleep(0.2)
print(stamp, file=log)
"""


class ScaledClock:
    """A clock that began at `start` and runs SCALE times as fast as the machine's."""

    def __init__(self, start: datetime) -> None:
        self._start, self._began_s, self._began = start, time.monotonic(), time.time()

    def now_utc(self) -> datetime:
        """Return the scaled time."""
        return self._start + timedelta(seconds=(time.monotonic() - self._began_s) * SCALE)

    def monotonic_s(self) -> float:
        """Return scaled seconds."""
        return (time.monotonic() - self._began_s) * SCALE

    def sleep(self, seconds: float) -> None:
        """Wait for scaled seconds."""
        time.sleep(seconds / SCALE)

    def scaled(self, wall_s: float) -> datetime:
        """Return the scaled time of a time of the machine's."""
        return self._start + timedelta(seconds=(wall_s - self._began) * SCALE)


class Counted:
    """An engine, and how often it was asked for what."""

    def __init__(self, engine: Slurm) -> None:
        self._engine = engine
        self.asked: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        if name in ("start", "suspend", "resume", "requeue", "cancel"):
            self.asked[name] += 1
        return getattr(self._engine, name)


def day(zone: str, folder: Path, seed: int) -> list[Ticket]:
    """Return the jobs of a day in the order in which they come."""
    chance = random.Random(f"{zone} {seed}")
    came = []
    for number in range(JOBS):
        at = DAY + timedelta(hours=min(23.5, max(0.0, chance.gauss(11.0, 5.0))))
        hours = min(5.0, max(0.5, exp(chance.gauss(0.3, 0.7))))
        cpus = chance.choice([1, 1, 2, 2, 4])
        duration = Duration.of(hours * 3600 + OVERHEAD_S, 0.1)
        deadline = at + timedelta(seconds=duration.reserve_s or 0.0, hours=chance.uniform(4, 20))
        job = Job(
            f"job-{number}", duration, at, deadline, (Pace("1 worker", 1.0, 60.0 * cpus),),
            Checkpoint(OVERHEAD_S) if chance.random() < 0.5 else None, (zone,),
        )  # fmt: skip
        argv = (
            sys.executable,
            "-I",
            "-S",
            "-c",
            WORKS,
            f"{hours * 3600 / SCALE:.2f}",
            str(folder / job.name),
        )
        came.append(Ticket(job, argv, str(folder), "ada", engine="slurm", needs=Needs(cpus)))
    return sorted(came, key=lambda ticket: ticket.job.release_utc)


def first_come(came: Sequence[Ticket]) -> dict[str, tuple[datetime, datetime]]:
    """Return when each job would run if it were served as it came, under the same capacity."""
    ends: list[tuple[datetime, int]] = []
    ran: dict[str, tuple[datetime, datetime]] = {}
    start = DAY
    for ticket in came:
        start = max(start, ticket.job.release_utc)
        while sum(cpus for end, cpus in ends if end > start) + ticket.needs.cpus > ROOM.cpus:
            start = min(end for end, _ in ends if end > start)
        end = start + timedelta(seconds=ticket.job.duration.expected_s or 0.0)
        ends.append((end, ticket.needs.cpus))
        ran[ticket.job.name] = (start, end)
    return ran


def grams(signal: Signal, power_w: float, start: datetime, end: datetime) -> float:
    """Return the grams of drawing `power_w` between two times."""
    prices = Prices(window(signal, start, end).slots, Weights())
    return prices.between(0.0, prices.end_s) * power_w


def stretches(file: Path, clock: ScaledClock) -> list[tuple[datetime, datetime]]:
    """Return when a program says that it ran, in scaled time."""
    lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    return [
        (clock.scaled(float(a)), clock.scaled(float(b)))
        for a, b in (line for line in lines if len(line) == 2)
    ]


def one_day(zone: str) -> dict[str, Any]:
    """Let a day of a zone pass on a Slurm of its own and return what came of it."""
    actual = read_file(next((Path(sys.argv[1]) / "hourly").glob(f"{zone}_*.csv")), zone)
    forecasts: dict[datetime, Grid] = {}

    def grid_of(_zones: Sequence[str], start: datetime, _end: datetime) -> Grid:
        hour = start.replace(minute=0, second=0, microsecond=0)
        if hour not in forecasts:
            told = outlook(zone, hour, 48, past=actual.between(hour - timedelta(days=28), hour))
            forecasts[hour] = Grid({zone: replace(told.signal, source=told.method)})
        return forecasts[hour]

    with private_slurm(2, cpus=ROOM.cpus // 2) as cluster, tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        came = day(zone, folder, 1)
        grid_of((), DAY, DAY)  # everything is loaded before the clock starts
        clock, store = ScaledClock(DAY), open_memory()
        engine = Counted(Slurm(folder / "jobs", environment=cluster.environment))
        worker = Worker(
            store, engine, Post("w", "here/1", ROOM, lease_s=36000.0), clock,  # type: ignore[arg-type]
            plan=lambda: renew(store, grid_of, clock.now_utc()), leases=Leases(store, "w", "here/1", clock=lease_clock),
        )  # fmt: skip
        waiting, ids = list(came), {}
        began_s = time.monotonic()
        while waiting or queue.lines(store, OPEN, limit=1):
            now = clock.now_utc()
            while waiting and waiting[0].job.release_utc <= now:
                ticket = waiting.pop(0)
                first = planned_alone(ticket, grid_of((), now, now), now)
                ids[queue.add(store, ticket, first, now)] = ticket
            worker.round()
            time.sleep(0.2)
        real_s = time.monotonic() - began_s
        return _tell(zone, actual, forecasts, came, ids, store, engine, clock, folder, real_s)


def _tell(
    zone: str,
    actual: Signal,
    forecasts: dict[datetime, Grid],
    came: Sequence[Ticket],
    ids: dict[str, Ticket],
    store: Any,
    engine: Counted,
    clock: ScaledClock,
    folder: Path,
    real_s: float,
) -> dict[str, Any]:
    """Settle a day with the actual hours."""
    served = first_come(came)
    fcfs_g = queue_g = promised_g = planned_g = 0.0
    missed = done = pauses = 0
    for job_id, ticket in ids.items():
        job, line = ticket.job, queue.find(store, job_id)
        ran = stretches(folder / job.name, clock)
        done += line.stage is Stage.DONE
        pauses += max(0, len(ran) - 1)
        missed += not ran or ran[-1][1] > job.deadline_utc
        length_s = (job.duration.expected_s or 0.0) - OVERHEAD_S
        start = served[job.name][0]
        fcfs_g += grams(actual, job.power_w, start, start + timedelta(seconds=length_s))
        queue_g += sum(grams(actual, job.power_w, a, b) for a, b in ran)
        told = placement_from_json(queue.promise(store, job_id) or {})
        forecast = forecasts[max(h for h in forecasts if h <= max(job.release_utc, DAY))].carbon[zone]
        at_once_g = grams(
            forecast, job.power_w, start, start + timedelta(seconds=job.duration.expected_s or 0.0)
        )
        promised_g += at_once_g - told.predicted.carbon_g
        planned_g += sum(grams(actual, job.power_w, s.start_utc, s.end_utc) for s in told.stretches)
        planned_g -= grams(
            actual, job.power_w, told.start_utc, told.start_utc + timedelta(seconds=OVERHEAD_S)
        )
    used = sum(
        u.ru_utime + u.ru_stime
        for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
    return {
        "zone": zone, "jobs": len(came), "done": done, "missed": missed, "pauses": pauses, "asked": dict(engine.asked),
        "fcfs_kg": fcfs_g / 1e3, "queue_kg": queue_g / 1e3, "promised_kg": promised_g / 1e3, "planned_kg": planned_g / 1e3,
        "real_s": real_s, "cpu_s": used,
    }  # fmt: skip


def main() -> int:
    if len(sys.argv) > 2:
        print(json.dumps(one_day(sys.argv[2])))
        return 0
    days = [
        subprocess.Popen([sys.executable, __file__, sys.argv[1], zone], stdout=subprocess.PIPE)
        for zone in ZONES
    ]
    told = [json.loads(day.communicate()[0]) for day in days]
    print(
        "zone         done  missed  pauses  asked of Slurm                        fcfs kg  queue kg    less  promised kg  by plan kg  CPU s"
    )
    for t in told:
        asked = ", ".join(f"{what} {count}" for what, count in t["asked"].items())
        print(
            f"{t['zone']:<12} {t['done']:3d}  {t['missed']:6d}  {t['pauses']:6d}  {asked:<36}  {t['fcfs_kg']:7.2f}  {t['queue_kg']:8.2f}  "
            f"{1 - t['queue_kg'] / t['fcfs_kg']:6.1%}  {t['promised_kg']:11.2f}  {t['fcfs_kg'] - t['planned_kg']:10.2f}  {t['cpu_s']:5.0f}"
        )
    total = {
        name: sum(t[name] for t in told)
        for name in ("fcfs_kg", "queue_kg", "promised_kg", "planned_kg", "jobs", "done", "missed")
    }
    saved_kg, plan_kg = total["fcfs_kg"] - total["queue_kg"], total["fcfs_kg"] - total["planned_kg"]
    print(
        f"all: {saved_kg / total['fcfs_kg']:.1%} less than first come, first served; {saved_kg / total['promised_kg']:.1%} of what the plans promised "
        f"on the forecasts (goal 90 %); {saved_kg / plan_kg:.1%} of what they are worth in the actual hours; {total['missed']} deadlines missed (goal 0)"
    )
    return int(
        bool(total["missed"] or total["done"] != total["jobs"] or saved_kg < 0.9 * total["promised_kg"])
    )


if __name__ == "__main__":
    sys.exit(main())
