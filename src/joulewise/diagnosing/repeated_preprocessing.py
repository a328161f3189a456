"""Repeated preprocessing: the same input is prepared again for every experiment.

Counterfactual: what an estimator gets and gives is the same bit for bit in all its calls with one fingerprint, so all but
the first are saved: the call itself, and the unhooked time directly before it, in which its input was made. That time
could also be something else (a model trained in plain numpy): it is claimed only where later calls took about as long
as the first, before which nothing had been trained.
"""

from __future__ import annotations

from joulewise.diagnosing.case import Case, Estimate, about, is_remedied
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import Preparation, ProcessView

PREPARING = ("fit_transform", "transform")
HANDED_OUT = ("fit", "fit_transform")  # what remedies/fits.py keeps
_ALIKE = (0.5, 1.6)


def estimate(case: Case) -> list[Estimate]:
    """Return what preparing the same input again took, for each process."""
    return [found for view in case.views if (found := _of(view))]


def _of(view: ProcessView) -> Estimate | None:
    cpu_s = wall_s = sure_cpu_s = 0.0
    told: list[tuple[float, Preparation]] = []
    for one in view.preparations:
        if one.method not in PREPARING or one.calls < 2:
            continue
        handed_out = is_remedied(view, "cache", f"{one.estimator}.{one.method} ")
        again = 0.0 if handed_out else (one.calls - 1) / one.calls
        before_s, before_cpu_s = _before(one)
        if handed_out and not before_s:
            continue
        cpu_s += again * one.cpu_s + before_cpu_s
        wall_s += again * one.wall_s + before_s
        sure_cpu_s += again * one.cpu_s
        told.append((one.wall_s + before_s, one))
    if not told:
        return None
    _, worst = max(told, key=lambda t: t[0])
    return Estimate(
        Cause.REPEATED_PREPROCESSING,
        about(cpu_s, max(sure_cpu_s, 0.85 * cpu_s), 1.1 * cpu_s),
        about(wall_s, 0.8 * wall_s, 1.15 * wall_s),
        f"{worst.estimator}.{worst.method} got the same {worst.rows} rows {worst.calls} times; making them took "
        f"{worst.before_s / worst.calls:.2f} s each time, the call {worst.wall_s / worst.calls:.2f} s",
        Remedy(
            RemedyKind.DIFF, "prepare the data once before the loop and hand the result to every experiment"
        ),
        "none: the prepared data are the same bit for bit",
        view.process,
        f"{view.process}:preparation",
    )


def can_be_handed_out(view: ProcessView) -> bool:
    """Say whether most of the repetition is the estimators' own calls, which `cache` hands out; what came before stays."""
    repeated = [p for p in view.preparations if p.method in PREPARING and p.calls >= 2]
    calls_s = sum(p.cpu_s * (p.calls - 1) / p.calls for p in repeated if p.method in HANDED_OUT)
    return calls_s > sum(_before(p)[1] for p in repeated)


def _before(one: Preparation) -> tuple[float, float]:
    """Return wall and CPU seconds before the repeated calls that made their input."""
    if one.first_before_s is None or one.first_before_s <= 0:
        return 0.0, 0.0
    later_s = one.before_s - one.first_before_s
    each_s = later_s / (one.calls - 1)
    if not _ALIKE[0] <= each_s / one.first_before_s <= _ALIKE[1]:
        return 0.0, 0.0
    return later_s, one.before_cpu_s * later_s / one.before_s if one.before_s > 0 else 0.0
