"""The user's own metric, and how sure a drop of it is.

    accuracy, f1 (macro), r2, recall@K     the larger the better, 1 at best: a drop is told in points
    rmse, mae                              the smaller the better: a drop is told as a share of fp32's
    FILE.py:FUNCTION, MODULE:FUNCTION      function(outputs, targets) or function(outputs, targets, reference): a number for
                                           each row (their mean is the metric), or one number for all rows

recall@K is how many of a row's K nearest neighbours (cosine, among the rows) are those that fp32 gives: for embeddings, where
a cosine of 0.993 to fp32's vectors has changed one nearest neighbour in eight.

A metric here is a smooth function of means over rows, so both models are resampled with the same rows (Efron's bootstrap,
paired). For right-or-wrong rows the interval is Bonett and Price's (2012) for paired proportions, which is not zero where
no row differs; no interval of another metric between 0 and 1 is narrower than that one at its narrowest.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import runpy
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, Protocol

import numpy as np

from joulewise.compressing.data import Array
from joulewise.compressing.gates import Span
from joulewise.vocabulary.errors import UnknownName, UsageError

Outputs = Mapping[str, Array]
_Z = 1.6448536269514722  # of a two-sided 90 % interval
_DRAWS, _WHOLE_DRAWS, _AT_ONCE = 2000, 200, 100
LEAST_ROWS = 30
NAMES = ("accuracy", "f1", "r2", "rmse", "mae", "recall@10")


class Scored(Protocol):
    """A metric on given rows."""

    def value(self) -> float:
        """Return it over all rows."""

    def resampled(self, counts: Array) -> Array:
        """Return it for each line of `counts`: how often each row is drawn."""


@dataclass(frozen=True, slots=True)
class Means:
    """A function of the means of some numbers of each row; `binary` if it is the mean of rights and wrongs."""

    parts: Array  # rows x numbers
    fold: Callable[[Array], Array]  # (..., numbers) -> (...)
    binary: bool = False

    def value(self) -> float:
        """Return it over all rows."""
        return float(self.fold(self.parts.mean(0)))

    def resampled(self, counts: Array) -> Array:
        """Return it for each line of `counts`."""
        return self.fold(counts @ self.parts / len(self.parts))


@dataclass(frozen=True, slots=True)
class Whole:
    """The user's function that gives one number for all rows: it is called again for each drawing."""

    function: Callable[[Array], float]  # of places of rows
    rows: int

    def value(self) -> float:
        """Return it over all rows."""
        return self.function(np.arange(self.rows))

    def resampled(self, counts: Array) -> Array:
        """Return it for each line of `counts`."""
        return np.array([self.function(np.repeat(np.arange(self.rows), line)) for line in counts])


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric by its name: how outputs are scored, and what a drop means."""

    name: str
    score: Callable[[Outputs, Array | None, Outputs], Scored]  # outputs, targets, fp32's outputs
    lower_is_better: bool = False
    points: bool = True  # between 0 and 1: a percentage is points, not a share of fp32's value


@dataclass(frozen=True, slots=True)
class Compared:
    """What two models are worth on the same rows, and the drop from the first to the second (positive is worse)."""

    base: Span
    other: Span
    drop: Span


def compare(metric: Metric, base: Scored, other: Scored, rows: int, seed: int = 0) -> Compared:
    """Return both values and the drop, with 90 % intervals. Raises UsageError below thirty rows."""
    if rows < LEAST_ROWS:
        raise UsageError(f"{rows} rows are left to judge by, but at least {LEAST_ROWS} are needed")
    sign = 1.0 if metric.lower_is_better else -1.0
    one, two = base.value(), other.value()
    drop = sign * (two - one) + 0.0  # no -0
    if isinstance(base, Means) and isinstance(other, Means) and base.binary:
        return Compared(
            _wilson(one, rows), _wilson(two, rows), _bonett_price(base.parts[:, 0], other.parts[:, 0], drop)
        )
    draws = _DRAWS if isinstance(base, Means) else _WHOLE_DRAWS
    ones, twos = [], []
    generator = np.random.default_rng(seed)
    for _ in range(draws // _AT_ONCE):
        counts = generator.multinomial(rows, np.full(rows, 1 / rows), size=_AT_ONCE)
        ones.append(base.resampled(counts))
        twos.append(other.resampled(counts))
    first, second = np.concatenate(ones), np.concatenate(twos)
    least = _Z * sqrt(2) / (rows + 2) if metric.points else 0.0
    return Compared(
        _span(one, first, 0.0), _span(two, second, 0.0), _span(drop, sign * (second - first), least)
    )


def check_it_tells(metric: Metric, outputs: Outputs, targets: Array | None, seed: int = 0) -> None:
    """Refuse a metric that says the same of answers given to the wrong rows: it would let everything pass. Raises UsageError."""
    rows = len(next(iter(outputs.values())))
    drawn = np.random.default_rng(seed).permutation(rows)
    wrong = {name: values[drawn] for name, values in outputs.items()}
    right = metric.score(outputs, targets, outputs).value()
    if metric.score(wrong, targets, outputs).value() == right:
        several = f" (it is handed the outputs {', '.join(outputs)} by name)" if len(outputs) > 1 else ""
        raise UsageError(
            f"{metric.name} is {right:.4g} for fp32, and the same where answers are exchanged between rows: it cannot tell a good model "
            f"from a bad one{several}"
        )


def _span(value: float, drawn: Array, least: float) -> Span:
    low, high = np.percentile(drawn, (5, 95))
    return Span(value, float(min(low, value - least)), float(max(high, value + least)))


def _wilson(share: float, rows: int) -> Span:
    """Return a share with Wilson's interval."""
    centre = (share + _Z**2 / (2 * rows)) / (1 + _Z**2 / rows)
    arm = _Z * sqrt(share * (1 - share) / rows + _Z**2 / (4 * rows**2)) / (1 + _Z**2 / rows)
    return Span(share, min(share, max(0.0, centre - arm)), max(share, min(1.0, centre + arm)))


