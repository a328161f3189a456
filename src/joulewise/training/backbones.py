"""Backbones of timm as candidates of a ladder, by their names there (Wightman; the package `timm`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from joulewise.vocabulary.errors import UnknownName, UsageError


def backbones(
    names: Sequence[str], *, classes: int, channels: int = 3, pretrained: bool = False
) -> dict[str, Callable[[], Any]]:
    """Return for each name the function that makes its model, for `ladder.climb` and `adapters.compare`.

    The weights are random unless `pretrained` is said, which lets timm fetch them from the network. Raises UsageError
    where timm cannot be had, UnknownName for a name that it does not know.
    """
    try:
        import timm
    except ModuleNotFoundError as error:
        raise UsageError(f"backbones need the package {error.name}; pip install joulewise[timm]") from None
    except RuntimeError as error:  # torchvision's operators, built for another torch
        said = str(error).splitlines()[0]
        raise UsageError(
            f"timm cannot be loaded ({said}): torch and torchvision must be builds of one kind; install both from one index"
        ) from None
    if classes < 1 or channels < 1:
        raise UsageError(f"classes is {classes} and channels {channels}, but both must be at least 1")
    known = timm.list_models()
    for name in names:
        if name.split(".")[0] not in known:
            raise UnknownName("backbone", name, known, "timm.list_models() names them all")

    def make(name: str) -> Callable[[], Any]:
        return lambda: timm.create_model(name, pretrained=pretrained, num_classes=classes, in_chans=channels)

    return {name: make(name) for name in names}
