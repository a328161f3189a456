"""joulewise: what machine-learning work costs in joules, grams of CO2e and money, and how well that is known.

    import joulewise

    with joulewise.track("my-training", budget="2MJ") as run:
        with run.span("data"):
            ...
        run.log(epoch=1, loss=0.4)

Everything public is a lazy name on this module: importing it costs the standard library's start only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from joulewise import compressing as compressing
    from joulewise import features as features
    from joulewise import training as training
    from joulewise.exchange.trials import trial_joules as trial_joules
    from joulewise.exchange.trials import tuned as tuned
    from joulewise.training.loop import stopping as stopping
    from joulewise.training.schedule import Schedule as Schedule
    from joulewise.vocabulary.budget import Budget as Budget
    from joulewise.vocabulary.figures import Basis as Basis
    from joulewise.vocabulary.figures import Boundary as Boundary
    from joulewise.vocabulary.figures import Figure as Figure
    from joulewise.wiring import cached as cached
    from joulewise.wiring import compress as compress
    from joulewise.wiring import optuna_plug as optuna_plug
    from joulewise.wiring import recordings as recordings
    from joulewise.wiring import search as search
    from joulewise.wiring import track as track

__version__ = "0.1.0"

_NAMES = {
    "Basis": "joulewise.vocabulary.figures",
    "Boundary": "joulewise.vocabulary.figures",
    "Budget": "joulewise.vocabulary.budget",
    "Figure": "joulewise.vocabulary.figures",
    "Schedule": "joulewise.training.schedule",
    "cached": "joulewise.wiring",
    "compress": "joulewise.wiring",
    "compressing": "joulewise.compressing",
    "features": "joulewise.features",
    "optuna_plug": "joulewise.wiring",
    "recordings": "joulewise.wiring",
    "stopping": "joulewise.training.loop",
    "search": "joulewise.wiring",
    "track": "joulewise.wiring",
    "training": "joulewise.training",
    "trial_joules": "joulewise.exchange.trials",
    "tuned": "joulewise.exchange.trials",
}

__all__ = [
    "Basis",
    "Boundary",
    "Budget",
    "Figure",
    "Schedule",
    "__version__",
    "cached",
    "compress",
    "compressing",
    "features",
    "optuna_plug",
    "recordings",
    "search",
    "stopping",
    "track",
    "training",
    "trial_joules",
    "tuned",
]


def __getattr__(name: str) -> Any:
    module = _NAMES.get(name)
    if module is None:
        raise AttributeError(f"module 'joulewise' has no attribute {name!r}")
    loaded = import_module(module)
    return loaded if module == f"{__name__}.{name}" else getattr(loaded, name)


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(shell: Any) -> None:
    """Register the magic `%%joulewise` (called by `%load_ext joulewise`)."""
    import_module("joulewise.wiring").load_ipython_extension(shell)
