"""Unbatched inference: items that lie ready are sent through the model one by one.

Counterfactual: batches of 64. What an item costs in a large batch is known from the run's other forward passes (its
training, or another evaluation); without any, only the least that a call of the framework costs is claimed.

Passes that must wait for one another or for the world cannot be batched: generation, play and request handling are
known by their names, answering as things come by its pauses; passes between training steps belong to the training.

Estimators (scikit-learn, XGBoost, LightGBM) are asked by `predict` and its kin. What a row costs in a large batch is known from
another call with many rows, or bounded by the model's size (its weights, the nodes of its trees), or by its own fit, which
meets every row at least once (but for those that only keep their rows: neighbours, Gaussian processes). Left alone is what
cannot be batched: an input that holds the answer before it, a model that learns between its answers, a library that asks from
inside (an optimiser), requests. The time directly before a call made its row, or worked on the last answer: half is claimed.
"""

from __future__ import annotations

import re

from joulewise.diagnosing.case import HOOK_S, Case, Estimate, about, is_dependent, mean_batch
from joulewise.diagnosing.overhead import CALL_S, item_arithmetic
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.library_calls import RowCalls
from joulewise.vocabulary.observed import Phase, ProcessView

_LARGE = 64
_SMALL = 4
_LEAST_CALLS = 200
_TRAINING = (
    1.75  # a forward pass in training over one in scoring: 1.25 of dense layers, 2.3 with batch normalisation
)
_BESIDE = 1.1  # a scored item costs a little more than its arithmetic: the copy, the answer taken out
_ASKED_S = 30e-6  # a call of the smallest estimator: the table looked over, its columns compared
_HOOKS = 2.0  # what the agent takes for a call of an estimator, over one of a network
_FEWER = 0.25  # of the bound of a row's arithmetic: caches hold the tops of trees, vectors are multiplied four at a time
_KEEPS_ROWS = re.compile(
    r"neighbo|gaussianprocess|kernel|lof$|localoutlier|dbscan|propagation", re.IGNORECASE
)
_ASKS = re.compile(
    r"^(scipy|optuna|skopt|hyperopt|nevergrad|bayes_opt|deap|cma|pyswarm|shap|lime|gym|gymnasium|socketserver|asyncio|http|wsgiref"
    r"|flask|werkzeug|uvicorn|starlette|fastapi|tornado|aiohttp|gunicorn|sched|kafka|pika|zmq)"
)


def estimate(case: Case) -> list[Estimate]:
    """Return what batches of 64 would have saved, for each process that scores items one by one."""
    return [found for view in case.views for found in (_of(view), _by_rows(view)) if found]


def _of(view: ProcessView) -> Estimate | None:
    rows = [
        e
        for e in view.evaluations
        if e.batches >= _LEAST_CALLS
        and e.batch_size < _SMALL
        and not e.thread
        and (e.step == 0 or e.step >= view.steps)
        and not is_dependent(e.where, view.model)
    ]
    if not rows or view.requests or _pauses(view):
        return None
    calls, items = sum(e.batches for e in rows), sum(e.items for e in rows)
    hooks_s = HOOK_S * calls  # the agent's own
    cpu_s, wall_s = (max(0.0, sum(s) - hooks_s) for s in ([e.cpu_s for e in rows], [e.wall_s for e in rows]))
    known = _item_s(view)
    worst = max(rows, key=lambda e: e.cpu_s)
    if known is None:
        least = calls * CALL_S * (1 - 1 / _LARGE)
        saved_cpu, saved_wall = (
            about(min(least, 0.8 * s), 0.5 * min(least, 0.8 * s), 0.9 * s) for s in (cpu_s, wall_s)
        )
        compared = "what an item costs in a batch is not known; a call alone costs at least 40 µs"
    else:
        left_cpu, left_wall = (_BESIDE * items * s for s in known)
        saved_cpu = _left(cpu_s, left_cpu)
        saved_wall = _left(wall_s, left_wall)
        compared = f"in a large batch it takes {1e6 * known[0]:.0f} µs"
    return Estimate(
        Cause.UNBATCHED_INFERENCE,
        saved_cpu,
        saved_wall,
        f"{calls} forward passes of {worst.batch_size:.0f} item took {wall_s:.1f} s, "
        f"{1e6 * cpu_s / max(1, items):.0f} µs an item ({worst.where or 'main thread'}); {compared}",
        Remedy(
            RemedyKind.DIFF, f"score {_LARGE} to 256 items per forward pass instead of {worst.batch_size:.0f}"
        ),
        "none beyond rounding, with the model in evaluation mode",
        view.process,
        f"{view.process}:inference",
    )


