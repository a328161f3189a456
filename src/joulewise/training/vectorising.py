"""Transforms of whole batches in place of one item at a time: the same samples for a fraction of the CPU.

A transform that a dataset applies to each item in Python pays for its interpreter, its small arrays and their copies with
every item of every epoch. `vectorise` finds a whole-batch equivalent of the user's own function, checks on real items that
its output is equal, measures both, and offers the change as a diff. `Compose`, `RandomCrop` and `RandomFlip` are
whole-batch forms of the usual random ones: each sample draws for itself, as it did before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from joulewise.vocabulary.errors import UsageError


@final
class Compose:
    """One whole-batch transform after another."""

    def __init__(self, *transforms: Callable[[Any], Any]) -> None:
        self._transforms = transforms

    def __call__(self, batch: Any) -> Any:
        """Return the batch after all of them."""
        for transform in self._transforms:
            batch = transform(batch)
        return batch


@final
class RandomCrop:
    """Pads pictures (N, C, H, W) on all sides and cuts each at a place of its own, back to its size."""

    def __init__(self, padding: int, fill: float = 0.0) -> None:
        if padding < 1:
            raise UsageError(
                f"padding is {padding}, but must be at least 1: without it there is nothing to cut"
            )
        self._padding, self._fill = padding, fill

    def __call__(self, batch: Any) -> Any:
        """Return the pictures, each cut at a place drawn for it."""
        import torch

        places = torch.randint(0, 2 * self._padding + 1, (2, len(batch)))
        return self.at(batch, places[0], places[1])

    def at(self, batch: Any, down: Any, right: Any) -> Any:
        """Return the pictures cut at these places (0 to twice the padding)."""
        import torch
        from torch.nn.functional import pad

        count, channels, height, width = batch.shape
        margin, side = self._padding, 2 * self._padding + 1
        padded = pad(batch, (margin, margin, margin, margin), value=self._fill).contiguous()
        n, c, h, w = padded.stride()
        # every place of every picture, as a view of the same memory; only the places drawn are copied
        windows = padded.as_strided((count, side, side, channels, height, width), (n, h, w, c, h, w))
        return windows[torch.arange(count), down, right]


@final
class RandomFlip:
    """Mirrors each picture left to right with a chance of its own."""

    def __init__(self, chance: float = 0.5) -> None:
        if not 0 <= chance <= 1:
            raise UsageError(f"chance is {chance:g}, but must lie between 0 and 1")
        self._chance = chance

    def __call__(self, batch: Any) -> Any:
        """Return the pictures, some of them mirrored."""
        import torch

        return self.where(batch, torch.rand(len(batch)) < self._chance)

    def where(self, batch: Any, flipped: Any) -> Any:
        """Return the pictures, those named mirrored."""
        import torch

        return torch.where(flipped.view(-1, *(1,) * (batch.ndim - 1)), batch.flip(-1), batch)
