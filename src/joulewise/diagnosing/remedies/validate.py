"""Validation once per epoch, where the framework decides when to validate: Lightning and the Trainer of Transformers.

In a plain loop the program itself decides, and a pass that is left out would leave its numbers without a value; so there
nothing is changed in a run. In a trial, whose results nobody uses, evaluation loaders give their first batch only.
Loaded inside the program (see `measuring.agent.inside.hand`): standard library only, from Python 3.9 on.
"""

from __future__ import annotations

import functools
from typing import Any

from .loaders import MODULE

NAME = "validate"


def attach(hand: Any, value: str) -> None:
    """Change the frameworks' own settings when they are given."""
    assert value == "epoch"  # noqa: S101 - the door has checked it
    for module in ("lightning.pytorch.trainer.trainer", "pytorch_lightning.trainer.trainer"):
        hand.when(module, functools.partial(_lightning, hand))
    hand.when("transformers.training_args", functools.partial(_transformers, hand))
    if hand.trial:
        hand.when(MODULE, functools.partial(_first_batch, hand))


def _lightning(hand: Any, module: Any) -> None:
    trainer = module.Trainer
    original = trainer.__init__

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        before = kwargs.get("val_check_interval")
        if before not in (None, 1.0):
            kwargs["val_check_interval"] = 1.0
            hand.changed(NAME, f"Trainer(val_check_interval=1.0) instead of {before}")
        original(self, *args, **kwargs)

    trainer.__init__ = __init__


def _transformers(hand: Any, module: Any) -> None:
    arguments = module.TrainingArguments
    original = arguments.__post_init__

    @functools.wraps(original)
    def __post_init__(self: Any) -> None:  # noqa: N807
        before = getattr(self.eval_strategy, "value", self.eval_strategy)
        if before == "steps":
            self.eval_strategy = "epoch"
            told = f"eval_strategy='epoch' instead of every {self.eval_steps or self.logging_steps} steps"
            if (
                self.load_best_model_at_end
                and getattr(self.save_strategy, "value", self.save_strategy) == "steps"
            ):
                self.save_strategy = "epoch"  # Transformers wants both alike, to load the best
                told += ", and save_strategy with it"
            hand.changed(NAME, told)
        original(self)

    arguments.__post_init__ = __post_init__


def _first_batch(hand: Any, module: Any) -> None:
    torch = __import__("torch")
    iterator_class = module._BaseDataLoaderIter  # noqa: SLF001 - where batches come from
    original = iterator_class.__next__

    @functools.wraps(original)
    def __next__(self: Any) -> Any:  # noqa: N807
        if torch.is_grad_enabled():
            return original(self)
        if getattr(self, "_joulewise_thinned", False):
            hand.changed(NAME, "evaluations see their first batch only, in this trial")
            raise StopIteration
        self._joulewise_thinned = True
        return original(self)

    iterator_class.__next__ = __next__
