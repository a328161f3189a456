"""Stopping for XGBoost: a callback for `xgboost.train` and the estimators, in place of `EarlyStopping`.

    xgboost.train(..., evals=[(held_out, "valid")], callbacks=[xgboost_callback(stopping)])

The booster keeps all its rounds and knows the best one as `best_iteration`, with which XGBoost's estimators predict.
"""

from __future__ import annotations

from typing import Any

from joulewise.training.loop import Stopping
from joulewise.vocabulary.errors import UnknownName


def xgboost_callback(stopping: Stopping, data: str | None = None) -> Any:
    """Return a callback that feeds `stopping` its metric after each round and ends the training when it says so.

    `data` names the validation set among `evals`; None takes the last that has the metric, as XGBoost does. The metric
    goes by XGBoost's own name for it (`logloss`, `auc`, `rmse`).
    """
    from xgboost.callback import TrainingCallback

    class Callback(TrainingCallback):  # type: ignore[misc, unused-ignore] # untyped where xgboost is not installed
        """Asks `stopping` after each boosting round."""

        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            found = [
                history[stopping.metric][-1]
                for name, history in evals_log.items()
                if stopping.metric in history and data in (None, name)
            ]
            if not found:
                known = {metric for history in evals_log.values() for metric in history}
                raise UnknownName("metric", stopping.metric, known, "give a validation set in evals")
            last = found[-1]
            decision = stopping.update(epoch + 1, last[0] if isinstance(last, tuple) else last)
            best = stopping.curve.best
            if best is not None:
                model.set_attr(
                    best_iteration=str(int(stopping.curve.steps[best]) - 1),
                    best_score=str(stopping.curve.values[best]),
                )
            return decision.stops

    return Callback()