def _by_rows(view: ProcessView) -> Estimate | None:
    asked = [
        r
        for r in view.row_calls
        if r.few and r.calls >= _LEAST_CALLS and r.fed <= 0.1 * min(64, r.calls)
        if not is_dependent(r.where) and not _ASKS.match(r.under)
    ]
    if not asked or view.requests or _pauses(view):
        return None
    calls = max(r.calls for r in asked)
    if view.phase(Phase.OPTIMISER).calls > 0.1 * calls:  # it learns between its answers
        return None
    low = value = high = 0.0
    for one in asked:
        used_s = max(0.0, one.cpu_s - _HOOKS * HOOK_S * one.calls)
        most_s, usual_s, least_s = _left_of(view, one, used_s)
        low += max(0.0, used_s - most_s)
        value += max(0.0, used_s - usual_s) + 0.5 * min(used_s, one.before_cpu_s)
        high += max(0.0, used_s - least_s) + one.before_cpu_s
    worst = max(asked, key=lambda r: r.cpu_s)
    a_second = worst.wall_s / worst.cpu_s if worst.cpu_s > 0 else 1.0
    return Estimate(
        Cause.UNBATCHED_INFERENCE,
        about(value, 0.93 * low, 1.07 * high),
        about(value * a_second, 0.9 * low * a_second, 1.1 * high * a_second),
        f"{worst.estimator}.{worst.method} was called {worst.calls} times with {worst.rows / worst.calls:.2g} row, "
        f"{1e6 * worst.cpu_s / worst.calls:.0f} µs a call ({worst.where or 'main thread'}); nearly all of it is the call's own",
        Remedy(
            RemedyKind.DIFF,
            f"give {worst.method} the whole table at once (or some thousand rows), and go over its answers",
        ),
        "none: each row has the same answer, up to rounding",
        view.process,
        f"{view.process}:inference",
    )


def _left_of(view: ProcessView, one: RowCalls, used_s: float) -> tuple[float, float, float]:
    """Return what the same rows take in large batches, in CPU seconds: at most, usually, at least."""
    many = [r for r in view.row_calls if not r.few and (r.estimator, r.method) == (one.estimator, one.method)]
    if many:
        each_s = min(r.cpu_s / r.rows for r in many)
        return 2 * one.rows * each_s, _BESIDE * one.rows * each_s, 0.5 * one.rows * each_s
    fits = [
        p.cpu_s / (p.calls * p.rows)
        for p in view.preparations
        if p.method == "fit"
        and p.estimator == one.estimator
        and p.rows
        and not _KEEPS_ROWS.search(p.estimator)
    ]
    bounds = [*fits, *([1e-9 * one.row_ns] if one.row_ns is not None else [])]
    if bounds:
        most_s = one.rows * min(bounds)
        return most_s, _FEWER * most_s, 0.0
    least_s = min(one.calls * _ASKED_S, 0.8 * used_s)
    return used_s - 0.5 * least_s, used_s - least_s, 0.1 * used_s


def _left(now_s: float, left_s: float) -> Figure:
    """Return what is saved when `left_s` is left, known to a factor of two; gathering a batch takes a tenth at most."""
    saved = max(0.0, now_s - left_s)
    return about(saved, max(0.0, 0.9 * now_s - 2 * left_s), now_s - 0.5 * left_s)


def _item_s(view: ProcessView) -> tuple[float, float] | None:
    """Return CPU and wall seconds of one item in a large batch, from other passes of the same process."""
    best: list[tuple[float, float]] = []
    large = item_arithmetic(view, 16)
    if large is not None:
        best.append((large.cpu_s, large.wall_s))
    batch = mean_batch(view)
    forward = view.phase(Phase.FORWARD)
    if batch is not None and batch >= 16 and view.samples:
        best.append((forward.cpu_s / view.samples / _TRAINING, forward.wall_s / view.samples / _TRAINING))
    return min(best) if best else None


def _pauses(view: ProcessView) -> bool:
    """Say whether the process waits for its items: they arrive one by one."""
    waiting = view.phase(Phase.WAITING)
    return waiting.wall_s > 0.2 * view.duration_s
