"""Features: derive data once and find it again.

One idea for both ends: a derived thing has a fingerprint of its inputs and its recipe. *Cached training data*
(`cache.py`): what a recipe makes of a dataset, once for all epochs, workers and experiments. *Materialised online
features* (`views.py`, `materialising.py`, `reading.py`): a view's newest row of each entity, packed, one get away from
the model; `training_sets.py` takes from the same view what was known at each label's time. `hygiene.py` names what is
derived for nobody. DuckDB computes (`offline.py`), SQLite or Redis keep (`online.py`).

Functions take the place or store that they need; `joulewise.cached` is `cached` with the user's folder.

Start reading at views.py. Terms: an entity is what a row is about; the mark is the newest event time that was seen.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from joulewise.features.cache import cached as cached
    from joulewise.features.loading import load_views as load_views
    from joulewise.features.materialising import materialise as materialise
    from joulewise.features.online import open_online as open_online
    from joulewise.features.reading import Reader as Reader
    from joulewise.features.training_sets import training_set as training_set
    from joulewise.features.views import Column as Column
    from joulewise.features.views import Source as Source
    from joulewise.features.views import View as View
    from joulewise.features.views import view as view

_NAMES = {"Column": "views", "Reader": "reading", "Source": "views", "View": "views", "cached": "cache",
          "load_views": "loading", "materialise": "materialising", "open_online": "online",
          "training_set": "training_sets", "view": "views"}  # fmt: skip

__all__ = [
    "Column",
    "Reader",
    "Source",
    "View",
    "cached",
    "load_views",
    "materialise",
    "open_online",
    "training_set",
    "view",
]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'joulewise.features' has no attribute {name!r}")
    return getattr(import_module(f"joulewise.features.{_NAMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
