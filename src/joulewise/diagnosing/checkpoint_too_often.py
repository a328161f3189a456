"""Checkpoints too often: more state is written than a crash could ever cost.

Counterfactual: one checkpoint per epoch, or one per Young's interval sqrt(2 x cost x time between failures) (Young,
CACM 1974) if that asks for more; the time between failures is taken as a day. Saved is what the others took.
Without epochs the interval alone decides. Up to two per epoch (last and best) are left alone.

Where nothing was saved by `torch.save` and each call wrote far less than the weights take, it is a log that is synced to the
disk line by line: the cause is named `logging_overhead`, and what syncs beyond one in ten seconds took is saved.
"""

from __future__ import annotations

from math import ceil, sqrt

from joulewise.diagnosing.case import Case, Estimate, around, epochs_made
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import Phase, ProcessView
from joulewise.vocabulary.quantities import format_bytes

_FAILURE_S = 86_400.0
_SYNC_S = 10.0
_BYTES_PER_WEIGHT = 4
_MEMORY_BYTES_PER_S = 10e9  # one core's way to memory


def estimate(case: Case) -> list[Estimate]:
    """Return what checkpoints beyond those that insure the run took, for each training process."""
    return [found for view in case.trainers if (found := _of(case, view))]


def _of(case: Case, view: ProcessView) -> Estimate | None:
    saved = view.phase(Phase.CHECKPOINT)
    if saved.calls < 3 or saved.wall_s <= 0:
        return None
    if _is_log(case, view):
        return _synced_log(view)
    each_s, keep = saved.wall_s / saved.calls, _insuring(view)
    if saved.calls <= 2 * keep:
        return None
    share = 1 - (keep + 1) / saved.calls  # and one at the end
    reload_s = (
        saved.bytes / _MEMORY_BYTES_PER_S
    )  # what a save pushes out of the caches, the next step fetches again
    return Estimate(
        Cause.CHECKPOINT_TOO_OFTEN,
        around(share * (saved.cpu_s + reload_s), 0.2),
        around(share * (saved.wall_s + reload_s), 0.3),
        f"{saved.calls} calls to save or sync in {view.steps} steps ({format_bytes(saved.bytes)} written, "
        f"{1000 * each_s:.0f} ms each); {keep} checkpoints would insure the run",
        Remedy(RemedyKind.SETTING, f"save every {steps_between_saves(view)} steps"),
        "none to the weights; after a crash up to one interval is computed again",
        view.process,
        f"{view.process}:checkpoint",
    )


def steps_between_saves(view: ProcessView) -> int:
    """Return the steps between two checkpoints that insure the run."""
    return max(1, round(view.steps / _insuring(view)))


def _insuring(view: ProcessView) -> int:
    saved = view.phase(Phase.CHECKPOINT)
    each_s = saved.wall_s / saved.calls
    return max(epochs_made(view) or 1, ceil(view.duration_s / max(each_s, sqrt(2 * each_s * _FAILURE_S))))


def _is_log(case: Case, view: ProcessView) -> bool:
    saved, written = view.phase(Phase.CHECKPOINT), case.account.usage.written_bytes
    if saved.bytes or written is None or not view.parameters:
        return False
    return written / saved.calls < 0.25 * _BYTES_PER_WEIGHT * view.parameters


def _synced_log(view: ProcessView) -> Estimate | None:
    synced = view.phase(Phase.CHECKPOINT)
    keep = max(view.duration_s / _SYNC_S, epochs_made(view) or 1)
    if synced.calls <= 10 * keep:
        return None
    share = 1 - keep / synced.calls
    return Estimate(
        Cause.LOGGING_OVERHEAD,
        around(share * synced.cpu_s, 0.2),
        around(share * synced.wall_s, 0.3),
        f"{synced.calls} syncs to the disk in {view.steps} steps took {synced.wall_s:.1f} s, for far less than a checkpoint each",
        Remedy(RemedyKind.DIFF, "no os.fsync after each line: flush every ten seconds and at the end"),
        "after a crash of the machine up to ten seconds of the log are missing; after one of the program nothing is",
        view.process,
        f"{view.process}:logging",
    )
