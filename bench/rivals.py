"""What rivals do beside joulewise: every figure of docs/comparison.md about them, by a command.

    python bench/rivals.py installed [TOOL ...]   distributions, megabytes, CPU seconds to import
    python bench/rivals.py truth                  joules against counters whose truth is known (root, Linux)
    python bench/rivals.py killed                 what is on disk after kill -9
    python bench/rivals.py idle                   CPU and memory of being there; whom a tracker asks on the network
    python bench/rivals.py why [PROGRAM ...]      what TraceML says of programs with a planted waste, and joulewise
    python bench/rivals.py serving                LitServe and `joulewise serve`, side by side

Each tool gets an environment of its own under build/rivals, made with pip from the usual index at the first need;
`installed` makes it anew. joulewise is installed there as a user would. CPU time is of user and system; megabytes are of
site-packages without pip, byte code included; import is the median of five fresh processes beyond a Python that does nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).parent / "rival"
PLACES = ROOT / "build" / "rivals"
TOOLS = {  # what is installed, and what is imported; the first is what `installed` counts
    "joulewise": ([str(ROOT)], "joulewise"),
    "codecarbon": (["codecarbon"], "codecarbon"),
    "zeus": (["zeus"], "zeus.monitor"),
    "optuna": (["optuna"], "optuna"),
    "litserve": (["litserve"], "litserve"),
    "traceml": (["torch==2.13.0", "traceml-ai"], "traceml"),
    "joulewise-serve": ([f"{ROOT}[serve]"], "joulewise"),
}
USUAL = ("joulewise", "codecarbon", "zeus", "optuna", "litserve")
BESIDE = {
    "litserve": ["onnxruntime"]
}  # what a program of the bench needs there, installed after it was counted
RANGE_UJ = 2_000_000_000


def python_of(tool: str, *, anew: bool = False) -> Path:
    """Return the Python of a tool's own environment, made if it is not there."""
    folder = PLACES / tool
    python = folder / "bin" / "python"
    if anew:
        shutil.rmtree(folder, ignore_errors=True)
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        pip(python, *TOOLS[tool][0])
        if not anew:
            pip(python, *BESIDE.get(tool, ()))
        (folder / "ready").touch()
    elif tool in BESIDE:
        pip(python, *BESIDE[tool])
    return python


def pip(python: Path, *wanted: str) -> None:
    """Install; pip's own notices are nobody's business."""
    if wanted:
        subprocess.run(
            [python, "-m", "pip", "install", "-qq", *wanted], check=True, stderr=subprocess.DEVNULL
        )


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


def installed(names: Sequence[str]) -> None:
    """Print what it takes to have each tool."""
    print(f"{'tool':<12}{'version':>10}{'distributions':>15}{'MB':>7}{'import CPU s':>14}")
    for name in names or USUAL:
        if name not in TOOLS:
            sys.exit(f"unknown tool {name}; known are {', '.join(TOOLS)}")
        python = python_of(name, anew=True)
        packages = next((PLACES / name / "lib").glob("python3*/site-packages"))
        ours = [d for d in packages.glob("*.dist-info") if not d.name.startswith(("pip-", "setuptools-"))]
        versions = {d.name.split("-")[0].lower(): d.name.split("-")[1].removesuffix(".dist") for d in ours}
        version = versions.get(name, versions.get(f"{name}_ai", "?"))
        size = sum(
            f.stat().st_size
            for f in packages.rglob("*")
            if f.is_file() and f.relative_to(packages).parts[0] not in ("pip", "setuptools")
        )
        cost = import_s(python, f"import {TOOLS[name][1]}") - import_s(python, "pass")
        print(f"{name:<12}{version:>10}{len(ours):>15}{size / 1e6:>7.0f}{cost:>14.2f}", flush=True)


