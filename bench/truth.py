"""How close recordings come to a known truth: powercap and NVML doubles, pulsed load.

    python bench/truth.py [--seconds 40] [--gpus 4]     (root, Linux, a C compiler)

Starts the truth process in a mount namespace of its own and the NVML double on the library path, records an idle
program with `joulewise run` as anybody would, and compares each device's joules with the double's exact integral
over the same time. The package counter starts shortly before its wrap.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RANGE_UJ = 2_000_000_000


def main() -> int:
    """Record, compare and print one line per device; the exit code is 1 if one is off by more than 0.5 %."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.inside:
        return inside(chosen.inside, chosen.seconds, chosen.gpus)
    from joulewise.testing import nvml

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        library = nvml.build(folder / "nvml")
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": str(library.parent),
            "JOULEWISE_FAKE_NVML_GPUS": str(chosen.gpus),
            "JOULEWISE_HOME": str(folder / "home"),
        }
        double = [
            sys.executable,
            "-m",
            "joulewise.testing.powercap",
            "--namespace",
            "--truth",
            str(folder / "truth.json"),
        ]
        double += ["--range", str(RANGE_UJ), "--start", str(RANGE_UJ - 500_000_000), "--mmio"]
        again = [
            sys.executable,
            __file__,
            "--inside",
            str(folder),
            "--seconds",
            str(chosen.seconds),
            "--gpus",
            str(chosen.gpus),
        ]
        return subprocess.run([*double, "--", *again], env=environment, check=False).returncode


def inside(folder: Path, seconds: float, gpus: int) -> int:
    """Run in the namespace: record, and compare with the doubles over the recording's own ticks."""
    from joulewise.ledger.files import read_recording
    from joulewise.testing import nvml
    from joulewise.testing.powercap import Layout, settled, true_joules

    run = [
        sys.executable,
        "-m",
        "joulewise",
        "run",
        "--quiet",
        "--name",
        "truth",
        "--",
        "sleep",
        str(seconds),
    ]
    subprocess.run(run, check=True)
    recording = read_recording(next((folder / "home" / "runs").glob("*/*")))
    head = json.loads(
        next(next((folder / "home" / "runs").glob("*/*")).glob("run-*"))
        .read_bytes()
        .splitlines()[0]
        .rpartition(b"\t")[0]
    )
    times = [head["mono"] + t for t in recording.ticks.t_s]
    now_s, truth = settled(folder / "truth.json", time.monotonic)
    layout = Layout(range_uj=RANGE_UJ)
    begun = now_s - truth.t_s
    expected = {
        label: after - before
        for (label, before), after in zip(
            true_joules(layout, times[0] - begun).items(),
            true_joules(layout, times[-1] - begun).values(),
            strict=True,
        )
    }
    rows = [("package", "rapl:package-0", expected["package-0"]), ("DRAM", "rapl:dram-0", expected["dram-0"])]
    gpu_true = nvml.true_energy_j(times[0], times[-1])
    gpu_ids = [d.id for d in recording.devices if d.component == "gpu"]
    worst = 0.0
    seen_all = true_all = 0.0
    for label, device, true in [*rows, *((f"GPU {n}", i, gpu_true) for n, i in enumerate(gpu_ids))]:
        column = [v for v in recording.ticks.energy_j[device] if v is not None]
        seen = column[-1] - column[0]
        seen_all, true_all = seen_all + seen, true_all + true
        worst = max(worst, abs(seen / true - 1))
        print(f"{label:8s} {seen:10.2f} J recorded, {true:10.2f} J true, {100 * (seen / true - 1):+.3f} %")
    counted = sum(
        column[-1] - column[0]
        for d in recording.devices
        if d.counted and d.basis == 0
        for column in [[v for v in recording.ticks.energy_j[d.id] if v is not None]]
    )
    print(
        f"total    {counted:10.2f} J recorded, {true_all:10.2f} J true, {100 * (counted / true_all - 1):+.3f} %  ({len(gpu_ids)} GPUs, expected {gpus})"
    )
    return 0 if worst < 0.005 and len(gpu_ids) == gpus and abs(counted / true_all - 1) < 0.005 else 1


if __name__ == "__main__":
    raise SystemExit(main())
