"""What it takes to have a tool: distributions, megabytes, CPU seconds to import, each in a fresh environment.

    python bench/rivals.py [codecarbon zeus ...]      (asks the package registry; environments go to build/rivals)

Without names: joulewise and the tools of docs/comparison.md that install in a minute. Megabytes are of site-packages without
pip; import is the median of five fresh processes, CPU time of user and system beyond a Python that does nothing.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = {  # what is installed, and what is imported
    "joulewise": (str(ROOT), "joulewise"),
    "codecarbon": ("codecarbon", "codecarbon"),
    "zeus": ("zeus", "zeus.monitor"),
    "optuna": ("optuna", "optuna"),
    "litserve": ("litserve", "litserve"),
}
USUAL = ("joulewise", "codecarbon", "optuna", "litserve")


def import_s(python: Path, statement: str) -> float:
    """Return the median CPU seconds of five fresh processes that run a statement."""
    seen = []
    for _ in range(5):
        before = os.times()
        subprocess.run([python, "-c", statement], check=True, capture_output=True)
        after = os.times()
        seen.append(
            after.children_user - before.children_user + after.children_system - before.children_system
        )
    return statistics.median(seen)


def main() -> None:
    print(f"{'tool':<12}{'version':>10}{'distributions':>15}{'MB':>7}{'import CPU s':>14}")
    for name in sys.argv[1:] or USUAL:
        if name not in TOOLS:
            sys.exit(f"unknown tool {name}; known are {', '.join(TOOLS)}")
        wanted, module = TOOLS[name]
        folder = ROOT / "build" / "rivals" / name
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        python = folder / "bin" / "python"
        nothing = import_s(python, "pass")
        subprocess.run([python, "-m", "pip", "install", "-qq", wanted], check=True, stderr=subprocess.DEVNULL)
        packages = next((folder / "lib").glob("python3*/site-packages"))
        ours = [d for d in packages.glob("*.dist-info") if not d.name.startswith(("pip-", "setuptools-"))]
        version = next(
            (d.name.split("-")[1].removesuffix(".dist") for d in ours if d.name.split("-")[0] == name), "?"
        )
        size = sum(
            f.stat().st_size for f in packages.rglob("*") if f.is_file() and f.relative_to(packages).parts[0] not in ("pip", "setuptools")
        )  # fmt: skip
        cost = import_s(python, f"import {module}") - nothing
        print(f"{name:<12}{version:>10}{len(ours):>15}{size / 1e6:>7.0f}{cost:>14.2f}", flush=True)


if __name__ == "__main__":
    main()