def probe(
    tool: str, what: str, seconds: float, *, before: Sequence[str] = (), told: Mapping[str, str] = {}
) -> dict[str, object]:
    """Return the answer of one probe of `rival/trackers.py`, in a process group and a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        python = python_of("joulewise" if tool == "nothing" else tool.partition("-")[0])
        command = [*before, str(python), str(HERE / "trackers.py"), tool, what, folder, str(seconds)]
        environment = {**os.environ, "TMPDIR": folder, **told}
        done = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=folder, start_new_session=True, check=False
        )  # fmt: skip
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return json.loads(line.removeprefix("RESULT "))
    return {"fault": (done.stderr.strip().splitlines() or ["no answer"])[-1]}


def truth(seconds: float) -> None:
    """Print what each tracker counts of a package and a memory whose joules are known: once open, once closed to it."""
    double = [str(python_of("joulewise")), "-m", "joulewise.testing.powercap", "--namespace"]
    double += [
        "--range",
        str(RANGE_UJ),
        "--start",
        str(RANGE_UJ - 500_000_000),
        "--mmio",
    ]  # it wraps on the way
    for title, more in (
        ("counters readable; one wrap", []),
        ("energy_uj closed, as for users since 2020", ["--deny"]),
    ):
        print(f"{title}\n{'':2}{'tool':<18}{'package: seen, true J':>26}{'memory: seen, true J':>26}  else")
        for tool in ("joulewise", "codecarbon", "codecarbon-dram", "zeus"):
            with tempfile.TemporaryDirectory() as folder:
                file = f"{folder}/truth.json"
                before = [*double, "--truth", file, *more, "--"]
                found = probe(tool, "truth", seconds, before=before, told={"RIVAL_TRUTH": file})
            if "fault" in found:
                print(f"  {tool:<18}{found['fault']}")
                continue
            seen, least, most = found["seen"], found["least"], found["most"]
            cells = [
                f"{'none' if seen.get(part) is None else f'{seen[part]:.0f}':>10}, {least[zone]:5.0f} to {most[zone]:5.0f}"
                for part, zone in (("package", "package-0"), ("memory", "dram-0"))
            ]
            rest = ", ".join(f"{k} {v:.0f}" for k, v in seen.items() if k not in ("package", "memory"))
            print(f"  {tool:<18}{cells[0]:>26}{cells[1]:>26}  {rest}", flush=True)


def killed(seconds: float) -> None:
    """Print what is on disk after a tracker was killed without warning."""
    print(f"kill -9 after {seconds:g} s\n{'tool':<14}what is left")
    for tool in ("joulewise", "codecarbon", "zeus"):
        with tempfile.TemporaryDirectory() as folder:
            child = subprocess.Popen(
                [python_of(tool), HERE / "trackers.py", tool, "killed", folder, "0"],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                cwd=folder,
                env={**os.environ, "TMPDIR": folder},
                start_new_session=True,
            )
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(seconds)
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            left = [f for f in Path(folder).rglob("*") if f.is_file() and f.stat().st_size]
            words = "; ".join(f"{f.name} {f.stat().st_size} bytes" for f in left) or "nothing"
            if tool == "zeus" and left:
                words += f": {len(left[0].read_text().splitlines()) - 1} windows"
            if tool == "joulewise":
                told = subprocess.run(
                    [python_of(tool), "-m", "joulewise", "show", "latest", "--json"],
                    capture_output=True,
                    text=True,
                    env={**os.environ, "JOULEWISE_HOME": folder},
                    check=True,
                )
                words = f"a recording of {json.loads(told.stdout)['duration_s']:.1f} s"
            print(f"{tool:<14}{words}", flush=True)


def idle(seconds: float) -> None:
    """Print the price of being there, and whom a tracker asks."""
    print(f"{'tool':<19}{'CPU s to start':>15}{'CPU ms/s':>10}{'memory MB':>11}  asks")
    for tool in ("nothing", "joulewise", "codecarbon", "codecarbon-online", "zeus"):
        found = probe(tool, "network", seconds)
        if "fault" in found:
            print(f"{tool:<19}{found['fault']}")
            continue
        cells = f"{found['start_cpu_s']:>15.2f}{found['cpu_ms_per_s']:>10.2f}{found['memory_mb']:>11.0f}"
        print(f"{tool:<19}{cells}  {', '.join(found['asked']) or 'nobody'}", flush=True)


def main() -> None:
    """Do what was asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("installed", "truth", "killed", "idle", "why", "serving"))
    parser.add_argument("tools", nargs="*", help="of `installed` and `why`: which")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=3, help="of `serving`")
    chosen = parser.parse_args()
    if chosen.what == "installed":
        installed(chosen.tools)
    elif chosen.what == "why":
        from rival import why

        why.main(python_of("traceml"), chosen.tools)
    elif chosen.what == "serving":
        from rival import serving

        serving.main(python_of("litserve"), chosen.rounds)
    else:
        {"truth": truth, "killed": killed, "idle": idle}[chosen.what](chosen.seconds)


if __name__ == "__main__":
    main()
