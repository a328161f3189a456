"""Early stopping by the framework's own means, where it offers one, data are held out, and none is on yet.

XGBoost and LightGBM stop after rounds without improvement and predict with the best; Keras stops and restores the best
weights; Lightning stops on `val_loss`; the Trainer of Transformers stops where it loads the best model at the end. A
plain loop offers no stop.
Loaded inside the program (see `measuring.agent.inside.hand`): standard library only, from Python 3.9 on.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any

NAME = "early-stop"
_EPOCHS = 6
_ROUNDS = 10  # at least; a tenth of the rounds else


def attach(hand: Any, value: str) -> None:
    """Give each training that starts its framework's callback. `value` is the patience, "" for the usual one."""
    patience = int(value) if value else 0
    for module, change in (
        ("xgboost.training", _xgboost),
        ("lightgbm.engine", _lightgbm),
        ("keras.src.backend.torch.trainer", _keras),
        ("keras.src.backend.tensorflow.trainer", _keras),
        ("keras.src.backend.jax.trainer", _keras),
        ("lightning.pytorch.trainer.trainer", _lightning),
        ("pytorch_lightning.trainer.trainer", _lightning),
        ("transformers.trainer", _transformers),
    ):
        hand.when(module, functools.partial(change, hand, patience))


def _with_arguments(owner: Any, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Hand the arguments of each call, by name, to `change`."""
    original = getattr(owner, name)
    signature = inspect.signature(original)

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:  # the framework says best what is wrong
            return original(*args, **kwargs)
        change(bound.arguments)
        return original(*bound.args, **bound.kwargs)

    setattr(owner, name, call)


def _rounds(patience: int, given: dict[str, Any], usual: int) -> int:
    return patience or max(_ROUNDS, int(given.get("num_boost_round") or usual) // 10)


def _xgboost(hand: Any, patience: int, module: Any) -> None:
    def change(given: dict[str, Any]) -> None:
        own = given.get("early_stopping_rounds") or any(
            type(c).__name__ == "EarlyStopping" for c in given.get("callbacks") or ()
        )
        held_out = [n for _, n in given.get("evals") or () if "train" not in str(n)]
        if own or not held_out:
            hand.left(NAME, "XGBoost: " + ("it stops early already" if own else "no held-out data in evals"))
            return
        given["early_stopping_rounds"] = _rounds(patience, given, 10)
        hand.changed(
            NAME,
            f"XGBoost stops after {given['early_stopping_rounds']} rounds without improvement on {held_out[-1]}",
        )

    _with_arguments(module, "train", change)


def _lightgbm(hand: Any, patience: int, module: Any) -> None:
    def change(given: dict[str, Any]) -> None:
        params, callbacks = given.get("params") or {}, list(given.get("callbacks") or ())
        own = any(k.startswith("early_stopping") and v for k, v in params.items()) or any(
            type(c).__name__ == "_EarlyStoppingCallback" for c in callbacks
        )
        held_out = [d for d in given.get("valid_sets") or () if d is not given.get("train_set")]
        if own or not held_out:
            hand.left(
                NAME, "LightGBM: " + ("it stops early already" if own else "no held-out data in valid_sets")
            )
            return
        rounds = _rounds(patience, given, 100)
        stop = importlib.import_module("lightgbm.callback").early_stopping(rounds, verbose=False)
        given["callbacks"] = [*callbacks, stop]
        hand.changed(NAME, f"LightGBM stops after {rounds} rounds without improvement")

    _with_arguments(module, "train", change)


def _keras(hand: Any, patience: int, module: Any) -> None:
    def change(given: dict[str, Any]) -> None:
        callbacks = given.get("callbacks") or []
        every = getattr(callbacks, "callbacks", callbacks)
        if not isinstance(every, list):
            every = [every]
        own = any(type(c).__name__ == "EarlyStopping" for c in every)
        if own or not (given.get("validation_data") or given.get("validation_split")):
            hand.left(NAME, "Keras: " + ("it stops early already" if own else "fit has no validation data"))
            return
        if every is not callbacks and hasattr(callbacks, "append"):
            hand.left(NAME, "Keras: the program hands over a callback list of its own")
            return
        stop = importlib.import_module("keras.callbacks").EarlyStopping(
            monitor="val_loss", patience=patience or _EPOCHS, restore_best_weights=True
        )
        given["callbacks"] = [*every, stop]
        hand.changed(
            NAME,
            f"Keras stops after {patience or _EPOCHS} epochs without a better val_loss, and restores the best weights",
        )

    for name in [
        n for n, c in vars(module).items() if isinstance(c, type) and c.__module__ == module.__name__
    ]:
        if "fit" in vars(getattr(module, name)):
            _with_arguments(getattr(module, name), "fit", change)


def _lightning(hand: Any, patience: int, module: Any) -> None:
    def change(given: dict[str, Any]) -> None:
        callbacks = given.get("callbacks") or []
        callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
        if any(type(c).__name__ == "EarlyStopping" for c in callbacks):
            hand.left(NAME, "Lightning: it stops early already")
            return
        room = module.__name__.partition(".trainer.")[0]
        stop = importlib.import_module(f"{room}.callbacks").EarlyStopping(
            monitor="val_loss", patience=patience or _EPOCHS, mode="min", strict=False
        )
        given["callbacks"] = [*callbacks, stop]
        hand.changed(
            NAME,
            f"Lightning stops after {patience or _EPOCHS} validations without a better val_loss, where it is logged",
        )

    _with_arguments(module.Trainer, "__init__", change)


def _transformers(hand: Any, patience: int, module: Any) -> None:
    original = module.Trainer.train

    @functools.wraps(original)
    def train(self: Any, *args: Any, **kwargs: Any) -> Any:
        known = self.callback_handler.callbacks
        if any(type(c).__name__ == "EarlyStoppingCallback" for c in known):
            hand.left(NAME, "Transformers: it stops early already")
        elif not self.args.load_best_model_at_end:
            hand.left(
                NAME, "Transformers: load_best_model_at_end is off, so no best model is kept to go back to"
            )
        else:
            stop = importlib.import_module("transformers").EarlyStoppingCallback(patience or _EPOCHS)
            self.add_callback(stop)
            hand.changed(
                NAME,
                f"Transformers stops after {patience or _EPOCHS} evaluations without a better {self.args.metric_for_best_model}",
            )
        return original(self, *args, **kwargs)

    module.Trainer.train = train
