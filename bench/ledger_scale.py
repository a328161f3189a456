"""How fast a large ledger answers: `joulewise runs` in a fresh process on 100,000 recordings (goal: under 0.3 s).

    python bench/ledger_scale.py            # rows of the index and one folder a day: seconds to make
    python bench/ledger_scale.py --full     # every recording really on the disk, indexed by the first refresh

Recordings are spread over two years, a tenth of them over five busy days, fifty of today, two still running. Each
figure is the median of five fresh processes: wall time and CPU time (user and system).
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

from joulewise.ledger import refreshing
from joulewise.ledger.files import FORMAT, boot_id, encode, process_start
from joulewise.ledger.minutes import Minute, write_minutes
from joulewise.ledger.months import rows_of, write_months
from joulewise.ledger.store import open_store, upsert
from joulewise.ledger.summary import Summary, row_of
from joulewise.ledger.wastes import write as write_wastes
from joulewise.vocabulary.figures import Basis, Figure
from joulewise.vocabulary.recording import Component, EndState
from joulewise.vocabulary.waste import Part, Waste

GOAL_S = 0.3
NAMES = [
    f"{model}-{task}"
    for model in ("digits", "resnet50", "bert", "gpt-small", "tabular", "unet")
    for task in ("base", "sweep", "eval", "ablation")
]
SNIPPET = """
import sys
from pathlib import Path
from joulewise.ledger.index import list_runs
from joulewise.ledger.refreshing import refresh
from joulewise.ledger.summary import Summary
from joulewise.ledger.store import open_store
def summarise(r):
    return Summary(r.run_id, r.name, r.machine.host, r.role, r.started_utc, r.duration_s, r.end.state, r.end.exit_code)
store = open_store(sys.argv[1])
refresh(store, Path(sys.argv[2]), summarise)
for s in list_runs(store):
    print(s.run_id, s.name, s.state, s.energy_j)
