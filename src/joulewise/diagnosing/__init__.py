"""Diagnosing: which waste drives the footprint of a run, and what its remedy would save.

`diagnose(recording, views, account)` lays a run before the estimators, one file per waste, and ranks what they answer.
Each is a counterfactual: it says what the same run would have used without that waste, from what was seen in it, and
says nothing where that cannot be known. All of it is pure: the same recording gives the same findings years later.
`settling` compares a promise with its outcome.

Start reading at case.py, then any waste; ranking.py decides what is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from joulewise.diagnosing import (
    busy_idle_service,
    checkpoint_too_often,
    costly_shuffle,
    derived_twice,
    exhaustive_search,
    host_bound_device,
    idle_holder,
    logging_overhead,
    over_training,
    oversized_model,
    poor_scaling,
    precision_unused,
    repeated_experiments,
    repeated_preprocessing,
    request_time_join,
    rereading_input,
    slow_transforms,
    small_batch,
    thread_oversubscription,
    too_few_loader_workers,
    too_many_loader_workers,
    unbatched_inference,
    validation_too_often,
    values_too_fresh,
    view_nobody_reads,
)
from joulewise.diagnosing.case import Case, Estimate
from joulewise.diagnosing.ranking import rank
from joulewise.measuring.accounting import Account
from joulewise.vocabulary.finding import Finding
from joulewise.vocabulary.observed import ProcessView
from joulewise.vocabulary.quantities import format_figure
from joulewise.vocabulary.recording import Recording

ESTIMATORS: tuple[Callable[[Case], list[Estimate]], ...] = (
    validation_too_often.estimate,
    over_training.estimate,
    checkpoint_too_often.estimate,
    slow_transforms.estimate,
    repeated_preprocessing.estimate,
    small_batch.estimate,
    unbatched_inference.estimate,
    busy_idle_service.estimate,
    too_many_loader_workers.estimate,
    thread_oversubscription.estimate,
    repeated_experiments.estimate,
    logging_overhead.estimate,
    costly_shuffle.estimate,
    request_time_join.estimate,
    view_nobody_reads.estimate,
    values_too_fresh.estimate,
    derived_twice.estimate,
    oversized_model.estimate,
    precision_unused.estimate,
    exhaustive_search.estimate,
    poor_scaling.estimate,
    idle_holder.estimate,
    too_few_loader_workers.estimate,
    rereading_input.estimate,
    host_bound_device.estimate,
)


def diagnose(
    recording: Recording,
    views: Sequence[ProcessView],
    account: Account,
    *,
    allow_slower: bool = False,
    most_s: float | None = None,
    requests: int | None = None,
) -> tuple[Finding, ...]:
    """Return the findings of a run, the largest predicted saving first; empty where nothing is surely wasted.

    Remedies that lengthen the run by more than 5 % are left out, unless slower is allowed or it may last `most_s`.
    `requests` is how many a foreign server answered, by its own log or metrics (see traffic.py).
    """
    case = Case(recording, tuple(views), account, requests)
    estimates = [e for estimator in ESTIMATORS for e in estimator(case)]
    return rank(case, estimates, allow_slower=allow_slower, most_s=most_s)


def first_line(findings: Sequence[Finding]) -> str:
    """Return the first finding in one line for the card, "" if there is none."""
    if not findings:
        return ""
    first = findings[0]
    saving = first.saving
    if saving.energy_j is not None:
        amount = format_figure(saving.energy_j, "J")
    else:
        amount = f"{format_figure(saving.cpu_s, 's')} of CPU time"
    return (
        f"{100 * saving.share:.0f} % of it was waste ({first.cause.words}): "
        f"{first.remedy.text} would have saved {amount}. Risk: {first.risk}"
    )


__all__ = ["ESTIMATORS", "Case", "Estimate", "diagnose", "first_line"]
