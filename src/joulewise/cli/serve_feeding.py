"""The views that served model folders name: looked for before anybody listens, read for each request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, final

from joulewise import wiring

if TYPE_CHECKING:
    from joulewise.features.online import OnlineStore
    from joulewise.serving.features import Feed
    from joulewise.serving.folder import ModelFolder
    from joulewise.serving.onnx_model import Model

_REDIS_WAIT_S = 0.25  # a request waits for its features at most this long


def look_for_views(folders: Sequence[ModelFolder], store: str | None) -> None:
    """Raise UsageError for a view that the online store does not hold, before anybody listens."""
    for folder in folders:
        if folder.views:
            from joulewise.serving.features import named

            online = wiring.online_store(store)
            try:
                named(folder.views, online)
            finally:
                online.close()


@final
class Feeding:
    """Stands models behind the views that their folders name; each has a connection of its own to the online store."""

    def __init__(self, store: str | None) -> None:
        self._store = store
        self._feeds: list[tuple[Feed, OnlineStore]] = []  # not the models: they may be unloaded

    def __call__(self, folder: ModelFolder, model: Model) -> Model:
        """Return the model as it is served."""
        if not folder.views:
            return model
        from joulewise.serving.features import FedModel

        online = wiring.online_store(self._store, wait_s=_REDIS_WAIT_S)
        fed = FedModel(model, folder.views, online, folder.name)
        self._feeds.append((fed.feed, online))
        return fed

    def counters(self) -> dict[str, float]:
        """Return what was read since the server began; nothing where no model is fed."""
        total: dict[str, float] = {}
        for feed, _ in self._feeds:
            for name, value in feed.counters().items():
                total[name] = total.get(name, 0) + value
        return total

    def close(self) -> None:
        """Tell the stores what was read, and close them."""
        for feed, online in self._feeds:
            feed.close()
            online.close()
