"""Stopping for Hugging Face's Trainer: a callback in place of `EarlyStoppingCallback`.

    Trainer(..., callbacks=[transformers_callback(joulewise.stopping("eval_loss", horizon=3000))])

Steps are the Trainer's own (`state.global_step`), so give `horizon` in steps. The Trainer runs it on every rank with the
same metrics. `load_best_model_at_end=True` restores the best weights, as it always does. A loop of Accelerate asks
`stopping.update` itself, with a metric gathered over all ranks.
"""

from __future__ import annotations

from typing import Any

from joulewise.training.loop import Stopping
from joulewise.vocabulary.errors import UnknownName


def transformers_callback(stopping: Stopping) -> Any:
    """Return a callback that feeds `stopping` its metric after each evaluation and ends the training when it says so.

    The metric goes by the Trainer's name for it, with or without `eval_`.
    """
    from transformers import TrainerCallback

    class JoulewiseStopping(TrainerCallback):  # type: ignore[misc] # the framework's types are not looked at
        """Asks `stopping` after each evaluation."""

        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **_more: Any) -> Any:
            del args
            known = metrics or {}
            name = stopping.metric if stopping.metric in known else f"eval_{stopping.metric}"
            if name not in known:
                raise UnknownName("metric", stopping.metric, list(known), "return it from compute_metrics")
            seen = stopping.curve.steps
            if seen and state.global_step <= seen[-1]:
                return control  # evaluated twice at one step, as at the end of a training
            if stopping.update(state.global_step, float(known[name])).stops:
                control.should_training_stop = True
            return control

    return JoulewiseStopping()
