"""Run every program of a folder of workloads under joulewise as found, and print its findings and the score.

    python bench/diagnose/run_folder.py WORKLOADS [--only w01,w08] [--out predicted.json] [--keep FOLDER [--at-most S]] [--python PY]

WORKLOADS holds one folder per program: NAME.py, perhaps NAME_fixed.py and truth.json. The program alone is copied to a
temporary folder with a neutral name and run there with OMP_NUM_THREADS=1 (unless the program sets its own threads).
Neither twin, truth nor folder name is seen by joulewise; truth.json is read afterwards, to score. measured.json, where
WORKLOADS has one (`pairs.py` writes it), gives the true savings; scoring.py says how they are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scoring import score


def program(folder: Path) -> Path:
    """Return the program as found."""
    (found,) = (p for p in sorted(folder.glob("*.py")) if not p.stem.endswith("_fixed"))
    return found


def record(script: Path, runs: Path, python: str, threads: str) -> tuple[Path, str]:
    """Run a copy of `script` under joulewise; return the folder of its recording and its last line."""
    with tempfile.TemporaryDirectory(prefix="job-") as work:
        shutil.copy(script, Path(work) / script.name)
        environment = {
            **os.environ, "JOULEWISE_RUNS": str(runs), "JOULEWISE_HOME": str(runs.parent / "home"),
            "OMP_NUM_THREADS": threads, "TMPDIR": work,
        }  # fmt: skip
        known = set(runs.glob("*/*"))
        done = subprocess.run(
            [sys.executable, "-m", "joulewise", "run", "--quiet", "--", python, script.name],
            check=False, cwd=work, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=7200,
        )  # fmt: skip
    (folder,) = set(runs.glob("*/*")) - known
    lines = done.stdout.strip().splitlines()
    if done.returncode:
        print(f"  {script}: exit code {done.returncode}: {done.stdout[-400:]}", file=sys.stderr)
    return folder, lines[-1] if lines else ""


def findings(folder: Path) -> list[dict[str, object]]:
    """Return the ranked findings of a recording."""
    from joulewise import wiring
    from joulewise.diagnosing import diagnose
    from joulewise.ledger.files import read_recording
    from joulewise.vocabulary.observed import observe

    recording = read_recording(folder)
    views = observe(recording)
    found = diagnose(recording, views, wiring.account(recording))
    seen = sum(v.accounted_share * v.duration_s for v in views) / max(1e-9, sum(v.duration_s for v in views))
    print(
        f"  {recording.duration_s:.1f} s, {len(views)} processes, {100 * seen:.1f} % accounted",
        file=sys.stderr,
    )
    return [
        {
            "cause": f.cause.value,
            "saving_cpu": round(f.saving.cpu_share, 4),
            "saving_wall": round(f.saving.wall_share, 4),
            "low_cpu": round(f.saving.cpu_s.low / max(1e-9, f.saving.cpu_s.value) * f.saving.cpu_share, 4),
            "high_cpu": round(f.saving.cpu_s.high / max(1e-9, f.saving.cpu_s.value) * f.saving.cpu_share, 4),
            "evidence": f.evidence,
            "remedy": f.remedy.text,
        }
        for f in found
    ]


def ended(kept: list[Path]) -> bool:
    """Say whether there is a recording, and the last one has come to its end."""
    from joulewise.ledger.files import read_recording
    from joulewise.vocabulary.errors import RecordingError
    from joulewise.vocabulary.recording import EndState

    try:
        return bool(kept) and read_recording(kept[-1]).end.state is not EndState.RUNNING
    except RecordingError:  # it has just begun
        return False


def twin(folder: Path) -> Path | None:
    """Return the program without its waste, if there is one."""
    return next(iter(folder.glob("*_fixed.py")), None)


def cpu_s(folder: Path) -> float:
    """Return the CPU seconds of a recorded run."""
    from joulewise import wiring
    from joulewise.ledger.files import read_recording

    return wiring.account(read_recording(folder)).usage.cpu_s or 0.0


def main() -> None:
    """Run, print the findings as JSON, print the score."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workloads", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--out", default="")
    parser.add_argument(
        "--keep", default="", help="keep the recordings here, and use those that are there already"
    )
    parser.add_argument(
        "--at-most",
        type=float,
        default=float("inf"),
        help="begin no program after so many seconds: --keep resumes",
    )
    parser.add_argument("--kept-only", action="store_true", help="run nothing: judge what --keep holds")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--threads", default="1")
    parser.add_argument(
        "--twins", action="store_true", help="run the twins, too: the true savings are measured here"
    )
    options = parser.parse_args()
    only = {n for n in options.only.split(",") if n}
    began_s = time.monotonic()
    base = Path(options.keep or tempfile.mkdtemp(prefix="joulewise-bench-")).resolve()
    predicted: dict[str, list[dict[str, object]]] = {}
    measured: dict[str, dict[str, list[dict[str, float]]]] = {}
    try:
        for folder in sorted(
            p for p in options.workloads.iterdir() if p.is_dir() and (not only or p.name in only)
        ):
            runs = base / folder.name / "runs"
            runs.mkdir(parents=True, exist_ok=True)
            kept = sorted(runs.glob("*/*"))
            late = options.kept_only or time.monotonic() - began_s > options.at_most
            if late and not ended(kept):
                continue
            print(f"{folder.name}", file=sys.stderr, flush=True)
            recording = (
                kept[-1] if ended(kept) else record(program(folder), runs, options.python, options.threads)[0]
            )
            predicted[folder.name] = findings(recording)
            print(json.dumps({folder.name: predicted[folder.name]}), flush=True)
            fixed = twin(folder)
            if options.twins and fixed is not None and not late:
                beside = base / folder.name / "fixed" / "runs"
                beside.mkdir(parents=True, exist_ok=True)
                kept = sorted(beside.glob("*/*"))
                other = kept[-1] if ended(kept) else record(fixed, beside, options.python, options.threads)[0]
                measured[folder.name] = {
                    "as_found": [{"cpu": cpu_s(recording)}],
                    "fixed": [{"cpu": cpu_s(other)}],
                }
    finally:
        if not options.keep:
            shutil.rmtree(base, ignore_errors=True)
    if options.out:
        Path(options.out).write_text(json.dumps(predicted, indent=1))
    print()
    path = options.workloads / "measured.json"
    score(
        options.workloads, predicted, {**(json.loads(path.read_text()) if path.exists() else {}), **measured}
    )


if __name__ == "__main__":
    main()
