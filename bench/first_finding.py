"""From `pip install` to the first useful finding, as a newcomer goes: wall seconds of each step (goal: two minutes in all).

    python bench/first_finding.py [PROGRAM.py [PACKAGE ...]]     (asks the package registry for scikit-learn, or for what is named)

A fresh environment, joulewise from this checkout, an ordinary program that is run once as it is under `joulewise run` (where none is
named, one of bench/diagnose that writes a report with scikit-learn and fits the same model again for each figure); the finding is the first that `joulewise diagnose` names, and none is a failure. The CPU seconds
beside are what a quiet machine needs at least.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GOAL_S = 120


def main() -> int:
    """Go through the steps; the exit code is 1 where there is no finding or the goal is missed."""
    program = Path(
        sys.argv[1]
        if len(sys.argv) > 1
        else ROOT / "bench" / "diagnose" / "programs" / "wasteful" / "refits.py"
    ).resolve()
    packages = sys.argv[2:] or ["scikit-learn"]
    with tempfile.TemporaryDirectory() as folder:
        python = f"{folder}/venv/bin/python"
        shutil.copy(program, f"{folder}/program.py")  # alone: files beside it could hide a library
        environment = {**os.environ, "JOULEWISE_HOME": f"{folder}/home", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        steps = {
            "python -m venv": [sys.executable, "-m", "venv", f"{folder}/venv"],
            "pip install": [python, "-m", "pip", "install", "-qq", str(ROOT), *packages],
            "joulewise run": [python, "-m", "joulewise", "run", "--", python, "program.py"],
            "joulewise diagnose": [python, "-m", "joulewise", "diagnose", "latest", "--json"],
        }
        told, whole = "", 0.0
        for name, command in steps.items():
            wall, before = time.monotonic(), os.times()
            done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, check=False)  # fmt: skip
            took, after = time.monotonic() - wall, os.times()
            cpu = after.children_user + after.children_system - before.children_user - before.children_system
            whole, told = whole + took, done.stdout
            if done.returncode:
                sys.exit(f"{name}: exit code {done.returncode}: {done.stderr.strip()[-500:]}")
            print(f"{name:<20}{took:>7.1f} s{cpu:>7.1f} CPU-s", flush=True)
    findings = json.loads(told)["findings"]
    print(f"{'in all':<20}{whole:>7.1f} s, goal {GOAL_S} s")
    if not findings:
        print("no finding")
        return 1
    first = findings[0]
    print(f"first finding: {first['cause']}: {first['evidence']}")
    return int(whole > GOAL_S)


if __name__ == "__main__":
    raise SystemExit(main())
