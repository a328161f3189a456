"""Training: the same quality for less compute.

Takes a learning curve, the learning-rate schedule in view and what a step costs, and returns a `Decision` (go on, stop,
or bring the next drop forward, with the reason in one line); plans how often and on how many samples to validate; and
judges whether two recipes may be called equal. Decisions are pure and can be replayed on a stored curve; `loop.py` and
the files named after a framework are the shells that carry them out.

A recipe for a plain PyTorch loop is measured by `probing.recipe` (weighing.py, racing.py) and carried out by
`trainer.Trainer`, on one process or under `torchrun` (ranks.py).

Start reading at stopping.py, then probing.py. Terms: horizon is the step at which the run would end by itself; a drop is a planned cut of
the learning rate; patience is what the usual rule counts, and this one does not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from joulewise.training.probing import recipe as recipe
    from joulewise.training.trainer import Trainer as Trainer

_NAMES = {"Trainer": "trainer", "recipe": "probing"}
__all__ = ["Trainer", "recipe"]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'joulewise.training' has no attribute {name!r}")
    return getattr(import_module(f"joulewise.training.{_NAMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
