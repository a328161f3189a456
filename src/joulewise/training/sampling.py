"""The samples that a probe looks at: a pool to train on, and some held apart to judge by.

Thousands of samples are enough to compare ways of training; the whole set is never passed through. Whether a random
transform could be left out for a while is seen here too: it is one that only varies samples.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, final

from joulewise.training.feeding import Batches, in_memory, placed, rows
from joulewise.vocabulary.errors import UsageError

_POOL = 8192  # samples that the probe looks at
_HELD = 1024  # of which it never trains on
_EACH = 64  # held samples that are judged together: their means tell what the held samples resolve


@final
class Samples:
    """A pool of samples on the model's device, transformed as training would; `size` is how many are trained on."""

    def __init__(self, data: Any, transform: Callable[[Any], Any] | None, device: str, seed: int) -> None:
        pair = _gathered(data, seed)
        held = min(_HELD, len(pair[0]) // 4)
        self._held = [t[:held] for t in pair]
        self._inputs, self._targets = (t[held:] for t in pair)
        self._transform, self._device = transform, device
        self.size = len(self._inputs)
        self.optional, self.why_not = self._may_be_left_out()

    @property
    def pictures(self) -> bool:
        """Whether the inputs are pictures: batches of rows, columns and channels."""
        return bool(self._inputs.ndim == 4)

    def batch(self, number: int, size: int, channels_last: bool, *, plain: bool = False) -> tuple[Any, Any]:
        """Return the inputs and targets of one training batch; `plain` leaves the transform out."""
        start = number * size % max(1, self.size - size + 1)
        inputs = self._inputs[start : start + size]
        if self._transform is not None and not plain:
            inputs = self._transform(inputs)
        targets = self._targets[start : start + size].to(self._device)
        return placed(inputs, self._device, channels_last), targets

    def held(self, channels_last: bool) -> Iterator[tuple[Any, Any]]:
        """Yield the held samples, by parts; transformed only where the transform is a part of the data."""
        parts = max(1, len(self._held[0]) // _EACH)
        for inputs, targets in zip(*(t.tensor_split(parts) for t in self._held), strict=True):
            judged = inputs if self._transform is None or self.optional else self._transform(inputs)
            yield placed(judged, self._device, channels_last), targets.to(self._device)

    def _may_be_left_out(self) -> tuple[bool, str]:
        """Return whether the transform only varies samples, as augmentation does; else why it is a part of them."""
        import torch

        if self._transform is None:
            return False, "there is none"
        plain = self._held[0][:64]
        one, other = self._transform(plain), self._transform(plain)
        if one.shape != plain.shape or one.dtype != plain.dtype:
            return False, "it changes the shape or the type of a sample"
        if torch.equal(one, other):
            return False, "it draws nothing at random: it is a part of the data"
        before, after = (t.float() for t in (plain, one))
        moved = abs(float(after.mean() - before.mean())), abs(float(after.std() - before.std()))
        if max(moved) > 0.25 * float(before.std()):
            return False, "it changes the scale of a sample"
        return True, ""


def _gathered(data: Any, seed: int) -> list[Any]:
    """Return the inputs and targets of the samples to look at."""
    import torch

    whole = rows(data)
    if whole < 8:
        raise UsageError(f"{whole} samples are too few to probe; give at least 8")
    if in_memory(data):
        draw = torch.Generator().manual_seed(seed)
        index = torch.randperm(whole, generator=draw)[:_POOL]
        pair = [t[index] for t in data]
    else:
        size = min(64, whole)
        made, began, batches = 0, time.process_time(), []
        for batch in Batches(data, size, seed=seed):
            batches.append(batch)
            made += size
            if made >= _POOL or (made >= _HELD and time.process_time() - began > 2):
                break
        pair = [torch.cat(parts) for parts in zip(*batches, strict=True)]
    if len(pair) != 2:
        raise UsageError(f"a sample has {len(pair)} parts, but must be a pair (input, target)")
    return pair
