"""Measure what a waste really cost: a program and its twin, run in turns, in CPU seconds of their whole process tree.

    python bench/diagnose/pairs.py WORKLOADS [--rounds 3] [--only w01,w08] [--at-most CPU_SECONDS] [--threads 1]

Each round runs every program and, right beside it, its twin; the order within a pair changes from round to round, so that
what the machine does to one it does to the other. The runs are added to WORKLOADS/measured.json, which `run_folder.py`
reads: a campaign may be stopped at any time and taken up again. Nothing of joulewise runs here.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")


def run(script: Path, python: str, threads: str) -> dict[str, float]:
    """Run a copy of a program under a neutral name; return CPU and wall seconds, and the last number that it printed."""
    with tempfile.TemporaryDirectory(prefix="job-") as work:
        shutil.copy(script, Path(work) / "train.py")
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "TMPDIR": work}
        with tempfile.TemporaryFile(mode="w+") as printed:
            began_s = time.monotonic()
            process = subprocess.Popen(
                [python, "train.py"], cwd=work, env=environment, stdout=printed, stderr=subprocess.STDOUT
            )
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            wall_s = time.monotonic() - began_s
            printed.seek(0)
            lines = printed.read().strip().splitlines()
    if process.returncode:
        sys.exit(f"{script} ended with {process.returncode}: {' '.join(lines[-3:])}")
    numbers = _NUMBER.findall(lines[-1]) if lines else []
    quality = {"quality": float(numbers[-1])} if numbers else {}
    return {"cpu": round(used.ru_utime + used.ru_stime, 3), "wall": round(wall_s, 3), **quality}


def main() -> None:
    """Measure in rounds, and keep every run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workloads", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--at-most", type=float, default=float("inf"), help="CPU seconds of this campaign")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--threads", default="1")
    options = parser.parse_args()
    only = {n for n in options.only.split(",") if n}
    kept = options.workloads / "measured.json"
    spent_s = 0.0
    for number in range(options.rounds):
        for folder in sorted(p for p in options.workloads.iterdir() if p.is_dir()):
            fixed = next(iter(folder.glob("*_fixed.py")), None)
            if fixed is None or (only and folder.name not in only):
                continue
            if len(_kept(kept).get(folder.name, {}).get("fixed", ())) > number:
                continue
            if spent_s > options.at_most:
                sys.exit(f"{spent_s:.0f} CPU-seconds used: stopped before {folder.name}, round {number + 1}")
            (found,) = (p for p in folder.glob("*.py") if p != fixed)
            pair = [("as_found", found), ("fixed", fixed)]
            ran = {
                side: run(script, options.python, options.threads)
                for side, script in (pair if number % 2 == 0 else pair[::-1])
            }
            spent_s += sum(r["cpu"] for r in ran.values())
            measured = _kept(kept)  # another campaign may have added to it
            for side, _ in pair:
                measured.setdefault(folder.name, {}).setdefault(side, []).append(ran[side])
            new = kept.with_suffix(".new")
            new.write_text(json.dumps(measured, indent=1))
            new.replace(kept)
            print(folder.name, *(ran[side]["cpu"] for side, _ in pair), flush=True)


def _kept(path: Path) -> dict[str, dict[str, list[dict[str, float]]]]:
    return json.loads(path.read_text()) if path.exists() else {}


if __name__ == "__main__":
    main()
