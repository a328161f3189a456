"""Days of the queue on a real Slurm, an hour scaled to 20 s: `python bench/queue_slurm.py DIR [ROUND]`, DIR laid out as the carbon data.

Which days was settled before any of them was run: the 10th of February, May, August and November 2023 in four zones, so that
each of four rounds (0 to 3) has every zone and every date once. A round runs four days side by side, each on a private Slurm
of two nodes (root, Debian's packages). Some 40 mixed short jobs come over a day (half an hour to 5 hours, 1 to 4 of 12
processors, half of them interruptible, 4 to 20 hours of slack). They are real programs that count their own working time. The
real worker, planner, ledger and engine run them: the worker's clock runs 180 times as fast as the machine's. It submits each
job in its hour, and Slurm suspends it through dirty hours and resumes it. When it ran is what the programs themselves wrote
down. Nobody tells the planner what Slurm takes to start a job: it learns that from the jobs that have ended. Forecasts are from
history alone; everything is settled with the actual hours.

Beside it first come, first served under the same capacity, computed. The promise is what the plans say on their forecasts
against that, times the share that such forecasts kept in the month before (`trust`). Prints grams, the share of the promise
that was realised, what the plans' own hours are worth in the actual grid ("by plan"), what starting took, pauses and missed
deadlines; exit code 1 where a goal is missed. Takes a quarter of an hour, mostly of waiting.

Of a day on which a job was late all that the worker said and Slurm was asked for goes to standard error; with `--log` of every
day, and at every look what Slurm has. One zone and one date (`DIR ZONE 2023-05-10`) run that day alone and print it as a line of JSON; `--told FILE` prints the table
of such lines. `--simulated SEED` runs all sixteen days in simulated time on two such nodes (minutes): the same without Slurm, where a start
takes 15 s to 5 minutes and the worker looks every 72 s to 6 minutes, as drawn.
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
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from math import exp
from pathlib import Path
from typing import Any

from joulewise.grid.at_hand import outlook
from joulewise.grid.history import read_file
from joulewise.launching.slurm import Slurm
from joulewise.ledger import jobs as queue
from joulewise.ledger.leases import Leases, lease_clock
from joulewise.ledger.memory import open_memory
from joulewise.ledger.store import Store
from joulewise.scheduling.plan import Grid
from joulewise.scheduling.queue_plan import planned_alone, renew
from joulewise.scheduling.saved import placement_from_json
from joulewise.scheduling.slots import Prices, Weights, window
from joulewise.scheduling.worker import Post, Worker
from joulewise.testing.clock import FakeClock
from joulewise.testing.simulated import SimulatedEngine
from joulewise.testing.slurm import private_slurm
from joulewise.vocabulary.errors import EngineError
from joulewise.vocabulary.job import Checkpoint, Duration, Job, Pace, after
from joulewise.vocabulary.signal import Signal
from joulewise.vocabulary.ticket import OPEN, Needs, Stage, Ticket

SCALE = 180.0  # 3600 s in 20 s
ROOM, JOBS = Needs(12), 40
ZONES = ("DE", "GB", "US-CAL-CISO", "AU-NSW")
DATES = tuple(datetime(2023, month, 10, tzinfo=UTC) for month in (2, 5, 8, 11))
ASKED = ("start", "suspend", "resume", "requeue", "hold", "release", "begin", "cancel")
PAUSE = Checkpoint(SCALE)  # a second to stop and to go on
LOOKS_S = (72.0, 80.0, 90.0, 100.0, 120.0, 180.0, 360.0)  # between two looks of the worker in simulated time
STARTS_S = (15.0, 30.0, 60.0, 120.0, 300.0)  # what a start takes there
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
    """An engine, how often it was asked for what, and how often it refused; `log` hears of each."""

    def __init__(self, engine: Slurm | SimulatedEngine, log: Callable[[str], None]) -> None:
        self._engine, self._log = engine, log
        self.asked: Counter[str] = Counter()
        self.refused = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._engine, name)
        return partial(self._ask, name, found) if name in ASKED else found

    def _ask(self, name: str, act: Callable[..., Any], *words: Any) -> Any:
        self.asked[name] += 1
        about = f"{name} {words[0].key if name == 'start' else words[0]}"
        began_s = time.monotonic()
        try:
            told = act(*words)
        except EngineError as error:
            self.refused += 1
            self._log(f"{about}: refused: {error}")
            raise
        self._log(f"{about}: {told or 'done'} in {time.monotonic() - began_s:.2f} s")
        return told


def day(zone: str, date: datetime, folder: Path, *, simulated: bool) -> list[Ticket]:
    """Return the jobs of a day in the order in which they come."""
    chance = random.Random(f"{zone} {date:%m}")
    came = []
    for number in range(JOBS):
        at = date + timedelta(hours=min(23.5, max(0.0, chance.gauss(11.0, 5.0))))
        hours = min(5.0, max(0.5, exp(chance.gauss(0.3, 0.7))))
        cpus = chance.choice([1, 1, 2, 2, 4])
        duration = Duration.of(hours * 3600, 0.1)
        deadline = at + timedelta(seconds=duration.reserve_s or 0.0, hours=chance.uniform(4, 20))
        job = Job(
            f"job-{number}", duration, at, deadline, (Pace("1 worker", 1.0, 60.0 * cpus),),
            PAUSE if chance.random() < 0.5 else None, (zone,),
        )  # fmt: skip
        works = (
            sys.executable,
            "-I",
            "-S",
            "-c",
            WORKS,
            f"{hours * 3600 / SCALE:.2f}",
            str(folder / job.name),
        )
        argv = ("sleep", f"{hours * 3600:.0f}") if simulated else works
        came.append(Ticket(job, argv, str(folder), "ada", engine="slurm", needs=Needs(cpus)))
    return sorted(came, key=lambda ticket: ticket.job.release_utc)


def first_come(came: Sequence[Ticket]) -> dict[str, datetime]:
    """Return when each job would start if it were served as it came, under the same capacity."""
    ends: list[tuple[datetime, int]] = []
    starts: dict[str, datetime] = {}
    start = came[0].job.release_utc
    for ticket in came:
        start = max(start, ticket.job.release_utc)
        while sum(cpus for end, cpus in ends if end > start) + ticket.needs.cpus > ROOM.cpus:
            start = min(end for end, _ in ends if end > start)
        end = start + timedelta(seconds=ticket.job.duration.expected_s or 0.0)
        ends.append((end, ticket.needs.cpus))
        starts[ticket.job.name] = start
    return starts


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


class Forecasts:
    """What could be known of a zone at each hour, from the 28 days before it."""

    def __init__(self, zone: str, actual: Signal) -> None:
        self._zone, self._actual = zone, actual
        self.made: dict[datetime, Grid] = {}

    def __call__(self, _zones: Sequence[str], start: datetime, _end: datetime) -> Grid:
        """Return the grid as it was foreseen in the hour of `start`."""
        hour = start.replace(minute=0, second=0, microsecond=0)
        if hour not in self.made:
            told = outlook(self._zone, hour, 48, past=self._actual.between(hour - timedelta(days=28), hour))
            self.made[hour] = Grid(
                {self._zone: replace(told.signal, source=told.method)}, trust={self._zone: told.kept}
            )
        return self.made[hour]

    def at(self, when: datetime) -> Grid:
        """Return the one that was made last by then."""
        return self.made[max(hour for hour in self.made if hour <= when)]


def one_day(zone: str, date: datetime, *, simulated: bool, seed: str = "0") -> dict[str, Any]:
    """Let a day of a zone pass, on a Slurm of its own or simulated, and return what came of it."""
    actual = read_file(next((Path(sys.argv[1]) / "hourly").glob(f"{zone}_*.csv")), zone)
    grid_of = Forecasts(zone, actual)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        came = day(zone, date, folder, simulated=simulated)
        grid_of((), date, date)  # everything is loaded before the clock starts
        store = open_memory()
        clock: FakeClock | ScaledClock = FakeClock(date)
        said: list[str] = []

        def log(text: str) -> None:
            said.append(f"{clock.now_utc():%d %H:%M} {text}")

        cluster = None
        if isinstance(clock, FakeClock) and simulated:
            alike = SimulatedEngine(clock, name="slurm", nodes=("n1", "n2"))
            engine: Any = Counted(alike, log)
        else:
            cluster = stack.enter_context(private_slurm(2, cpus=ROOM.cpus // 2))
            engine = Counted(Slurm(folder / "jobs", environment=cluster.environment), log)
            clock = ScaledClock(date)
        nodes = {name: Needs(ROOM.cpus // 2) for name in (("n1", "n2") if simulated else engine.nodes())}
        chance = random.Random(f"{zone} {date:%m} {seed}")
        worker = Worker(
            store, engine, Post("w", "here/1", ROOM, lease_s=36000.0, nodes=nodes), clock,
            plan=lambda: renew(store, grid_of, clock.now_utc(), nodes_of=lambda _engine: tuple(nodes.values())),
            leases=Leases(store, "w", "here/1", clock=lease_clock), say=log,
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
            if cluster and "--log" in sys.argv:
                log(cluster.command("squeue", "-h", "-o", "%i %T %r %C %N").replace("\n", "; "))
            if simulated:
                alike.start_s = chance.choice(STARTS_S)
            clock.sleep(chance.choice(LOOKS_S) if simulated else 0.4 * SCALE)
        ran = {
            t.job.name: engine.ran(i) if simulated else stretches(folder / t.job.name, clock)
            for i, t in ids.items()
        }
        told = _tell(zone, date, actual, grid_of, came, ids, store, ran)
        if told["missed"] or "--log" in sys.argv:
            print(*(f"{zone} {line}" for line in said), sep="\n", file=sys.stderr)
        return told | {
            "asked": dict(engine.asked),
            "refused": engine.refused,
            "real_s": time.monotonic() - began_s,
        }


def _tell(
    zone: str,
    date: datetime,
    actual: Signal,
    grid_of: Forecasts,
    came: Sequence[Ticket],
    ids: dict[str, Ticket],
    store: Store,
    rans: dict[str, list[tuple[datetime, datetime]]],
) -> dict[str, Any]:
    """Settle a day with the actual hours."""
    served = first_come(came)
    sums = dict.fromkeys(("fcfs_kg", "queue_kg", "foretold_kg", "promised_kg", "planned_kg"), 0.0)
    missed: list[float] = []
    done = pauses = 0
    for job_id, ticket in ids.items():
        job, line = ticket.job, queue.find(store, job_id)
        ran, length_s, start = rans[job.name], job.duration.expected_s or 0.0, served[job.name]
        done += line.stage is Stage.DONE
        pauses += max(0, len(ran) - 1)
        if not ran or ran[-1][1] > job.deadline_utc:
            missed.append((ran[-1][1] - job.deadline_utc).total_seconds() if ran else float("inf"))
            told_of = [f"{d.at_utc:%d %H:%M} {d.what}: {d.reason[:70]}" for d in queue.story(store, job_id)]
            when = [f"{a:%d %H:%M}-{b:%H:%M}" for a, b in ran]
            print(
                zone,
                job.name,
                ticket.needs,
                line.deadline_utc,
                line.latest_utc,
                when,
                *told_of,
                sep="\n  ",
                file=sys.stderr,
            )
        sums["fcfs_kg"] += grams(actual, job.power_w, start, after(start, length_s)) / 1e3
        sums["queue_kg"] += sum(grams(actual, job.power_w, a, b) for a, b in ran) / 1e3
        told = placement_from_json(queue.promise(store, job_id) or {})
        forecast = grid_of.at(job.release_utc).carbon[zone]
        foretold_g = grams(forecast, job.power_w, start, after(start, length_s)) - told.predicted.carbon_g
        sums["foretold_kg"] += foretold_g / 1e3
        sums["promised_kg"] += foretold_g * told.trust / 1e3
        hours_g = sum(grams(actual, job.power_w, s.start_utc, s.end_utc) for s in told.stretches)
        sums["planned_kg"] += hours_g * length_s / sum(s.duration_s for s in told.stretches) / 1e3
    used = sum(
        u.ru_utime + u.ru_stime
        for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
    starts = queue.start_delays(store, "slurm", len(came))
    return sums | {
        "zone": zone, "date": f"{date:%Y-%m-%d}", "jobs": len(came), "done": done, "missed": len(missed),
        "late_s": max(missed, default=0.0), "pauses": pauses, "start_s": starts[len(starts) // 2] / SCALE,
        "longest_start_s": starts[-1] / SCALE, "cpu_s": used,
    }  # fmt: skip


def main() -> int:
    words = [a for a in sys.argv[2:] if not a.startswith("-")]
    if "--told" in sys.argv:
        return show([json.loads(line) for line in Path(words[0]).read_text().splitlines()])
    simulated = "--simulated" in sys.argv
    seed = (sys.argv[sys.argv.index("--simulated") + 1 :] or ["0"])[0] if simulated else ""
    words = [w for w in words if w != seed]
    if len(words) == 2:
        print(
            json.dumps(
                one_day(
                    words[0],
                    datetime.fromisoformat(words[1]).replace(tzinfo=UTC),
                    simulated=simulated,
                    seed=seed,
                )
            )
        )
        return 0
    rounds = range(len(DATES)) if simulated else [int(words[0]) if words else 0]
    told: list[dict[str, Any]] = []
    for number in rounds:
        days = [
            [sys.executable, __file__, sys.argv[1], zone, DATES[(n + number) % len(DATES)].isoformat()]
            for n, zone in enumerate(ZONES)
        ]
        if simulated:
            told += [json.loads(subprocess.check_output([*day, "--simulated", seed])) for day in days]
        else:
            running = [subprocess.Popen(day, stdout=subprocess.PIPE) for day in days]
            told += [json.loads(day.communicate()[0]) for day in running]
    return show(told)


def show(told: Sequence[dict[str, Any]]) -> int:
    """Print days and their sum; return 1 where a goal is missed."""
    print(
        "zone         date        done  missed  pauses  asked of Slurm                        start s (most)  fcfs kg  queue kg    less  "
        "promised kg (on the forecast)  by plan kg  CPU s"
    )
    for t in told:
        asked = ", ".join(f"{what} {count}" for what, count in t["asked"].items())
        asked += f", refused {t['refused']}" if t["refused"] else ""
        print(
            f"{t['zone']:<12} {t['date']}  {t['done']:4d}  {t['missed']:6d}  {t['pauses']:6d}  {asked:<36}  "
            f"{t['start_s']:7.1f} ({t['longest_start_s']:4.1f})  {t['fcfs_kg']:7.2f}  {t['queue_kg']:8.2f}  "
            f"{1 - t['queue_kg'] / t['fcfs_kg']:6.1%}  {t['promised_kg']:11.2f} ({t['foretold_kg']:15.2f})  "
            f"{t['fcfs_kg'] - t['planned_kg']:10.2f}  {t['cpu_s']:5.0f}"
        )
    total = {
        name: sum(t[name] for t in told)
        for name in (
            "fcfs_kg",
            "queue_kg",
            "promised_kg",
            "foretold_kg",
            "planned_kg",
            "jobs",
            "done",
            "missed",
        )
    }
    saved_kg, plan_kg = total["fcfs_kg"] - total["queue_kg"], total["fcfs_kg"] - total["planned_kg"]
    print(
        f"all: {saved_kg / total['fcfs_kg']:.1%} less than first come, first served; {saved_kg / total['promised_kg']:.1%} of the promise "
        f"(goal 90 %), {saved_kg / total['foretold_kg']:.1%} of what the forecasts said, {saved_kg / plan_kg:.1%} of what the first plans "
        f"are worth in the actual hours; {total['missed']} of {total['jobs']} deadlines missed (goal 0)"
    )
    return int(
        bool(total["missed"] or total["done"] != total["jobs"] or saved_kg < 0.9 * total["promised_kg"])
    )


if __name__ == "__main__":
    sys.exit(main())
