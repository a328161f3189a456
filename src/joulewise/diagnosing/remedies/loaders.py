"""What the remedies share that change PyTorch's DataLoader: its arguments, before it is made.

Loaded inside the program (see `measuring.agent.inside.hand`): standard library only, from Python 3.9 on.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

MODULE = "torch.utils.data.dataloader"


def rewrite(loader_class: Any, change: Callable[[dict[str, Any]], bool]) -> None:
    """Hand the arguments of every new loader, by name, to `change`, which says whether it has changed any."""
    original = loader_class.__init__
    signature = inspect.signature(original)

    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        try:
            bound = signature.bind(self, *args, **kwargs)
            bound.apply_defaults()
            arguments = dict(bound.arguments)
            arguments.pop("self", None)
            changed = change(arguments)
        except TypeError:  # wrong arguments: PyTorch says so best
            changed = False
        if changed:
            original(self, **arguments)
        else:
            original(self, *args, **kwargs)

    loader_class.__init__ = __init__


def shuffles(arguments: dict[str, Any]) -> bool:
    """Whether a loader mixes its items, so that it feeds a training and no evaluation."""
    sampler = type(arguments.get("sampler")).__name__
    inner = type(getattr(arguments.get("batch_sampler"), "sampler", None)).__name__
    return bool(arguments.get("shuffle")) or any(
        word in name for name in (sampler, inner) for word in ("Random", "Distributed", "Shuffle")
    )


def name_of(arguments: dict[str, Any]) -> str:
    """Return a loader in words: `Images of 8000`."""
    dataset = arguments.get("dataset")
    try:
        return f"{type(dataset).__name__} of {len(dataset)}"  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):
        return type(dataset).__name__
