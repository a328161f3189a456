"""Stopping for Lightning: a callback in place of `EarlyStopping`, for `lightning` and `pytorch_lightning`.

    Trainer(callbacks=[lightning_callback(joulewise.stopping("val_loss", horizon=30))])

Steps are epochs, as Lightning counts them from 1. Under DDP rank 0 decides and all ranks do as it says.
"""

from __future__ import annotations

import copy
from typing import Any

from joulewise.training.loop import Stopping
from joulewise.vocabulary.errors import UnknownName


def lightning_callback(stopping: Stopping, *, restore: bool = True) -> Any:
    """Return a callback that feeds `stopping` its metric after each validation and ends the fit when it says so.

    The metric goes by the name under which the module logs it. With `restore` the weights of the best validation are
    back in the module at the end of the fit; they are kept in memory until then.
    """
    try:
        from lightning.pytorch.callbacks import Callback
    except ModuleNotFoundError:
        from pytorch_lightning.callbacks import Callback

    class JoulewiseStopping(Callback):  # type: ignore[misc] # the framework's types are not looked at
        """Asks `stopping` after each validation."""

        def __init__(self) -> None:
            self._best: Any = None

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            if trainer.sanity_checking or trainer.state.fn != "fit":
                return
            metrics = trainer.callback_metrics
            if stopping.metric not in metrics:
                raise UnknownName("metric", stopping.metric, list(metrics), "log it in validation_step")
            value = trainer.strategy.broadcast(float(metrics[stopping.metric]))
            decision = stopping.update(trainer.current_epoch + 1, value)
            if restore and stopping.improved:
                self._best = copy.deepcopy(pl_module.state_dict())
            if decision.stops:
                trainer.should_stop = True

        def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
            del trainer
            if self._best is not None:
                pl_module.load_state_dict(self._best)

    return JoulewiseStopping()