def _bonett_price(base: Array, other: Array, drop: float) -> Span:
    """Return the drop of a share of rights between paired rows, by Bonett and Price's adjusted interval."""
    rows = len(base)
    lost = (float(np.sum(base > other)) + 1) / (rows + 2)
    won = (float(np.sum(other > base)) + 1) / (rows + 2)
    arm = _Z * sqrt((lost + won - (lost - won) ** 2) / (rows + 2))
    return Span(drop, min(drop, lost - won - arm), max(drop, lost - won + arm))


def metric(name: str, *, lower_is_better: bool = False) -> Metric:
    """Return a metric by its name, or the user's function. Raises UsageError."""
    if ":" in name:
        return of_function(load(name), name, lower_is_better=lower_is_better)
    if lower_is_better:
        raise UsageError(
            f"whether lower is better is known of {name}; --lower-is-better is for a function of your own"
        )
    nearest = re.fullmatch(r"recall@(\d{1,4})", name)
    if nearest and int(nearest[1]) > 0:
        return Metric(name, lambda outputs, _targets, reference: _recall(outputs, reference, int(nearest[1])))
    if name not in _BUILT_IN:
        raise UnknownName("metric", name, NAMES, "or name a function of yours, FILE.py:FUNCTION")
    return _BUILT_IN[name]


def of_function(function: Callable[..., Any], name: str = "", *, lower_is_better: bool = False) -> Metric:
    """Return a metric of the user's function of outputs, targets and (if it takes three) fp32's outputs.

    A model with one output hands its array over, one with several a mapping by name.
    """
    takes = len(inspect.signature(function).parameters)
    title = name or getattr(function, "__name__", "metric")

    def score(outputs: Outputs, targets: Array | None, reference: Outputs) -> Scored:
        rows = len(next(iter(outputs.values())))

        def call(places: Array | slice) -> Any:
            told = (
                _plain(outputs, places),
                None if targets is None else targets[places],
                _plain(reference, places),
            )
            return np.asarray(function(*told[: min(takes, 3)]), dtype=np.float64)

        def whole(places: Array) -> float:
            return float(call(places))

        value = call(slice(None))
        if value.shape not in ((), (rows,)) or not np.all(np.isfinite(value)):
            raise UsageError(
                f"{title} gave {'numbers' if value.shape else 'a number'} of shape {value.shape}"
                f"{'' if np.all(np.isfinite(value)) else ', not all finite'}, but must give one finite number, or one for each of {rows} rows"
            )
        return Whole(whole, rows) if value.shape == () else Means(value[:, None], _only)

    return Metric(title, score, lower_is_better, points=not lower_is_better)


def load(name: str) -> Callable[..., Any]:
    """Return the function that MODULE:FUNCTION or FILE.py:FUNCTION names. Raises UsageError."""
    place, _, function = name.rpartition(":")
    if place.endswith(".py"):
        if not os.path.isfile(place):
            raise UsageError(f"there is no file {place!r}; the metric is given as FILE.py:FUNCTION")
        sys.path.insert(0, os.path.dirname(os.path.abspath(place)))
        held = runpy.run_path(place, run_name="joulewise_metric")
    else:
        sys.path.insert(0, os.getcwd())
        try:
            held = vars(importlib.import_module(place))
        except ModuleNotFoundError as error:
            raise UsageError(
                f"cannot import {error.name} for the metric {name!r}; give FILE.py:FUNCTION or MODULE:FUNCTION"
            ) from None
    found = held.get(function)
    if not callable(found):
        raise UnknownName(
            "function", function, [n for n, v in held.items() if callable(v) and n[0] != "_"], f"in {place}"
        )
    return found  # type: ignore[no-any-return]  # a callable of the user's


def _plain(outputs: Outputs, places: Array | slice) -> Any:
    taken = {name: values[places] for name, values in outputs.items()}
    return next(iter(taken.values())) if len(taken) == 1 else taken


