"""Ten thousand jobs in the queue: `python bench/queue_scale.py [JOBS]`: what submitting, listing and planning anew take.

Mixed jobs of 15 minutes to 8 hours, half of them interruptible, on one SQLite file, room for 3,000 processors, and a month of
hourly history to forecast from. Processor seconds. Goals: 20 ms a submission, 0.3 s a list (the whole verb, with its start),
30 s a planning. Exit code 1 where one is missed.
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import process_time

from joulewise import wiring
from joulewise.grid.history import History
from joulewise.ledger.leases import Leases
from joulewise.scheduling.submitting import submit
from joulewise.vocabulary.job import Checkpoint, Duration, Job, Pace
from joulewise.vocabulary.signal import Signal
from joulewise.vocabulary.ticket import Needs, Ticket


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory(prefix="joulewise-scale-") as folder:
        for name in [n for n in os.environ if n.startswith("JOULEWISE_")]:
            del os.environ[name]
        os.environ["JOULEWISE_HOME"] = folder
        return measure(Path(folder), count)


def measure(folder: Path, count: int) -> int:
    """Fill a queue, measure, print; return the exit code."""
    chance, now = random.Random(1), datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    values = [300 + 100 * chance.random() + 80 * ((n % 24) in range(10, 16)) for n in range(28 * 24)]
    History(folder / "grid").add(Signal.of("DE", values, hour - timedelta(days=28), source="made up"))
    store = wiring.queue_store()
    grid = wiring.planning_grid(("DE",), now, now + timedelta(hours=60), {})
    for _ in range(count - 100):
        submit(store, _ticket(chance, now), grid, now)
    Leases(store, "w", "here/1").enrol(
        "DE", "local", "", Needs(3000), now
    )  # from here on all others are looked at, too
    begun = process_time()
    for _ in range(100):
        submit(store, _ticket(chance, now), grid, now)
    submit_ms = (process_time() - begun) * 10
    lists = [_list_s() for _ in range(3)]
    begun = process_time()
    planned = wiring.renew_queue(store).planned
    renew_s = process_time() - begun
    store.close()
    print(
        f"{count} jobs: {submit_ms:.1f} ms a submission (goal 20), {min(lists):.2f} s a list (goal 0.3), {renew_s:.1f} s to plan {planned} anew (goal 30)"
    )
    return int(submit_ms > 20 or min(lists) > 0.3 or renew_s > 30)


def _list_s() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "joulewise", "queue"], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _ticket(chance: random.Random, now: datetime) -> Ticket:
    hours = chance.choice([0.25, 0.5, 1, 2, 4, 8])
    due = now + timedelta(hours=hours * 1.5 + chance.uniform(2, 36))
    pause = Checkpoint(1.0) if chance.random() < 0.5 else None
    job = Job("job", Duration.of(hours * 3600), now, due, (Pace("1 worker", 1.0, 200.0),), pause, ("DE",))
    env = {"PATH": os.environ.get("PATH", "")}
    return Ticket(
        job,
        (sys.executable, "train.py"),
        "/",
        chance.choice(["ada", "bob"]),
        env,
        needs=Needs(chance.choice([1, 2, 4])),
    )


if __name__ == "__main__":
    sys.exit(main())
