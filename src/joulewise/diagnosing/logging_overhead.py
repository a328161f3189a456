"""Logging overhead: what is written to logs and trackers costs a share of the run.

Nobody is accused below a hundred log calls an epoch, nor where seven tenths of what they took would be less than is shown.
Counterfactual: ten an epoch, as many points as a curve needs, and one in ten seconds for whoever watches; saved is what the
others took, and at most the loop's own code beside them that made the values.
"""

from __future__ import annotations

from joulewise.diagnosing.case import (
    LEAST_SHARE,
    Case,
    Estimate,
    about,
    epochs_made,
    loop_cpu_s,
    loop_wall_s,
)
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import Phase, ProcessView

_MANY_PER_EPOCH = 100
_PER_EPOCH = 10
_WATCHED_S = 10.0
_SURE = 0.7  # of the seconds: what writing a line takes goes with whoever reads it, and with neighbours


def estimate(case: Case) -> list[Estimate]:
    """Return what log calls beyond those that anybody reads took, for each training process."""
    return [found for view in case.trainers if (found := _of(case, view))]


def _of(case: Case, view: ProcessView) -> Estimate | None:
    logged = view.phase(Phase.LOGGING)
    epochs = epochs_made(view) or 1
    if logged.calls <= max(2 * view.duration_s, _MANY_PER_EPOCH * epochs):
        return None
    keep = max(view.duration_s / _WATCHED_S, _PER_EPOCH * epochs)
    share = 1 - keep / logged.calls
    if share * _SURE * logged.cpu_s < LEAST_SHARE * case.cpu_s:
        return None
    return Estimate(
        Cause.LOGGING_OVERHEAD,
        about(
            share * logged.cpu_s, 0.8 * share * logged.cpu_s, share * (1.2 * logged.cpu_s + loop_cpu_s(view))
        ),
        about(
            share * logged.wall_s,
            0.75 * share * logged.wall_s,
            share * (1.25 * logged.wall_s + loop_wall_s(view)),
        ),
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
