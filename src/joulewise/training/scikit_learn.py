"""Stopping for scikit-learn estimators that learn by `partial_fit` (SGDClassifier, MLPClassifier, naive Bayes ...).

Nothing of scikit-learn is imported: anything with `partial_fit` and `score` will do.
"""

from __future__ import annotations

import random
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from joulewise.curves.curve import Curve
from joulewise.training.loop import Stopping
from joulewise.training.stopping import Decision
from joulewise.vocabulary.errors import UsageError


class Learner(Protocol):
    """What learns from one batch after another and can be scored."""

    def partial_fit(self, x: Any, y: Any, **more: Any) -> Any:
        """Learn from one batch."""

    def score(self, x: Any, y: Any) -> float:
        """Return the quality on data that it did not learn from."""


Estimator = TypeVar("Estimator", bound=Learner)


@dataclass(frozen=True, slots=True)
class Fitted(Generic[Estimator]):
    """The estimator as it was at its best evaluation, why training ended, and the curve to replay."""

    estimator: Estimator
    decision: Decision
    curve: Curve


def fit_partial(
    estimator: Estimator,
    x: Any,
    y: Any,
    validation: tuple[Any, Any],
    stopping: Stopping,
    *,
    epochs: int,
    batch_size: int = 256,
    seed: int = 0,
    **first_call: Any,
) -> Fitted[Estimator]:
    """Train by shuffled batches until `stopping` says stop or `epochs` are over; return the best state.

    `x` and `y` are arrays that take a list of rows. `first_call` goes to the first `partial_fit` (`classes=...`). The
    estimator that is passed goes on to the last epoch; the best state is a copy of its own.
    """
    if not hasattr(estimator, "partial_fit"):
        raise UsageError(
            f"{type(estimator).__name__} has no partial_fit: it cannot be stopped between two batches"
        )
    for name, number in (("epochs", epochs), ("batch_size", batch_size)):
        if number < 1:
            raise UsageError(f"{name} is {number}, but must be at least 1")
    rows = list(range(len(y)))
    shuffle = random.Random(seed).shuffle  # noqa: S311 - the order of the batches, no secret
    best = estimator
    for epoch in range(1, epochs + 1):
        shuffle(rows)
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            estimator.partial_fit(x[batch], y[batch], **first_call)
            first_call = {}
        decision = stopping.update(epoch, estimator.score(*validation))
        if stopping.improved:
            best = deepcopy(estimator)
        if decision.stops:
            break
    return Fitted(best, stopping.decision, stopping.curve)
