"""Stopping for LightGBM: a callback for `lightgbm.train` and the estimators' `fit`, in place of its early stopping.

    lightgbm.train(..., valid_sets=[held_out], callbacks=[lightgbm_callback(stopping)])

LightGBM then predicts with the best iteration, as after its own early stopping.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from joulewise.training.loop import Stopping
from joulewise.vocabulary.errors import UnknownName


def lightgbm_callback(stopping: Stopping, data: str | None = None) -> Callable[[Any], None]:
    """Return a callback that feeds `stopping` its metric after each iteration and ends the training when it says so.

    `data` names the validation set (LightGBM's `valid_0` unless named); None takes the first that has the metric and
    is not the training set. The metric goes by LightGBM's own name for it (`binary_logloss`, `auc`, `l2`).
    """

    def after_iteration(env: Any) -> None:
        from lightgbm.callback import EarlyStopException

        results = [(r[0], r[1], r[2]) for r in env.evaluation_result_list]
        found = [
            value
            for name, metric, value in results
            if metric == stopping.metric and (name == data if data is not None else name != "training")
        ]
        if not found:
            raise UnknownName(
                "metric", stopping.metric, [metric for _, metric, _ in results], "give a validation set"
            )
        decision = stopping.update(env.iteration + 1, found[0])
        if decision.stops:
            best = stopping.curve.best or 0
            raise EarlyStopException(int(stopping.curve.steps[best]) - 1, env.evaluation_result_list)

    after_iteration.order = 30  # type: ignore[attr-defined] # LightGBM's slot for early stopping: after it has evaluated
    return after_iteration
