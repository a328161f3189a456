"""What the agent sees in programs that nobody edited: per program the share of time accounted, phases and facts.

    python bench/agent_phases.py [--python PYTHON] FOLDER...

Each FOLDER holds a program (`*.py`, without `*_fixed.py`); it is copied to a folder with a neutral name and run under
`joulewise run` with one OpenMP thread. PYTHON needs joulewise and what the programs need.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from joulewise.ledger.files import read_recording
from joulewise.vocabulary.observed import ProcessView, observe
from joulewise.vocabulary.recording import Recording


def record(python: str, program: Path, home: Path) -> tuple[Recording, str]:
    """Run a program under joulewise and return its recording."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(program, folder)
        done = subprocess.run(
            [python, "-m", "joulewise", "run", "--quiet", "--name", "job", "--", python, program.name],
            cwd=folder,
            env={**os.environ, "JOULEWISE_HOME": str(home), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    newest = max(home.glob("runs/*/*"), key=lambda p: p.stat().st_mtime_ns)
    return read_recording(newest), done.stdout[-200:] + done.stderr[-500:]


def show(view: ProcessView) -> None:
    print(
        f"  {view.kind} {view.duration_s:.2f} s, CPU {view.cpu_s:.2f} s, accounted {view.accounted_share:.1%}, "
        f"of it unhooked Python {view.unhooked_share:.1%}, "
        f"untimed steps {view.sampled_share:.0%}; {', '.join(view.frameworks)}"
    )
    print(
        "   ",
        " · ".join(
            f"{p.phase} {p.wall_s:.2f} s ({p.cpu_s:.2f} CPU, {p.calls}x{f', {p.bytes / 1e6:.0f} MB' if p.bytes else ''})"
            for p in view.phases
        ),
    )
    sizes = ", ".join(f"{s}x{n}" for s, n in sorted(view.batch_sizes.items()))
    print(
        f"    steps {view.steps}, epochs {view.epochs}, batches {sizes or '-'}, items {view.dataset_items}, "
        f"{view.model or 'no model'} {view.parameters} {view.precision} {view.device}, threads {view.threads}"
    )
    for optimiser in view.optimisers:
        print(
            f"    {optimiser.name}: {optimiser.parameters} parameters, {optimiser.steps} steps, rates {len(optimiser.rates)}: {optimiser.rates[:2]} ... {optimiser.rates[-1:]}"
        )
    for loader in view.loaders:
        made = f", {1e6 * loader.item_s:.1f} us an item" if loader.item_s is not None else ""
        print(
            f"    loader {loader.dataset} of {loader.items}, batch {loader.batch_size}, workers {loader.workers}, "
            f"{'evaluates' if loader.evaluates else 'trains'}, {loader.passes} passes, {loader.batches} batches, waited {loader.wait_s:.2f} s"
            f"{made}, {loader.same_items} of {loader.compared_items} items the same again, index {loader.index_s:.2f} s"
        )
    if view.evaluations:
        steps = [e.step for e in view.evaluations]
        apart = sorted(b - a for a, b in itertools.pairwise(steps))
        first = view.evaluations[0]
        print(
            f"    {view.evaluation_calls} evaluations, {apart[len(apart) // 2] if apart else '-'} steps apart, first {first.batches} batches of "
            f"{first.batch_size:g} in {first.where}{first.thread}; largest {max(e.batches for e in view.evaluations)} batches"
        )
    named: dict[str, list[float]] = {}
    for point in view.curve:
        for name, value in point.values.items():
            named.setdefault(name, []).append(value)
    print("    curve", {n: (len(v), round(v[0], 4), round(v[-1], 4)) for n, v in named.items()})
    for p in view.preparations:
        print(
            f"    {p.estimator}.{p.method} {p.fingerprint} {p.settings[:6]} rows {p.rows} x{p.calls}: {p.wall_s:.2f} s, before {p.before_s:.2f} s ({p.before_cpu_s:.2f} CPU, first {p.first_before_s:.2f})"
        )
    for f in view.files:
        print(f"    file {os.path.basename(f.path)} x{f.opens}, {f.size_bytes} B")
    print(
        f"    requests {view.requests}, schedulers {view.schedulers}, code {view.code}, data {view.data}, seeds {view.seeds}, faults {view.faults}"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        for folder in options.folders:
            program = next(p for p in sorted(folder.glob("*.py")) if not p.stem.endswith("_fixed"))
            recording, said = record(options.python, program, Path(home))
            print(
                f"{folder.name}: {recording.end.state} after {recording.duration_s:.2f} s, {said.strip().splitlines()[-1:]}"
            )
            for view in observe(recording):
                show(view)


if __name__ == "__main__":
    main()
