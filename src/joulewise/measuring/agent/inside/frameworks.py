"""Lightning, the Trainer of Transformers, Keras: their own callbacks, registered by themselves; and who stops early.

What PyTorch does inside of them is seen by its own hooks. From here come what only the framework knows: the epoch, the
metrics by their names, checkpoints, and, for Keras, the steps themselves (on PyTorch with their parts, elsewhere whole).
Each framework's classes are taken from the modules that the program has just imported.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from _thread import get_ident
from collections.abc import Callable
from typing import Any

from . import layout as at
from .timeline import UNTIMED, Timeline, clock

_NO_METRICS = ("runtime", "per_second", "total_flos", "epoch", "step")


class Frameworks:
    """The hooks on frameworks of one process. `torch` gives PyTorch's hooks, or None without PyTorch."""

    def __init__(self, line: Timeline, torch: Callable[[], Any]) -> None:
        self._line, self._torch = line, torch
        self._batch = 0  # of Keras
        self._before: int | None = None
        self._told: tuple[float | None, dict[str, float]] = (None, {})
        self.watched: dict[str, Callable[[Any], None]] = {
            "lightning.pytorch.trainer.trainer": self._lightning,
            "pytorch_lightning.trainer.trainer": self._lightning,
            "transformers.trainer": self._transformers,
            "safetensors.torch": self._safetensors,
            "keras.src.callbacks.callback_list": self._keras,
            "keras.src.trainers.epoch_iterator": self._keras_batches,
            "keras.src.optimizers.base_optimizer": self._keras_optimiser,
            "xgboost.callback": functools.partial(self._stops_early, "EarlyStopping", "XGBoost"),
            "lightgbm.callback": functools.partial(self._stops_early, "_EarlyStoppingCallback", "LightGBM"),
            "keras.src.callbacks.early_stopping": functools.partial(self._stops_early, "EarlyStopping", "Keras"),
            "lightning.pytorch.callbacks.early_stopping": functools.partial(self._stops_early, "EarlyStopping", "Lightning"),
            "pytorch_lightning.callbacks.early_stopping": functools.partial(self._stops_early, "EarlyStopping", "Lightning"),
            "transformers.trainer_callback": functools.partial(self._stops_early, "EarlyStoppingCallback", "Transformers"),
        }  # fmt: skip

    # ---- what they tell --------------------------------------------------------------------------------------
    def _tell(self, values: Any, epoch: Any) -> None:
        """Add a framework's own metrics to the curve."""
        kept = {}
        for name, given in dict(values or {}).items():
            if not isinstance(name, str) or any(word in name for word in _NO_METRICS):
                continue
            value = given.item() if hasattr(given, "item") else given
            if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value:  # noqa: PLR0124 - NaN is not itself
                kept[name] = float(value)
        number = float(epoch) if isinstance(epoch, (int, float)) else None
        if kept and (number, kept) != self._told:  # a validation at an epoch's end is told by both
            self._told = (number, kept)
            self._line.facts.add("curve", [clock(), self._line.so_far(), number, kept])

    def _safely(self, learn: Callable[..., Any], *values: Any) -> None:
        try:
            learn(*values)
        except Exception as error:  # noqa: BLE001 - the agent's edge: no fault of ours reaches the program
            self._line.facts.add("faults", f"{learn.__name__}: {type(error).__name__}: {error}"[:300])

    def _stops_early(self, name: str, framework: str, module: Any) -> None:
        """Note that the framework's early stopping was made, with its patience."""
        cls = getattr(module, name, None)
        if cls is None:
            return
        original = cls.__init__

        @functools.wraps(original)
        def __init__(stop: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            original(stop, *args, **kwargs)
            patience = next(
                (v for k in ("patience", "rounds", "stopping_rounds", "early_stopping_patience")
                 if isinstance(v := getattr(stop, k, None), int)), None,
            )  # fmt: skip
            self._line.facts.put("early_stop", framework + (f" (patience {patience})" if patience else ""))

        cls.__init__ = __init__

    def _timed(self, owner: Any, name: str, kind: int) -> None:
        """Give a method's time to a phase."""
        original = getattr(owner, name)
        line = self._line

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            if line.kind == kind or line.skip == 1 or get_ident() != line.main:
                return original(*args, **kwargs)
            line.wake()
            before = line.enter(kind)
            try:
                return original(*args, **kwargs)
            finally:
                line.leave(before)

        setattr(owner, name, call)

    # ---- Lightning -------------------------------------------------------------------------------------------
    def _lightning(self, module: Any) -> None:
        room = module.__name__.partition(".trainer.")[0]
        base: Any = sys.modules[f"{room}.callbacks.callback"].Callback
        ours = self

        class Callback(base):  # type: ignore[misc]
            """Joulewise's own: the metrics that Lightning knows at the end of validations and epochs."""

            def on_validation_end(self, trainer: Any, _module: Any) -> None:
                if not trainer.sanity_checking:
                    ours._safely(ours._tell, trainer.callback_metrics, trainer.current_epoch)

            def on_train_epoch_end(self, trainer: Any, _module: Any) -> None:
                ours._safely(ours._tell, trainer.callback_metrics, trainer.current_epoch)
                ours._line.facts.put("told_epochs", trainer.current_epoch + 1)

        trainer = module.Trainer
        original = trainer.__init__

        @functools.wraps(original)
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            original(self, *args, **kwargs)
            self.callbacks.append(Callback())

        trainer.__init__ = __init__
        self._timed(trainer, "save_checkpoint", at.CHECKPOINT)

    # ---- Transformers ----------------------------------------------------------------------------------------
    def _transformers(self, module: Any) -> None:
        ours = self

        class Callback(module.TrainerCallback):  # type: ignore[misc]
            """Joulewise's own: what the Trainer logs, and its epochs."""

            def on_log(self, _args: Any, state: Any, _control: Any, logs: Any = None, **_: Any) -> None:
                epoch = (
                    None if state.epoch is None else max(0, -int(-state.epoch // 1) - 1)
                )  # 0.5 and 1.0: epoch 0
                ours._safely(ours._tell, logs, epoch)

            def on_epoch_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
                ours._line.facts.put("told_epochs", round(state.epoch or 0))

        trainer = module.Trainer
        original = trainer.__init__

        @functools.wraps(original)
        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            original(self, *args, **kwargs)
            self.add_callback(Callback())

        trainer.__init__ = __init__
        self._timed(trainer, "_save_checkpoint", at.CHECKPOINT)

    def _safetensors(self, module: Any) -> None:
        original = module.save_file
        line = self._line

        @functools.wraps(original)
        def save_file(tensors: Any, filename: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return original(tensors, filename, *args, **kwargs)
            finally:
                with contextlib.suppress(OSError, TypeError):
                    line.page[at.BYTES + at.CHECKPOINT] += os.stat(filename).st_size

        module.save_file = save_file
        self._timed(module, "save_file", at.CHECKPOINT)

    # ---- Keras -----------------------------------------------------------------------------------------------
    def _keras_batches(self, module: Any) -> None:
        cls = module.EpochIterator
        original = cls.__init__

        @functools.wraps(original)
        def __init__(iterator: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            original(iterator, *args, **kwargs)
            size = getattr(iterator.data_adapter, "batch_size", None)
            self._batch = size if isinstance(size, int) else 0

        cls.__init__ = __init__

    def _keras_optimiser(self, module: Any) -> None:
        line = self._line
        cls = module.BaseOptimizer
        original = cls.apply

        @functools.wraps(original)
        def apply(optimiser: Any, *args: Any, **kwargs: Any) -> Any:
            if line.kind != at.GAP or self._torch() is None or get_ident() != line.main:
                return original(optimiser, *args, **kwargs)
            before = line.enter(at.OPTIMISER)
            try:
                return original(optimiser, *args, **kwargs)
            finally:
                line.leave(before)

        cls.apply = apply

    def _keras(self, module: Any) -> None:
        """Stand before the list of all callbacks, so that none of ours needs to be in it."""
        line = self._line

        def around(name: str, act: Callable[..., None]) -> None:
            original = getattr(module.CallbackList, name)

            @functools.wraps(original)
            def call(callbacks: Any, *args: Any, **kwargs: Any) -> Any:
                if name.endswith("_end"):
                    self._safely(act, *args)
                    return original(callbacks, *args, **kwargs)
                result = original(callbacks, *args, **kwargs)
                self._safely(act, *args)
                return result

            setattr(module.CallbackList, name, call)

        def begin(kind: int) -> Callable[..., None]:
            def begins(*_: Any) -> None:  # on PyTorch its own hooks tell the parts of a step
                if (
                    self._torch() is None
                    and line.skip != UNTIMED
                    and self._before is None
                    and get_ident() == line.main
                ):
                    self._before = line.enter(kind)

            return begins

        def ends(*_: Any) -> None:
            if self._before is not None:
                line.leave(self._before)
                self._before = None

        def train_ends(*_: Any) -> None:
            if get_ident() != line.main:
                return
            ends()
            self._count()
            line.stepped()

        def evaluation_ends(*_: Any) -> None:
            torch = self._torch()
            if torch is not None and torch.evaluating:
                torch.end_evaluation()
                torch.new_metrics = False  # Keras gives them with the epoch

        def epoch_ends(epoch: Any, logs: Any = None, *_: Any) -> None:
            line.wake()
            self._tell(logs, epoch)
            line.facts.put("told_epochs", int(epoch) + 1)

        def wake(*_: Any) -> None:
            line.wake()
            self._before = None  # an exception may have ended the last one

        for name, act in (
            ("on_train_begin", wake), ("on_test_begin", wake), ("on_predict_begin", wake),
            ("on_train_batch_begin", begin(at.FORWARD)), ("on_train_batch_end", train_ends),
            ("on_test_batch_begin", begin(at.VALIDATION)), ("on_test_batch_end", ends),
            ("on_predict_batch_begin", begin(at.VALIDATION)), ("on_predict_batch_end", ends),
            ("on_test_end", evaluation_ends), ("on_predict_end", evaluation_ends), ("on_epoch_end", epoch_ends),
        ):  # fmt: skip
            around(name, act)

    def _count(self) -> None:
        torch = self._torch()
        if torch is not None and self._batch:
            torch.batch = 0  # counted here
            torch.count_batch(self._batch)
        else:
            self._line.page[at.SAMPLES] += self._batch
