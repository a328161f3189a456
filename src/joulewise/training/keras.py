"""Stopping for Keras 3 (any backend): a callback in place of `EarlyStopping`.

model.fit(..., callbacks=[keras_callback(joulewise.stopping("val_accuracy", horizon=30, samples=5000))])
"""

from __future__ import annotations

from typing import Any

from joulewise.training.loop import Stopping
from joulewise.vocabulary.errors import UnknownName


def keras_callback(stopping: Stopping, *, restore: bool = True) -> Any:
    """Return a callback that feeds `stopping` its metric after each epoch and ends the fit when it says so.

    The metric goes by Keras's name for it (`val_loss`, `val_accuracy`). With `restore` the model has the weights of its
    best epoch afterwards.
    """
    from keras.callbacks import Callback

    class JoulewiseStopping(Callback):  # type: ignore[misc] # the framework's types are not looked at
        """Asks `stopping` after each epoch."""

        def __init__(self) -> None:
            super().__init__()
            self._best: Any = None

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            known = logs or {}
            if stopping.metric not in known:
                raise UnknownName("metric", stopping.metric, list(known), "give validation_data to fit")
            decision = stopping.update(epoch + 1, float(known[stopping.metric]))
            if restore and stopping.improved:
                self._best = self.model.get_weights()
            if decision.stops:
                self.model.stop_training = True

        def on_train_end(self, logs: Any = None) -> None:
            del logs
            if self._best is not None:
                self.model.set_weights(self._best)

    return JoulewiseStopping()
