"""What was seen inside programs that nobody edited: epochs, batch, steps and phases of kept recordings, as a table.

    python bench/diagnose/seen.py KEPT [--only w-batches-1,h-printing-1]

KEPT is the folder that `run_folder.py --keep` filled. One line a program: the process that made the most steps.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from joulewise.diagnosing.case import epochs_made, train_batch
from joulewise.ledger.files import read_recording
from joulewise.vocabulary.errors import RecordingError
from joulewise.vocabulary.observed import observe

_FRAMEWORKS = ("lightning", "transformers", "keras", "torch", "xgboost", "lightgbm", "sklearn", "numpy")


def line(folder: Path) -> str | None:
    """Return what was seen in the latest recording of a program; None if it has none."""
    kept = sorted(folder.glob("runs/*/*"))
    if not kept:
        return None
    try:
        views = observe(read_recording(kept[-1]))
    except RecordingError:  # it has just begun
        return None
    if not views:
        return f"| {folder.name} | not seen inside | | | | | |"
    accounted = sum(v.accounted_share * v.duration_s for v in views) / max(
        1e-9, sum(v.duration_s for v in views)
    )
    view = max(views, key=lambda v: (v.steps, v.cpu_s))
    phases = ", ".join(
        f"{p.phase.value} {100 * p.wall_s / view.duration_s:.0f} %"
        for p in view.phases
        if p.wall_s > 0.03 * view.duration_s
    )
    names = [f.split()[0] for f in view.frameworks]
    framework = next((n for n in _FRAMEWORKS if n in names), "python")
    told = [framework, epochs_made(view), train_batch(view)]
    cells = ["" if t is None else str(t) for t in told]
    return (
        f"| {folder.name} | {' | '.join(cells)} | {view.steps or ''} | {phases} | {100 * accounted:.1f} % |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kept", type=Path)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    only = {n for n in options.only.split(",") if n}
    print("| program | framework | epochs | batch | steps | phases (of its wall time) | accounted |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for folder in sorted(p for p in options.kept.iterdir() if p.is_dir() and (not only or p.name in only)):
        told = line(folder)
        if told:
            print(told)


if __name__ == "__main__":
    main()
