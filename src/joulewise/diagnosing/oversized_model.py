"""A model larger than its task needs: the task is solved at once, by far more weights than there are examples.

Counterfactual: the same layers at a quarter of their width. What a dense layer computes goes with the product of its two
sides: hidden layers fall to a sixteenth, the first and last to a quarter; an optimiser's work goes with the weights. A call
of the framework costs what it did. Saved is the rest, for the same steps.

That a smaller model would do cannot be settled by watching. It is claimed only where all signs agree: the held-out metric
stood within its noise of perfect after the first fifth of the epochs, and of its best; and there are ten weights and more for
each example. Fine-tuning of read weights is left alone, and so is what is not made of dense layers.
"""

from __future__ import annotations

from math import prod, sqrt

from joulewise.diagnosing.case import Case, Estimate, about
from joulewise.diagnosing.over_training import Curve, held_out_curve
from joulewise.diagnosing.overhead import CALL_S
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import Phase, ProcessView

_NARROWER = 4
_PERFECT = 0.98
_PER_EXAMPLE = 10.0
_EARLY = 0.2
_WEIGHTS = (".pt", ".pth", ".bin", ".ckpt", ".safetensors", ".npz")
_HIDDEN = 4 * _NARROWER  # a layer narrower than this is none that could be narrowed


def estimate(case: Case) -> list[Estimate]:
    """Return what a quarter of the width would have saved, for each training process whose task is solved at once."""
    return [found for view in case.trainers if (found := _of(view))]


def _of(view: ProcessView) -> Estimate | None:
    curve = held_out_curve(view)
    examples = view.dataset_items or 0
    weights = view.parameters or 0
    if curve is None or not examples or weights < _PER_EXAMPLE * examples or not _solved_at_once(curve, view):
        return None
    if any(f.path.endswith(_WEIGHTS) for f in view.files) or any(len(s) != 2 for s in view.shapes):
        return None
    arithmetic, moved = left(view.shapes)
    if arithmetic >= 1.0:
        return None
    fixed_s = CALL_S * view.steps
    cpu_s, wall_s = 0.0, 0.0
    for phase, share, calls in (
        (Phase.FORWARD, arithmetic, 1),
        (Phase.BACKWARD, arithmetic, 2),
        (Phase.VALIDATION, arithmetic, 0),
        (Phase.OPTIMISER, moved, 2),
    ):
        total = view.phase(phase)
        cpu_s += (1 - share) * max(0.0, total.cpu_s - calls * fixed_s)
        wall_s += (1 - share) * max(0.0, total.wall_s - calls * fixed_s)
    early = curve.values[max(0, int(_EARLY * len(curve.values)) - 1)]
    return Estimate(
        Cause.OVERSIZED_MODEL,
        about(cpu_s, 0.6 * cpu_s, 1.1 * cpu_s),
        about(wall_s, 0.6 * wall_s, 1.1 * wall_s),
        f"{curve.name} was {early:.4f} after a fifth of the epochs and {max(curve.values):.4f} at best, with {weights:,} weights "
        f"for {examples:,} examples",
        Remedy(
            RemedyKind.SETTING,
            f"a quarter of the width in the hidden layers ({_widths(view.shapes)}), then check {curve.name}",
        ),
        "a narrower model may lose a little: compare the held-out metric of a short run first",
        view.process,
        f"{view.process}:steps",
    )


def left(shapes: tuple[tuple[int, ...], ...]) -> tuple[float, float]:
    """Return which share of the arithmetic, and of the weights, dense layers keep at a quarter of the hidden width."""
    if not shapes:
        return 1.0, 1.0
    kept = 0.0
    for number, shape in enumerate(shapes):
        inner = [size >= _HIDDEN for size in shape]
        if number == 0:
            inner[1] = False  # the width of the input is given
        if number == len(shapes) - 1:
            inner[0] = False  # and that of the answer
        kept += prod(shape) / _NARROWER ** sum(inner)
    share = kept / sum(prod(shape) for shape in shapes)
    return share, share


def _solved_at_once(curve: Curve, view: ProcessView) -> bool:
    epochs = len(curve.values)
    if curve.sign < 0 or epochs < 3 or max(curve.values) > 1.0:
        return False
    items = max((e.items for e in view.evaluations), default=0)
    best = max(curve.values)
    noise = sqrt(max(best * (1 - best), 1e-4) / items) if items else 0.0
    first = curve.values[max(0, int(_EARLY * epochs) - 1)]
    return first >= _PERFECT and first >= best - max(2 * noise, 0.002)


def _widths(shapes: tuple[tuple[int, ...], ...]) -> str:
    hidden = [shape[0] for shape in shapes[:-1]]
    return ", ".join(f"{width // _NARROWER} instead of {width}" for width in dict.fromkeys(hidden))
