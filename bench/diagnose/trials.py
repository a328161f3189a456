"""Try every program of a folder of workloads as found, and hold what its trial says against the truth of its pairs.

    python bench/diagnose/trials.py WORKLOADS --keep FOLDER [--only w01,w08] [--at-most S] [--budget S]

A program is copied to KEEP/NAME under a neutral name, recorded there, diagnosed, and `joulewise try --knob auto --yes` runs its
pieces. What they said is kept in KEEP/NAME/trial.json, so a campaign may be ended and taken up again. WORKLOADS/measured.json (of
`pairs.py`) has the truths, in shares of CPU seconds; joules of a machine without counters follow them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from run_folder import program
from scoring import truth


def tried(script: Path, place: Path, budget: str) -> dict[str, Any]:
    """Record a program in its own folder and try it; return its first finding and what the trials said, or why there were none."""
    place.mkdir(parents=True, exist_ok=True)
    work = place / "job"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    shutil.copy(script, work / script.name)
    environment = {**os.environ, "JOULEWISE_HOME": str(place / "home"), "OMP_NUM_THREADS": "1"}

    def joulewise(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "joulewise", *words],
            check=False, cwd=work, env=environment, text=True, capture_output=True, timeout=3600,
        )  # fmt: skip

    ran = joulewise("run", "--quiet", "--name", "job", "--", sys.executable, script.name)
    if ran.returncode:
        sys.exit(f"{script} ended with {ran.returncode}: {ran.stderr[-300:]}")
    findings = json.loads(joulewise("diagnose", "job", "--json").stdout)["findings"]
    first = findings[0] if findings else None
    began_s = time.monotonic()
    done = joulewise(
        "try",
        "job",
        "--knob",
        "auto",
        "--yes",
        "--future",
        "10",
        "--json",
        *(["--budget", budget] if budget else []),
    )
    left = json.loads(joulewise("diagnose", "job", "--json").stdout)["findings"]
    return {
        "first": first and {k: first[k] for k in ("cause", "saving_cpu", "saving_energy")},
        "trials": json.loads(done.stdout)["trials"] if not done.returncode else [],
        "refused": done.stderr.strip() if done.returncode else "",
        "took_s": round(time.monotonic() - began_s, 1),
        "after": [f["cause"] for f in left],
    }


def line(name: str, told: dict[str, Any], measured: dict[str, Any]) -> str:
    """Return a row of the table: what was advised first, what its trial said, and what was true."""
    first = told["first"]
    advised = f"{first['cause']} {first['saving_cpu']:.0%}" if first else "nothing"
    real = truth(measured, name)
    said = "; ".join(
        f"{t['knob']} ({t['cause']}): {t['verdict']}, {t['run_share']['value']:.0%} ({t['run_share']['low']:.0%} to {t['run_share']['high']:.0%})"
        for t in told["trials"]
    )
    known = "" if real is None else f"{real.share:.0%} ±{100 * real.error:.0f}"
    return f"| {name} | {advised} | {said or told['refused']} | {known} | {told['took_s']:.0f} s |"


def main() -> None:
    """Record, try, print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workloads", type=Path)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--budget", default="")
    parser.add_argument(
        "--at-most", type=float, default=float("inf"), help="begin no program after so many seconds"
    )
    options = parser.parse_args()
    only = {n for n in options.only.split(",") if n}
    path = options.workloads / "measured.json"
    measured = json.loads(path.read_text()) if path.exists() else {}
    began_s = time.monotonic()
    print("| program | first advice | trial | truth | took |\n| --- | --- | --- | --- | --- |")
    for folder in sorted(
        p for p in options.workloads.iterdir() if p.is_dir() and (not only or p.name in only)
    ):
        kept = options.keep.resolve() / folder.name / "trial.json"
        if not kept.exists():
            if time.monotonic() - began_s > options.at_most:
                continue
            told = tried(program(folder), kept.parent, options.budget)
            kept.write_text(json.dumps(told, indent=1))
        print(line(folder.name, json.loads(kept.read_text()), measured), flush=True)


if __name__ == "__main__":
    main()