def _only(means: Array) -> Array:
    return means[..., 0]


def _first(outputs: Outputs) -> tuple[str, Array]:
    return next(iter(outputs.items()))


def _needed(name: str, targets: Array | None) -> Array:
    if targets is None:
        raise UsageError(
            f"{name} needs what should come out: add it to the data as y, or name it with --target"
        )
    return targets


def _classes(name: str, outputs: Outputs, targets: Array | None) -> tuple[Array, Array]:
    """Return the classes that were answered and those that are right."""
    label, answers = _first(outputs)
    right = _needed(name, targets)
    if answers.dtype.kind == "f" and answers.ndim == 2 and answers.shape[1] > 1:
        answers = answers.argmax(1)
    if right.ndim == 2 and right.shape[1] > 1:  # one-hot
        right = right.argmax(1)
    right = right.reshape(len(right), -1)
    answers = answers.reshape(len(answers), -1)
    if answers.dtype.kind not in "iub" or answers.shape[1] != 1 or right.shape[1] != 1:
        raise UsageError(
            f"{name} needs classes, or a score for each class: output {label!r} is {outputs[label].dtype} of shape "
            f"{outputs[label].shape}, targets {right.shape}; name a function of yours, FILE.py:FUNCTION"
        )
    return answers[:, 0], right[:, 0]


def _accuracy(outputs: Outputs, targets: Array | None, _reference: Outputs) -> Scored:
    answers, right = _classes("accuracy", outputs, targets)
    return Means((answers == right).astype(np.float64)[:, None], _only, binary=True)


def _f1(outputs: Outputs, targets: Array | None, _reference: Outputs) -> Scored:
    answers, right = _classes("f1", outputs, targets)
    classes = np.unique(right)
    said, true = answers[:, None] == classes, right[:, None] == classes
    parts = np.concatenate([said & true, said, true], axis=1).astype(np.float64)

    def fold(means: Array) -> Array:
        hit, told, are = np.split(means, 3, axis=-1)
        return np.asarray(np.mean(2 * hit / np.maximum(told + are, 1e-12), axis=-1))

    return Means(parts, fold)


def _numbers(name: str, outputs: Outputs, targets: Array | None) -> tuple[Array, Array]:
    label, answers = _first(outputs)
    right = _needed(name, targets).astype(np.float64).reshape(len(answers), -1)
    told = answers.astype(np.float64).reshape(len(answers), -1)
    if told.shape != right.shape:
        raise UsageError(
            f"{name}: output {label!r} has shape {answers.shape}, but the targets have {right.shape}"
        )
    return told, right


def _rmse(outputs: Outputs, targets: Array | None, _reference: Outputs) -> Scored:
    told, right = _numbers("rmse", outputs, targets)
    return Means(np.mean((told - right) ** 2, axis=1, keepdims=True), lambda means: np.sqrt(means[..., 0]))


def _mae(outputs: Outputs, targets: Array | None, _reference: Outputs) -> Scored:
    told, right = _numbers("mae", outputs, targets)
    return Means(np.mean(np.abs(told - right), axis=1, keepdims=True), _only)


def _r2(outputs: Outputs, targets: Array | None, _reference: Outputs) -> Scored:
    told, right = _numbers("r2", outputs, targets)
    centred = right - right.mean(0)
    parts = np.stack([np.sum((told - right) ** 2, 1), np.sum(centred**2, 1)], axis=1)
    return Means(parts, lambda means: 1 - means[..., 0] / np.maximum(means[..., 1], 1e-300))


def _recall(outputs: Outputs, reference: Outputs, k: int) -> Scored:
    label, vectors = _first(outputs)
    if vectors.ndim != 2 or len(vectors) <= k:
        raise UsageError(
            f"recall@{k} needs a vector for each of more than {k} rows; output {label!r} has shape {vectors.shape}"
        )
    ours, theirs = nearest(vectors, k), nearest(_first(reference)[1], k)
    shared = [len(np.intersect1d(a, b, assume_unique=True)) / k for a, b in zip(ours, theirs, strict=True)]
    return Means(np.array(shared)[:, None], _only)


def nearest(vectors: Array, k: int) -> Array:
    """Return the places of each row's k nearest other rows by cosine."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    found = []
    for first in range(0, len(unit), 1024):
        likeness = unit[first : first + 1024] @ unit.T
        likeness[np.arange(len(likeness)), np.arange(first, first + len(likeness))] = -np.inf
        found.append(np.argpartition(-likeness, k - 1, axis=1)[:, :k])
    return np.concatenate(found)


_BUILT_IN = {
    "accuracy": Metric("accuracy", _accuracy),
    "f1": Metric("f1", _f1),
    "r2": Metric("r2", _r2),
    "rmse": Metric("rmse", _rmse, lower_is_better=True, points=False),
    "mae": Metric("mae", _mae, lower_is_better=True, points=False),
}
