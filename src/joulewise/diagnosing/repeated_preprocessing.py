"""Repeated preprocessing: the same input is prepared again for every experiment.

Counterfactual: what an estimator gets and gives is the same bit for bit in all its calls with one fingerprint, so all but
the first are saved: the call itself, and the unhooked time directly before it, in which its input was made. That time
could also be something else (a model trained in plain numpy): it is claimed only where later calls took about as long
as the first, before which nothing had been trained.
Before fits with ever other settings on one input it is claimed alike, over all processes (a pool's workers each prepare for themselves),
where every single one took about as long, the first among them: of what is made once, only the first has to wait for it.

In a search or a cross-validation the steps of a pipeline are fitted anew for each candidate, on the same folds: what `memory=` keeps.
Equal settings on equal input give the same, in whichever of the run's processes; saved is what all fits but the first took, beyond
what the memory itself takes: each call's input is hashed, the first's result and what it has learnt are written, every other's read.
Workers that begin with one fold at a time each miss it: a miss for every second one is taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container

from joulewise.diagnosing.case import Case, Estimate, about, is_remedied
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.library_calls import Step
from joulewise.vocabulary.observed import Preparation, ProcessView

PREPARING = ("fit_transform", "transform")
HANDED_OUT = ("fit", "fit_transform")  # what remedies/fits.py keeps
_ALIKE = (0.5, 1.6)
_LEAST_FITS = 3
_DEAR_S = 0.05  # CPU time before a fit: less is a loop's own
_KEPT_S = 2e-3  # a call through joblib's Memory: the function's code looked at, a folder found
_HASHED_B_PER_S, _WRITTEN_B_PER_S, _READ_B_PER_S = (
    0.4e9,
    0.5e9,
    1.5e9,
)  # MD5 of a pickle; a pickle to and from a file
_OBJECT_S = 1.2e-6  # CPU time for each Python object (a vocabulary has many): joblib pickles it in Python, or makes it again


def estimate(case: Case) -> list[Estimate]:
    """Return what preparing the same input again took, for each process."""
    piped = {step.estimator for view in case.views for step in view.pipeline_steps}
    found = [one for view in case.views if (one := _of(view, piped))]
    return [*found, *(one for one in (_of_steps(case), _of_fits(case)) if one)]


def _of_fits(case: Case) -> Estimate | None:
    """Return what making one input again for every fit on it took, in whichever processes."""
    alike: dict[tuple[str, str], list[Preparation]] = defaultdict(list)
    for view in case.views:
        for one in view.preparations:
            if one.method == "fit" and one.fingerprint and one.candidates is None:
                alike[one.estimator, one.fingerprint].append(one)
    cpu_s = wall_s = 0.0
    told: list[tuple[float, Preparation, int]] = []
    for fits in alike.values():
        calls = sum(f.calls for f in fits)
        each = [f.before_cpu_s / f.calls for f in fits]
        if (
            calls < _LEAST_FITS
            or len(fits) < _LEAST_FITS
            or min(each) < _DEAR_S
            or max(each) > _ALIKE[1] * min(each)
        ):
            continue
        again = (calls - 1) / calls
        cpu_s += again * sum(f.before_cpu_s for f in fits)
        wall_s += again * sum(f.before_s for f in fits)
        told.append((sum(f.before_cpu_s for f in fits), fits[0], calls))
    if not told:
        return None
    _, worst, calls = max(told, key=lambda t: t[0])
    workers = max(1, len({v.process for v in case.views if any(p.method == "fit" for p in v.preparations)}))
    main = next((v for v in case.views if v.kind == "main"), case.views[0])
    return Estimate(
        Cause.REPEATED_PREPROCESSING,
        about(cpu_s, 0.75 * cpu_s, 1.1 * cpu_s),
        about(wall_s / workers, 0.6 * wall_s / workers, 1.15 * wall_s / workers),
        f"{worst.estimator} was fitted {calls} times on the same {worst.rows} rows, each time with other settings; making them took "
        f"{worst.before_cpu_s / worst.calls:.2f} CPU-seconds each time",
        Remedy(
            RemedyKind.DIFF,
            "prepare the data once before the loop (or before the workers start) and hand the result to every experiment",
        ),
        "none: the prepared data are the same bit for bit",
        main.process,
        "run:inputs",
    )


def _of_steps(case: Case) -> Estimate | None:
    alike: dict[tuple[str, str, str], list[tuple[ProcessView, Step]]] = defaultdict(list)
    for view in case.views:
        for step in view.pipeline_steps:
            if step.fingerprint:
                alike[step.estimator, step.fingerprint, step.settings].append((view, step))
    cpu_s = wall_s = 0.0
    told: list[tuple[float, Step, int]] = []
    for group in alike.values():
        calls = sum(step.calls for _, step in group)
        used_s = sum(step.cpu_s for _, step in group)
        misses = min(calls, 1 + (len(group) - 1) / 2)
        saved_s = used_s * (calls - misses) / calls - _memory_s(group[0][1], calls, misses)
        if calls > 1 and saved_s > 0:
            cpu_s += saved_s
            wall_s += saved_s / len(group) * sum(s.wall_s for _, s in group) / used_s
            told.append((saved_s, group[0][1], calls))
    if not told:
        return None
    _, worst, calls = max(told, key=lambda t: t[0])
    random = ", ".join(sorted({step.estimator for _, step, _ in told if step.random}))
    main = next((v for v in case.views if v.kind == "main"), case.views[0])
    return Estimate(
        Cause.REPEATED_PREPROCESSING,
        about(cpu_s, 0.8 * cpu_s, 1.1 * cpu_s),
        about(wall_s, 0.7 * wall_s, 1.15 * wall_s),
        f"in a pipeline {worst.estimator} was fitted {calls} times with the same settings on the same {worst.rows} rows (and "
        f"{len(told) - 1} more of the kind), {1000 * worst.cpu_s / worst.calls:.0f} ms each time",
        Remedy(
            RemedyKind.DIFF,
            'keep what the fixed steps give: Pipeline(steps, memory="cache") or make_pipeline(..., memory="cache")',
        ),
        f"{random} draws random numbers: candidates share one draw, which compares them better"
        if random
        else "none: the steps give the same bit for bit",
        main.process,
        "run:steps",
    )


def _memory_s(step: Step, calls: int, misses: float) -> float:
    """Return the CPU seconds that the memory takes for so many calls of a step."""
    handled_s = calls * (_KEPT_S + step.in_bytes / _HASHED_B_PER_S + _OBJECT_S * step.objects)
    written_s = misses * step.out_bytes / _WRITTEN_B_PER_S
    return handled_s + written_s + (calls - misses) * step.out_bytes / _READ_B_PER_S


def _of(view: ProcessView, piped: Container[str]) -> Estimate | None:
    cpu_s = wall_s = sure_cpu_s = 0.0
    told: list[tuple[float, Preparation]] = []
    for one in view.preparations:
        if one.method not in PREPARING or one.calls < 2:
            continue
        if (
            one.method == "transform" and one.estimator in piped
        ):  # a pipeline scores a fold: its memory keeps fits only
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
