"""The quality of a run, as its own program measured it: the held-out metric at its end.

Two runs are of equal quality where their metrics differ by no more than the noise of a score over its items (two
standard errors of the difference, at least 0.005), or by 5 % of a loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from statistics import fmean

from joulewise.diagnosing.over_training import held_out_curve
from joulewise.vocabulary.observed import ProcessView
from joulewise.vocabulary.student import t95

_LEAST = 0.005
_LOSS = 0.05
_FITS = ("fit", "fit_transform", "fit_predict", "partial_fit")


@dataclass(frozen=True, slots=True)
class Quality:
    """A metric at the end of a run; `sign` is 1 where more is better, -1 for a loss; `items` it was taken over, if known."""

    name: str
    value: float
    sign: float
    items: int | None = None


def quality(views: Sequence[ProcessView], logged: Iterable[Mapping[str, object]] = ()) -> Quality | None:
    """Return a run's best held-out metric, from what the agent saw or the program logged; None if neither tells."""
    for view in sorted(views, key=lambda v: -v.steps):
        curve = held_out_curve(view)
        if curve is not None:
            items = max((e.items for e in view.evaluations), default=0) or None
            return Quality(curve.name, curve.sign * max(curve.values), curve.sign, items)
    best: Quality | None = None
    for values in logged:
        for name, value in values.items():
            sign = _sign(name)
            if sign and isinstance(value, int | float) and not isinstance(value, bool):
                found = Quality(name, float(value), sign)
                if best is None or found.name != best.name or sign * found.value > sign * best.value:
                    best = found
    return best or _scored(views)


def _scored(views: Sequence[ProcessView]) -> Quality | None:
    """Return the best score that an estimator of scikit-learn's kind told of rows that none was fitted on; more is better there."""
    fitted = {p.fingerprint for view in views for p in view.preparations if p.method in _FITS}
    told = [
        p for view in views for p in view.preparations if p.score is not None and p.fingerprint not in fitted
    ]
    best = max(told, key=lambda p: p.score or 0.0, default=None)
    return (
        None if best is None or best.score is None else Quality("score", best.score, 1.0, best.rows or None)
    )


def _sign(name: str) -> float:
    low = name.lower()
    if "train" in low:
        return 0.0
    if any(word in low for word in ("acc", "f1", "auc", "score", "bleu", "iou")):
        return 1.0
    return -1.0 if low.startswith(("val", "test", "eval")) and "loss" in low else 0.0


def equal(before: Quality | None, after: Quality | None) -> bool | None:
    """Say whether the later run is at least as good within the noise; None where they cannot be compared."""
    if before is None or after is None or before.name != after.name:
        return None
    worse = before.sign * (before.value - after.value)
    if before.sign > 0 and 0 <= before.value <= 1:
        items = min(q.items for q in (before, after) if q.items) if before.items and after.items else None
        spread = sqrt(2 * max(before.value * (1 - before.value), 1e-4) / items) if items else _LEAST
        return worse <= max(_LEAST, 2 * spread)
    return worse <= _LOSS * abs(before.value)


def equal_over(before: Sequence[Quality | None], after: Sequence[Quality | None]) -> tuple[bool | None, str]:
    """Say whether the later runs are at least as good as the earlier, over repeats, and with what figures.

    A mean that is lower by more than the noise of the repeats (Student's t, 90 %) and by more than `equal` allows is
    lower. None where a run has no quality or they are of different metrics.
    """
    ones, others = ([q for q in side if q is not None] for side in (before, after))
    if len(ones) < len(before) or len(others) < len(after) or not ones or not others:
        return None, "no held-out metric was seen in every run"
    names = {q.name for q in (*ones, *others)}
    if len(names) > 1:
        return None, f"the runs name different metrics: {', '.join(sorted(names))}"
    means = [fmean(q.value for q in side) for side in (ones, others)]
    words = f"{ones[0].name} {means[0]:.4g} before, {means[1]:.4g} after"
    same = equal(replace(ones[0], value=means[0]), replace(others[0], value=means[1]))
    freedom = len(ones) + len(others) - 2
    if same is False and freedom > 0:
        squares = sum((q.value - m) ** 2 for side, m in zip((ones, others), means, strict=True) for q in side)
        noise = t95(freedom) * sqrt(squares / freedom * (1 / len(ones) + 1 / len(others)))
        same = ones[0].sign * (means[0] - means[1]) <= noise
    return same, words
