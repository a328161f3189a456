"""What recording costs, beside a bare thread that reads two files at the same interval, in the same run.

    python bench/overhead.py [--seconds 20] [--rounds 3]

Each figure is measured in fresh processes, floor and joulewise in turn; CPU milliseconds per second of the whole
process, minus those of a process that only sleeps. Prints medians and the ratio to the floor. Also: time to
import, time to start a recorder, memory that recording adds to the recorded process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

IDLE = """
import json, resource, sys, time
what, interval, seconds, folder = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
if what == "floor":
    import threading
    stop = threading.Event()
    def look():
        with open(folder + "/floor", "a", buffering=1) as out:
            while not stop.wait(interval):
                with open("/proc/stat") as one: machine = one.readline()
                with open("/proc/self/stat") as other: process = other.read()
                out.write(machine[:40].strip() + " " + process.split()[13] + "\\n")
    threading.Thread(target=look, daemon=True).start()
elif what == "joulewise":
    import joulewise
    run = joulewise.track("overhead", interval_s=interval).__enter__()
time.sleep(2.0)
begin, cpu = time.monotonic(), time.process_time_ns()
time.sleep(seconds)
spent = (time.process_time_ns() - cpu) / 1e6
print(json.dumps({"ms_per_s": spent / (time.monotonic() - begin)}))
"""

START = """
import json, time
begin = time.perf_counter()
import joulewise
imported = time.perf_counter()
from joulewise import track
track("warm").__enter__()
loaded = time.perf_counter()
block = track("start")
before = time.perf_counter()
run = block.__enter__()
started = time.perf_counter()
first = loaded - imported
print(json.dumps({"import_ms": 1e3 * (imported - begin), "start_ms": 1e3 * (started - before), "first_start_ms": 1e3 * first}))
"""

MEMORY = """
import json, sys, time, threading
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
if sys.argv[2] == "numpy":
    import numpy  # as every training has
before = peak()
if sys.argv[1] == "joulewise":
    import joulewise
    run = joulewise.track("memory", interval_s=0.1).__enter__()
    with run.span("a"): pass
    run.log(loss=1.0)
time.sleep(2.0)
print(json.dumps({"added_kb": peak() - before}))
"""


def answer(code: str, *arguments: object) -> dict[str, float]:
    """Return what a fresh interpreter prints for `code`."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-c", code, *map(str, arguments), folder]
        done = subprocess.run(
            words, env={**os.environ, "JOULEWISE_HOME": folder}, capture_output=True, text=True, check=True
        )
    return dict(json.loads(done.stdout))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    for interval in (1.0, 0.1):
        spent: dict[str, list[float]] = {"none": [], "floor": [], "joulewise": []}
        for _ in range(chosen.rounds):
            for what, times in spent.items():
                times.append(answer(IDLE, what, interval, chosen.seconds)["ms_per_s"])
        none, floor, ours = (statistics.median(spent[w]) for w in ("none", "floor", "joulewise"))
        print(
            f"recording at {1 / interval:g} Hz: floor {floor - none:.2f}, joulewise {ours - none:.2f} CPU ms per second; ratio {(ours - none) / (floor - none):.1f}"
        )
    starts = [answer(START) for _ in range(max(5, chosen.rounds))]
    for key, what in (
        ("import_ms", "import joulewise"),
        ("start_ms", "start of a recorder"),
        ("first_start_ms", "first start, imports included"),
    ):
        print(f"{what}: {statistics.median(s[key] for s in starts):.1f} ms")
    for beside in ("nothing", "numpy"):
        added = {
            what: statistics.median(answer(MEMORY, what, beside)["added_kb"] for _ in range(chosen.rounds))
            for what in ("none", "joulewise")
        }
        size_mb = (added["joulewise"] - added["none"]) / 1024
        print(f"memory added to a process that has imported {beside}: {size_mb:.1f} MB")


if __name__ == "__main__":
    main()