"""


def plan(count: int) -> list[tuple[str, str, datetime, float]]:
    """Return id, name, start and duration of each recording, oldest first."""
    chance = random.Random(7)
    now = datetime.now(UTC).replace(microsecond=0)
    busy = [chance.randrange(2, 730) for _ in range(5)]
    runs = []
    for number in range(count):
        if number < 50:
            start = now - timedelta(seconds=chance.randrange(60, 3600))
        else:
            day = chance.choice(busy) if chance.random() < 0.1 else chance.randrange(1, 730)
            start = now - timedelta(days=day, seconds=chance.randrange(86_400))
        name = chance.choice(NAMES)
        runs.append(
            (f"{start:%Y%m%dT%H%M%S}-{name}-{number:06x}", name, start, chance.lognormvariate(6, 1.5))
        )
    return sorted(runs)


def lines(run_id: str, name: str, start: datetime, duration_s: float, *, running: bool) -> bytes:
    """Return the file of a short but complete recording."""
    device = {"id": "rapl:package-0", "component": "cpu", "meter": "powercap", "basis": 0, "boundary": "device",
              "error_low": 0.05, "error_high": 0.05, "source": "powercap"}  # fmt: skip
    pid = os.getpid() if running else 4711
    entries = [
        {"k": "head", "format": FORMAT, "run": run_id, "name": name, "role": "run", "host": os.uname().nodename,
         "boot": boot_id(), "pid": pid, "pid_start": process_start(pid), "utc": start.isoformat(), "mono": 5.0,
         "interval_s": 1.0, "command": ["python", "train.py", f"--name={name}"]},
        {"k": "devices", "devices": [device]},
        {"k": "columns", "devices": [device["id"]], "counters": ["work_cpu_s"], "gauges": []},
        *({"k": "tick", "t": duration_s * part / 4, "j": [duration_s * part * 12.5], "c": [duration_s * part / 4], "g": []} for part in range(5)),
        {"k": "point", "t": duration_s, "values": {"epoch": 3, "loss": 0.25}},
    ]  # fmt: skip
    if not running:
        entries.append(
            {"k": "end", "state": "finished", "t": duration_s, "exit_code": 0, "signal": None, "reason": ""}
        )
    return b"".join(map(encode, entries))


def make_folders(runs: Path, recordings: list, *, full: bool) -> None:
    days = {run_id[:8] for run_id, *_ in recordings}
    for day in days:
        os.makedirs(runs / f"{day[:4]}-{day[4:6]}-{day[6:]}")
    host = os.uname().nodename
    for number, (run_id, name, start, duration_s) in enumerate(recordings):
        running = number >= len(recordings) - 2
        if not full and not running:
            continue
        folder = f"{runs}/{run_id[:4]}-{run_id[4:6]}-{run_id[6:8]}/{run_id}"
        os.mkdir(folder)
        with open(f"{folder}/run-{host}-4711.jsonl", "wb", buffering=0) as file:
            file.write(lines(run_id, name, start, duration_s, running=running))


def make_rows(ledger: Path, runs: Path, recordings: list) -> None:
    store = open_store(ledger)
    root = os.path.realpath(runs)
    with store.transaction():
        for run_id, name, start, duration_s in recordings[:-2]:
            joules = duration_s * 50
            figure = Figure(joules, joules * 0.9, joules * 1.2, Basis.MODELLED)
            summary = Summary(run_id, name, "bench", "run", start, duration_s, EndState.FINISHED, 0, figure, figure, figure,
                              {"cpu": joules, "memory": joules / 9}, f"python train.py --name={name}", {"git": "0f14ff7"},
                              {"lr": 0.1}, 3, {"epoch": 3, "loss": 0.25})  # fmt: skip
            row = row_of(summary)
            row |= {
                "run_id": run_id,
                "root": root,
                "day": f"{run_id[:4]}-{run_id[4:6]}-{run_id[6:8]}",
                "host": "bench",
                "growing": 0,
            }
            row |= {"size_bytes": 1200, "mtime_ns": 1, "boot": "", "pid": 1, "pid_start": 1}
            store.execute(refreshing._WRITE, row)
            minutes = [Minute(m, Component.CPU, 50.0) for m in range(min(60, int(duration_s / 60)))]
            write_minutes(store, {run_id: minutes})
            who = {"person": f"person{len(run_id) * duration_s % 40:.0f}", "project": name, "zone": ("DE", "FR", "")[len(name) % 3],
                   "device": "NVIDIA H200", "site": "- server", "inside": ""}  # fmt: skip
            write_months(store, (), rows_of({**row, **who}, {f"{start:%Y-%m}": (1.0, 1.0)}))
            split = {
                Waste.OVER_TRAINING: Part(0.2, 0.1, 0.3),
                Waste.DATA_MOVEMENT: Part(0.1, 0.0, 0.2),
                None: Part(0.7, 0.5, 0.9),
            }
            write_wastes(store, {run_id: split})
        shards = [
            {"root": root, "day": d, "mtime_ns": m, "scanned_ns": m + 10**10}
            for d, m in refreshing._folders(root).items()
        ]
        today = max(s["day"] for s in shards)
        store.execute(
            upsert("shards", refreshing._SHARD, refreshing._SHARD[:2]),
            *(s for s in shards if s["day"] != today),
        )
        for run_id, *_ in recordings[:-2]:  # today's folder is scanned: what it lists must exist
            if run_id.startswith(today.replace("-", "")):
                os.mkdir(runs / today / run_id)
    store.close()


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    before, start = os.times(), time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - start, os.times()
    if done.returncode:
        sys.exit(done.stderr)
    return wall, after.children_user - before.children_user + after.children_system - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--full", action="store_true", help="really write every recording")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="joulewise-bench-") as home:
        runs, ledger = Path(home, "runs"), Path(home, "ledger.db")
        environment = {**os.environ, "JOULEWISE_HOME": home}
        snippet = [sys.executable, "-c", SNIPPET, str(ledger), str(runs)]
        verb = all(find_spec(f"joulewise.{name}") for name in ("cli.app", "cli.runs"))
        start = time.perf_counter()
        recordings = plan(options.count)
        make_folders(runs, recordings, full=options.full)
        if not options.full:
            make_rows(ledger, runs, recordings)
        print(f"made {options.count} recordings in {time.perf_counter() - start:.1f} s", flush=True)
        command = [sys.executable, "-m", "joulewise", "runs"] if verb else snippet
        wall, cpu = timed(command, environment)
        print(
            f"first call: {wall:.2f} s, of that CPU {cpu:.2f} s ({'reads every recording' if options.full else 'index is there'})"
        )
        for title, what in (("joulewise runs", command), ("refresh and list only", snippet)):
            if what is snippet and title == "joulewise runs":
                continue
            times = [timed(what, environment) for _ in range(5)]
            wall, cpu = (statistics.median(t) for t in zip(*times, strict=True))
            met = "met" if max(wall, cpu) < GOAL_S else "MISSED"
            print(f"{title}: median of 5: {wall:.3f} s wall, {cpu:.3f} s CPU (goal {GOAL_S} s: {met})")
        size = sum(p.stat().st_size for p in Path(home).glob("ledger.db*"))
        floor = statistics.median(timed([sys.executable, "-c", "pass"], environment)[0] for _ in range(5))
        print(f"ledger: {size / 1e6:.0f} MB; a Python that does nothing: {floor:.3f} s")


if __name__ == "__main__":
    main()
