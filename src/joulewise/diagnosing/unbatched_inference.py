"""Unbatched inference: items that lie ready are sent through the model one by one.

Counterfactual: batches of 64. What an item costs in a large batch is known from the run's other forward passes (its
training, or another evaluation); without any, only the least that a call of the framework costs is claimed.

Passes that must wait for one another or for the world cannot be batched: generation, play and request handling are
known by their names, answering as things come by its pauses; passes between training steps belong to the training.
"""

from __future__ import annotations

from joulewise.diagnosing.case import HOOK_S, Case, Estimate, about, is_dependent, mean_batch
from joulewise.diagnosing.overhead import CALL_S, GRADIENT, item_arithmetic
from joulewise.vocabulary.figures import Figure
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import Phase, ProcessView

_LARGE = 64
_SMALL = 4
_LEAST_CALLS = 200
_BESIDE = 1.1  # a scored item costs a little more than its arithmetic: the copy, the answer taken out


def estimate(case: Case) -> list[Estimate]:
    """Return what batches of 64 would have saved, for each process that scores items one by one."""
    return [found for view in case.views if (found := _of(view))]


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
        best.append((forward.cpu_s / view.samples / GRADIENT, forward.wall_s / view.samples / GRADIENT))
    return min(best) if best else None


def _pauses(view: ProcessView) -> bool:
    """Say whether the process waits for its items: they arrive one by one."""
    waiting = view.phase(Phase.WAITING)
    return waiting.wall_s > 0.2 * view.duration_s
