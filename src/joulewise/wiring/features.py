"""Features: the cache and the online store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from joulewise.vocabulary.errors import UsageError
from joulewise.wiring.chosen import settings

if TYPE_CHECKING:
    from joulewise.features.cache import Cached
    from joulewise.features.online import OnlineStore


def cached(
    dataset: Any,
    recipe: Any,
    *,
    fingerprint: str | None = None,
    limit_bytes: float | None = None,
    deterministic: bool = False,
    build: bool = True,
) -> Cached:
    """Return `recipe` applied to every item of `dataset`: computed once, for all epochs, workers and experiments.

    See `joulewise.features.cached`; the folder is that of the settings (`features`).
    """
    from joulewise.features.cache import LIMIT_BYTES
    from joulewise.features.cache import cached as cached_in

    return cached_in(
        dataset,
        recipe,
        folder=_features_folder() / "cache",
        fingerprint=fingerprint,
        limit_bytes=LIMIT_BYTES if limit_bytes is None else limit_bytes,
        deterministic=deterministic,
        build=build,
    )


def online_store(place: str | None = None, *, wait_s: float = 5.0) -> OnlineStore:
    """Return the online store of features at `place`, or the one that the settings name; Redis answers within `wait_s`."""
    from joulewise.features.online import open_online

    return open_online(
        place or settings().online_store or str(_features_folder() / "online.db"), wait_s=wait_s
    )


def _features_folder() -> Path:
    folder = settings().features
    if not folder:
        raise UsageError("there is no place for features: no home folder is known; set JOULEWISE_HOME")
    return Path(folder)
