"""Input read again: the same files are opened and parsed again for every epoch or experiment.

Counterfactual: each is read once and kept. What of the program's own time went into reading is not seen, only how often a file was
opened and how large it is; so a reading is priced by what its format takes (`_RATES`), and never at more than the CPU time of
the program's own code between hooked calls. Items of a loader that read their files are `slow_transforms`' to judge.
"""

from __future__ import annotations

from joulewise.diagnosing.case import Case, Estimate, about, loop_cpu_s
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import FileRead, Phase, ProcessView
from joulewise.vocabulary.quantities import format_bytes

_LEAST_OPENS = 3
# Bytes of the file a second on one core: inflating (some 250 MB/s of what comes out, a quarter of it in the file), parsing text
# (numpy's loadtxt 10 MB/s, pandas 100), copying from the page cache. Orders of magnitude, used as bounds.
_RATES = (
    ((".gz", ".bz2", ".xz"), 60e6),
    ((".csv", ".tsv", ".txt", ".json", ".jsonl", ".xml"), 50e6),
    ((".npz", ".zip", ".parquet", ".png", ".jpg", ".jpeg", ".pkl", ".pickle"), 200e6),
)
_COPY = 2e9


def estimate(case: Case) -> list[Estimate]:
    """Return what reading the same files again took, for each process."""
    return [found for view in case.views if (found := _of(case, view))]


def _of(case: Case, view: ProcessView) -> Estimate | None:
    again = [f for f in view.files if f.opens >= _LEAST_OPENS]
    if not again or any(one.fetched and not one.in_memory for one in view.loaders):
        return None
    memory = case.recording.machine.owned_memory_bytes or case.recording.machine.memory_bytes or 0
    if (
        memory and 4 * sum(f.size_bytes for f in again) > memory / 2
    ):  # what is read takes more room than its file
        return None
    own_cpu_s = loop_cpu_s(view)
    priced_s = sum(f.again_bytes / rate(f.path) for f in again)
    cpu_s = min(priced_s, 0.9 * own_cpu_s)
    if cpu_s <= 0:
        return None
    other = view.phase(Phase.OTHER)
    wall_s = cpu_s * other.wall_s / other.cpu_s if other.cpu_s > 0 else cpu_s
    worst = max(again, key=_price)
    return Estimate(
        Cause.REREADING_INPUT,
        about(cpu_s, 0.3 * cpu_s, max(cpu_s, 0.9 * own_cpu_s)),
        about(wall_s, 0.2 * wall_s, 1.5 * wall_s),
        f"{worst.path} ({format_bytes(worst.size_bytes)}) was opened {worst.opens} times; {len(again)} files were read again, "
        f"{format_bytes(sum(f.again_bytes for f in again))} in all",
        Remedy(RemedyKind.DIFF, "read the files once, before the loop, and keep what comes of them"),
        "none: the same data",
        view.process,
        f"{view.process}:reading",
    )


def rate(path: str) -> float:
    """Return how many bytes of such a file are read a second, by its name."""
    low = path.lower()
    return next((r for endings, r in _RATES if low.endswith(endings)), _COPY)


def _price(file: FileRead) -> float:
    return file.again_bytes / rate(file.path)
