"""Logging overhead: what is written to logs and trackers costs a share of the run.

Counterfactual: at most one log call a second of training and fifty an epoch; saved is what the others took.
"""

from __future__ import annotations

from joulewise.diagnosing.case import Case, Estimate, around, epochs_made
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import Phase, ProcessView

_PER_EPOCH = 50


def estimate(case: Case) -> list[Estimate]:
    """Return what log calls beyond those that anybody reads took, for each training process."""
    return [found for view in case.trainers if (found := _of(view))]


def _of(view: ProcessView) -> Estimate | None:
    logged = view.phase(Phase.LOGGING)
    keep = max(view.duration_s, _PER_EPOCH * (epochs_made(view) or 1))
    if logged.calls <= 2 * keep:
        return None
    share = 1 - keep / logged.calls
    return Estimate(
        Cause.LOGGING_OVERHEAD,
        around(share * logged.cpu_s, 0.2),
        around(share * logged.wall_s, 0.25),
        f"{logged.calls} log calls in {view.steps} steps took {logged.wall_s:.1f} s",
        Remedy(
            RemedyKind.SETTING,
            f"log every {max(2, round(logged.calls / keep))} times as rarely, for instance every "
            f"{max(2, round(view.steps / keep))} steps",
        ),
        "none",
        view.process,
        f"{view.process}:logging",
    )
