"""Over-training: epochs after the last one that improved the result.

Counterfactual: the run's own validation curve is replayed under early stopping with a patience of six epochs; saved
are the epochs after the stop. The whole schedule is in view, because the run has finished: if any later epoch (after a
learning-rate drop, at the end of a cosine) beat what the stop would have kept, the stop is refused, and a learning
rate that is still above a fifth of its peak in a falling schedule at the stop refuses it as well.

Only a metric of data that was not trained on counts: named like one (`val_`, `test_`, `dev_`, `eval_`), or any accuracy
or score in a program that evaluates at least once an epoch. A training loss says nothing here.
Rounds of boosting (XGBoost, LightGBM) are replayed alike, by the last metric of the last evaluated set, as their own early stopping
takes it: patience thirty rounds, between ten and fifty.
A run that ended within ten epochs of its best, or exactly a usual patience after it, has stopped early by itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from joulewise.diagnosing.case import (
    Case,
    Estimate,
    about,
    epochs_made,
    loop_cpu_s,
    loop_wall_s,
    step_cpu_s,
    step_wall_s,
)
from joulewise.vocabulary.finding import Cause, Remedy, RemedyKind
from joulewise.vocabulary.library_calls import Boosting
from joulewise.vocabulary.observed import Phase, ProcessView

PATIENCE = 6
_ROUNDS = (10, 30, 50)
_RATES = ("lr", "learning_rate", "rate", "eta")
_MORE = re.compile(r"^(auc|aucpr|map|ndcg|pre|average_precision|acc|f1|r2)", re.IGNORECASE)
_OWN_PATIENCE = 10
_USUAL_PATIENCES = (12, 15, 20, 25, 30)
_HELD_OUT = re.compile(
    r"^(val|valid|validation|test|dev|eval|heldout|holdout)(_|$)|_(val|valid|test|dev|eval)$"
)
_SCORES = re.compile(r"acc|f1|auc|score|iou|map|bleu|rouge|r2|hit|recall|precision", re.IGNORECASE)
_LOSSES = re.compile(r"loss|err|perplexity|ppl|mse|mae|rmse|nll|bits", re.IGNORECASE)
_NOT = re.compile(r"train|best|total|running|mean_time|time", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Curve:
    """A held-out metric by epoch: larger is better (`values` of a loss are negated)."""

    name: str
    values: tuple[float, ...]
    times_s: tuple[float, ...]
    sign: float


def estimate(case: Case) -> list[Estimate]:
    """Return what the epochs after an early stop took, for each training process."""
    return [
        found
        for view in case.views
        for found in (_of(view) if view.steps else _by_hand(view), _boosted(view))
        if found
    ]


def _of(view: ProcessView) -> Estimate | None:
    curve = held_out_curve(view)
    if curve is None or view.early_stop:
        return None
    if (epochs_made(view) or 0) > 1.2 * len(
        curve.values
    ) + 1:  # several models: this is the curve of the last
        return None
    epochs = len(curve.values)
    best = max(range(epochs), key=lambda e: curve.values[e])
    if stopped_by_itself(epochs, best):
        return None
    stops = [stop for p in (4, PATIENCE, 10) if (stop := early_stop(curve.values, p)) is not None]
    stop = early_stop(curve.values, PATIENCE)
    if stop is None or not stops or _lost(curve, stop, view) or _pending(view, stop / epochs):
        return None
    cpu_s, wall_s = _training(view)

    def saved(seconds: float, at: int) -> float:
        return seconds * (epochs - 1 - at) / epochs

    kept = max(curve.values[: stop + 1])
    digits = 4 if abs(kept) < 10 else 2
    return Estimate(
        Cause.OVER_TRAINING,
        about(saved(cpu_s, stop), 0.95 * saved(cpu_s, max(stops)), 1.05 * saved(cpu_s, min(stops))),
        about(saved(wall_s, stop), 0.9 * saved(wall_s, max(stops)), 1.1 * saved(wall_s, min(stops))),
        f"{curve.name} was {curve.sign * kept:.{digits}f} after {stop + 1} of {epochs} epochs; the other "
        f"{epochs - 1 - stop} made it {curve.sign * max(curve.values):.{digits}f}",
        Remedy(
            RemedyKind.SETTING,
            f"stop when {curve.name} has not improved for {PATIENCE} epochs; keep the best weights",
        ),
        f"{curve.name} within its noise of the full run's best; an unlucky curve may stop too soon",
        view.process,
        f"{view.process}:epochs",
    )


def _by_hand(view: ProcessView) -> Estimate | None:
    """Return what the epochs after an early stop took in a program without a framework, by the times of its own lines."""
    curve = held_out_curve(view)
    if curve is None or view.early_stop or len(curve.values) < 3:
        return None
    epochs = len(curve.values)
    best = max(range(epochs), key=lambda e: curve.values[e])
    stops = [stop for p in (4, PATIENCE, 10) if (stop := early_stop(curve.values, p)) is not None]
    stop = early_stop(curve.values, PATIENCE)
    if (
        stopped_by_itself(epochs, best)
        or stop is None
        or _lost(curve, stop, view)
        or _rate_pends(view, stop, epochs)
    ):
        return None
    aside = view.phase(Phase.IMPORT)
    wall_s = view.duration_s - aside.wall_s - view.tail_wall_s
    cpu_s = view.cpu_s - aside.cpu_s - view.tail_cpu_s
    each = (curve.times_s[-1] - curve.times_s[0]) / (epochs - 1) / wall_s if wall_s > 0 else 0.0
    least, usual, most = (each * (epochs - 1 - at) for at in (max(stops), stop, min(stops)))
    kept = max(curve.values[: stop + 1])
    return Estimate(
        Cause.OVER_TRAINING,
        about(usual * cpu_s, 0.9 * least * cpu_s, 1.1 * most * cpu_s),
        about(usual * wall_s, 0.9 * least * wall_s, 1.1 * most * wall_s),
        f"{curve.name} was {curve.sign * kept:.4f} after {stop + 1} of {epochs} epochs; the other "
        f"{epochs - 1 - stop} made it {curve.sign * max(curve.values):.4f}",
        Remedy(
            RemedyKind.SETTING,
            f"stop when {curve.name} has not improved for {PATIENCE} epochs; keep the best weights",
        ),
        f"{curve.name} within its noise of the full run's best; an unlucky curve may stop too soon",
        view.process,
        f"{view.process}:epochs",
    )


def _rate_pends(view: ProcessView, stop: int, epochs: int) -> bool:
    """Say whether a rate that the program names, and that its schedule brings down, was still to come down."""
    rates = [
        (p.epoch if p.epoch is not None else n, v)
        for n, p in enumerate(view.curve)
        for k, v in p.values.items()
        if k.lower() in _RATES
    ]
    first = min((e for e, _ in rates), default=0.0)
    then = [v for e, v in rates if e - first <= stop]
    later = [v for e, v in rates if e - first > stop]
    if not then or not later or epochs < 2:
        return False
    return then[-1] > 0.2 * max(v for _, v in rates) and min(later) < 0.2 * then[-1]


def _boosted(view: ProcessView) -> Estimate | None:
    """Return what the rounds after an early stop took, of all trainings of boosters in the process."""
    low = value = high = wall_s = 0.0
    told: list[tuple[float, str]] = []
    for one in view.boostings:
        stops = _rounds(one)
        if stops is None:
            continue
        (soon, usual, late), words = stops
        low += 0.9 * one.cpu_s * (1 - late / one.rounds)
        value += 0.97 * one.cpu_s * (1 - usual / one.rounds)
        high += one.cpu_s * (1 - soon / one.rounds)
        wall_s += 0.97 * one.wall_s * (1 - usual / one.rounds)
        told.append((one.cpu_s * (1 - usual / one.rounds), words))
    if not told:
        return None
    others = f" (and {len(told) - 1} more trainings)" if len(told) > 1 else ""
    return Estimate(
        Cause.OVER_TRAINING,
        about(value, low, high),
        about(wall_s, 0.8 * wall_s, 1.1 * wall_s),
        max(told)[1] + others,
        Remedy(
            RemedyKind.SETTING,
            f"early_stopping_rounds={_ROUNDS[1]} on the held-out set that is evaluated already",
        ),
        "the metric within its noise of the full run's best; an unlucky curve may stop too soon",
        view.process,
        f"{view.process}:rounds",
    )


def _rounds(one: Boosting) -> tuple[tuple[int, int, int], str] | None:
    """Return after how many rounds a booster stops with a patience of ten, thirty and fifty, and what it shows; None: never, or too soon."""
    if one.stops or not any(one.curves.values()) or one.trains[-1]:
        return None
    name = list(one.curves)[-1]
    sign = 1.0 if _MORE.match(name) else -1.0
    values = [sign * v for v in one.curves[name]]
    stops = []
    for patience in _ROUNDS:
        stop = early_stop(values, max(2, round(patience / one.every)))
        stops.append(one.rounds if stop is None else min(one.rounds, (stop + 1) * one.every))
    kept, final = max(values[: -(-stops[1] // one.every)]), max(values)
    noise = 0.01 * abs(final)
    if sign > 0 and 0 <= final <= 1:
        noise = 0.5 * sqrt(max(final * (1 - final), 1e-4) / max(1, one.set_rows[-1]))
    if stops[1] >= one.rounds or final - kept > noise:
        return None
    words = (
        f"{name} of the held-out {one.set_rows[-1]} rows was {sign * kept:.4f} after {stops[1]} of {one.rounds} rounds; "
        f"the others made it {sign * final:.4f}, and {sign * values[-1]:.4f} at the end"
    )
    return (stops[0], stops[1], stops[2]), words


def held_out_curve(view: ProcessView) -> Curve | None:
    """Return the metric by epoch that decides: one value per epoch of data not trained on; None if there is none."""
    if not view.epochs or view.epochs < 3:
        return None
    series: dict[str, dict[float, tuple[float, float]]] = {}
    for point in view.curve:
        for name, value in point.values.items():
            when = point.epoch if point.epoch is not None else float(point.step)
            series.setdefault(name, {})[when] = (point.t_s, value)  # the last of an epoch is its own
    evaluates = view.evaluation_calls >= view.epochs - 1
    candidates: list[tuple[tuple[int, int], Curve]] = []
    for name, by_epoch in series.items():
        low = name.lower()
        leaf = re.split(r"[./]", low)[-1]
        held = bool(_HELD_OUT.search(leaf))
        score, loss = bool(_SCORES.search(leaf)), bool(_LOSSES.search(leaf))
        if _NOT.search(leaf) or not (score or loss) or not (held or (evaluates and score)):
            continue
        values = _filled(by_epoch, view.epochs if evaluates else 0)
        if not 0.9 * view.epochs <= len(values) <= 1.1 * view.epochs + 1:
            continue
        sign = 1.0 if score else -1.0
        curve = Curve(name, tuple(sign * v for _, v in values), tuple(t for t, _ in values), sign)
        candidates.append(((int(held), int(score)), curve))
    return max(candidates, key=lambda c: c[0])[1] if candidates else None


def _filled(by_epoch: dict[float, tuple[float, float]], epochs: int) -> list[tuple[float, float]]:
    """Return (time, value) of every epoch: the agent tells a value when it has changed, so a missing one was the last again.

    `epochs` is how many there were where every one was evaluated, else 0: then nothing is said of those after the last value.
    """
    told = sorted(by_epoch)
    if not told or any(e != int(e) for e in told):
        return list(by_epoch.values())
    first, last = int(told[0]), int(told[-1])
    last = max(last, first + epochs - 1)
    if not len(told) < last - first + 1 <= (4 if epochs else 2) * len(told):
        return list(by_epoch.values())
    filled = [by_epoch[told[0]]]
    for epoch in range(first + 1, last + 1):
        filled.append(by_epoch.get(float(epoch), filled[-1]))
    return filled


def early_stop(values: Sequence[float], patience: int) -> int | None:
    """Return the epoch (from 0) at which early stopping with this patience ends; None if it never does."""
    best, since = float("-inf"), 0
    for epoch, value in enumerate(values):
        if value > best:
            best, since = value, 0
        else:
            since += 1
            if since >= patience:
                return epoch
    return None


def stopped_by_itself(epochs: int, best: int) -> bool:
    """Say whether a run of so many epochs with its best there looks like one that stopped early by itself."""
    after = epochs - 1 - best
    return after <= _OWN_PATIENCE or (after in _USUAL_PATIENCES and epochs % 5 != 0)


def _lost(curve: Curve, stop: int, view: ProcessView) -> bool:
    """Say whether later epochs improved the metric beyond its noise: a tenth of its rise, or half a standard error."""
    kept, final = max(curve.values[: stop + 1]), max(curve.values)
    items = max((e.items for e in view.evaluations), default=0)
    if curve.sign > 0 and 0 <= final <= 1 and items:
        noise = max(0.5 * sqrt(max(final * (1 - final), 1e-4) / items), 1e-4)
    elif curve.sign > 0 and 0 <= final <= 1:  # of how many items is not known: of many
        noise = 0.002
    else:
        noise = 0.01 * abs(final)
    return final - kept > noise


def _pending(view: ProcessView, progress: float) -> bool:
    """Say whether the schedule still had its work to do at that share of the run.

    The rate then was above a fifth of its peak, and came down to under a fifth of what it was: the drop was pending.
    """
    rates = max((o.rates for o in view.optimisers), key=len, default=())
    if len(rates) < 2 or not view.steps:
        return False
    then = [rate for step, rate in rates if step <= progress * view.steps]
    later = [rate for step, rate in rates if step > progress * view.steps]
    peak = max(rate for _, rate in rates)
    return bool(then and later) and then[-1] > 0.2 * peak and min(later) < 0.2 * then[-1]


def _training(view: ProcessView) -> tuple[float, float]:
    """Return CPU and wall seconds of what comes back every epoch."""
    phases = (Phase.VALIDATION, Phase.CHECKPOINT, Phase.LOGGING)
    cpu_s = step_cpu_s(view) + loop_cpu_s(view) + sum(view.phase(p).cpu_s for p in phases)
    wall_s = step_wall_s(view) + loop_wall_s(view) + sum(view.phase(p).wall_s for p in phases)
    after = [e for e in view.evaluations if e.step >= view.steps][
        1:
    ]  # the last epoch's own is one of the curve
    return cpu_s - sum(e.cpu_s for e in after), wall_s - sum(e.wall_s for e in after)
