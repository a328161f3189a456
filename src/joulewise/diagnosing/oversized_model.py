"""A model larger than its task needs: far more weights than examples, and nothing left to learn with them.

Counterfactual: the same layers at a quarter of their width. What a dense layer computes goes with the product of its two
sides: hidden layers fall to a sixteenth, the first and last to a quarter (of convolutions the share of each layer is not known:
between the two); an optimiser's work goes with the weights. A call of the framework costs what it did. Saved is the rest, for
the same steps.

That a smaller model would do cannot be settled by watching; it is said where the signs agree, and says that a short run must
confirm it. Either the task was solved at once: the held-out metric stood within its noise of perfect, and of its best, after the
first fifth of the epochs, with ten weights and more for each example. Or the examples were learnt by heart: the training loss
fell to a tenth while the held-out metric had its best in the first half, with a hundred weights and more for each example.
Fine-tuning of read weights is left alone.
"""

from __future__ import annotations

from math import prod, sqrt
from statistics import mean

from joulewise.diagnosing.case import Case, Estimate, about
from joulewise.diagnosing.over_training import Curve, held_out_curve
from joulewise.diagnosing.overhead import CALL_S
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.observed import Phase, ProcessView

_NARROWER = 4
_PERFECT = 0.98
_SOLVED_PER_EXAMPLE, _BY_HEART_PER_EXAMPLE = 10.0, 100.0
_BY_HEART = 0.1  # of the first training loss
_EARLY = 0.2
_LEAST_EPOCHS = 3
_CONVOLVED = 0.16  # between a sixteenth and a quarter
_WEIGHTS = (".pt", ".pth", ".bin", ".ckpt", ".safetensors", ".npz")
_HIDDEN = 4 * _NARROWER  # a layer narrower than this is none that could be narrowed


def estimate(case: Case) -> list[Estimate]:
    """Return what a quarter of the width would have saved, for each training process whose task is solved at once."""
    return [found for view in case.trainers if (found := _of(view))]


def _of(view: ProcessView) -> Estimate | None:
    curve = held_out_curve(view)
    examples = view.dataset_items or 0
    weights = view.parameters or 0
    if curve is None or not examples or len(curve.values) < _LEAST_EPOCHS:
        return None
    solved = weights >= _SOLVED_PER_EXAMPLE * examples and _solved_at_once(curve, view)
    by_heart = weights >= _BY_HEART_PER_EXAMPLE * examples and _learnt_by_heart(curve, view)
    if not (solved or by_heart) or any(f.path.endswith(_WEIGHTS) for f in view.files):
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
        f"{curve.name} was {curve.sign * early:.4f} after a fifth of the epochs and {curve.sign * max(curve.values):.4f} at best, "
        f"with {weights:,} weights for {examples:,} examples{', which it learnt by heart' if by_heart else ''}",
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
        kept += prod(shape) / _NARROWER ** sum(inner[:2])
    share = kept / sum(prod(shape) for shape in shapes)
    dense = all(len(shape) == 2 for shape in shapes)
    return share if dense or share >= 1.0 else _CONVOLVED, share


def _solved_at_once(curve: Curve, view: ProcessView) -> bool:
    if curve.sign < 0 or max(curve.values) > 1.0:
        return False
    first = curve.values[max(0, int(_EARLY * len(curve.values)) - 1)]
    return first >= _PERFECT and first >= max(curve.values) - _noise(curve, view)


def _learnt_by_heart(curve: Curve, view: ProcessView) -> bool:
    losses = [p.values["loss"] for p in view.curve if "loss" in p.values]
    tenth = len(losses) // 10
    if tenth < 1 or mean(losses[-tenth:]) > _BY_HEART * mean(losses[:tenth]):
        return False
    half = curve.values[: len(curve.values) // 2]
    return max(half) >= max(curve.values) - _noise(curve, view)


def _noise(curve: Curve, view: ProcessView) -> float:
    """Return two standard errors of a score over the items that it was taken over; a hundredth of a loss."""
    best = max(curve.values)
    items = max((e.items for e in view.evaluations), default=0)
    if curve.sign < 0 or best > 1.0:
        return 0.01 * abs(best)
    return max(2 * sqrt(max(best * (1 - best), 1e-4) / items) if items else 0.0, 0.002)


def _widths(shapes: tuple[tuple[int, ...], ...]) -> str:
    hidden = [shape[0] for shape in shapes[:-1]]
    return ", ".join(f"{width // _NARROWER} instead of {width}" for width in dict.fromkeys(hidden))
