"""Transforms of whole batches in place of one item at a time: the same samples for a fraction of the CPU.

A transform that a dataset applies to each item in Python pays for its interpreter, its small arrays and their copies with
every item of every epoch. `vectorise` finds a whole-batch equivalent of the user's own function, checks on real items that
its output is equal, measures both, and offers the change as a diff. `Compose`, `RandomCrop` and `RandomFlip` are
whole-batch forms of the usual random ones: each sample draws for itself, as it did before.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from joulewise.vocabulary.errors import UsageError

_LEAST = 16  # items on which the outputs are compared
_BATCH = 64  # items at a time, as training asks for them: small enough to stay in the processor's cache
_WORTH = 1.5  # times cheaper, or the change is not offered


@dataclass(frozen=True, slots=True)
class Vectorised:
    """How the user's function can be had for whole batches.

    `way` is `whole batch` (the function as it is), `vmap` (by torch.func.vmap), `once` (its items made before the first
    epoch and kept, as `joulewise.cached` keeps them) or `per item` (as it was; `why` says why). `transform` takes a stacked
    batch; None where only one item at a time will do. The seconds are CPU seconds an item, measured on the items given.
    """

    way: str
    transform: Callable[[Any], Any] | None
    per_item_s: float
    now_s: float
    why: str

    def __str__(self) -> str:
        return f"{self.way}: {1e6 * self.per_item_s:.3g} us an item, now {1e6 * self.now_s:.3g}; {self.why}"


def vectorise(function: Callable[[Any], Any], items: Sequence[Any], *, epochs: int = 1) -> Vectorised:
    """Return the cheapest way to have `function` of these items that gives an equal output on all of them.

    Items are tensors, arrays, numbers, or mappings of these by name. `epochs` is how often each item will be asked for.
    """
    if len(items) < _LEAST:
        raise UsageError(f"{len(items)} items are too few to compare by; give at least {_LEAST} real ones")
    whole_s, one = _timed(lambda: [function(i) for i in items])
    each_s = whole_s / len(items)
    if not _equal(one, [function(i) for i in items]):
        reason = "it draws at random; RandomCrop and RandomFlip are whole-batch forms of the usual draws"
        return Vectorised("per item", None, each_s, each_s, reason)
    found: list[tuple[float, str, Callable[[Any], Any]]] = []
    why: list[str] = []
    for way, function_of_batch in _candidates(function, items[0]):
        try:
            batch_s = _measured(function_of_batch, items, one) / len(items)
        except (TypeError, ValueError, RuntimeError, IndexError, KeyError, AttributeError) as error:
            why.append(f"{way}: {(str(error).splitlines() or [type(error).__name__])[0][:80]}")
            continue
        if each_s < _WORTH * batch_s:
            why.append(f"{way} is hardly cheaper")
        else:
            found.append((batch_s, way, function_of_batch))
    now_s, way, transform = min(found, key=lambda f: f[0], default=(each_s, "one by one", None))
    kept_s = now_s / epochs + _handing_out(one)
    if now_s >= _WORTH * kept_s:
        reason = f"made {way} at {1e6 * now_s:.3g} us an item before the first of {epochs} epochs, and kept"
        return Vectorised("once", transform, each_s, kept_s, reason)
    if transform is not None:
        return Vectorised(way, transform, each_s, now_s, f"equal on {len(items)} items")
    return Vectorised("per item", None, each_s, each_s, "; ".join(why))


def _measured(function: Callable[[Any], Any], items: Sequence[Any], one: Sequence[Any]) -> float:
    """Return the CPU seconds of all items by batches; raises ValueError where the output is not equal."""
    parts = [items[k : k + _BATCH] for k in range(0, len(items), _BATCH)]
    batches = [_stacked(part) for part in parts]
    function(batches[0])  # the first call pays for what it sets up
    seconds, outs = _timed(lambda: [function(batch) for batch in batches])
    rows = [row for out, part in zip(outs, parts, strict=True) for row in _rows(out, len(part))]
    if not _equal(one, rows):
        raise ValueError("it gives other values")
    return seconds


def _handing_out(outputs: Sequence[Any]) -> float:
    """Return the CPU seconds an item of taking shuffled batches from outputs that are kept; infinite where they are ragged."""
    import numpy as np

    try:
        kept = _stacked(outputs)
    except (ValueError, TypeError, RuntimeError):
        return float("inf")
    columns = list(kept.values()) if isinstance(kept, Mapping) else [kept]
    order = np.random.default_rng(0).permutation(len(outputs))
    batches = [order[k : k + _BATCH] for k in range(0, len(order), _BATCH)]
    return _timed(lambda: [[column[b] for column in columns] for b in batches])[0] / len(outputs)


def offer(function: Callable[[Any], Any], dataset: Any) -> str:
    """Return the change to a dataset as a unified diff: its `__getitem__` no longer calls `function` for each item.

    The batch is then passed through `vectorise(function, items).transform`, for instance by `trainer.batches(data,
    transform)`. Refuses where `__getitem__` does not call the function by its name.
    """
    getitem = type(dataset).__getitem__
    path = inspect.getsourcefile(getitem) or "dataset.py"
    with open(path, encoding="utf-8") as file:
        source = file.read()
    lines, first = inspect.getsourcelines(getitem)
    name = getattr(function, "__name__", "")
    calls = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and first <= node.lineno < first + len(lines)
        and (node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")) == name
        and len(node.args) == 1
        and not node.keywords
    ]
    if len(calls) != 1:
        raise UsageError(
            f"{type(dataset).__name__}.__getitem__ calls {name or 'the function'} {len(calls)} times by its name, but must once"
        )
    whole, inner = (ast.get_source_segment(source, n) or "" for n in (calls[0], calls[0].args[0]))
    before = source.splitlines(keepends=True)
    at = calls[0].lineno - 1
    after = [*before[:at], before[at].replace(whole, inner, 1), *before[at + 1 :]]
    if after == before:
        raise UsageError(f"the call of {name} spans several lines; take it out of __getitem__ by hand")
    return "".join(difflib.unified_diff(before, after, path, path, n=2))


def _candidates(function: Callable[[Any], Any], item: Any) -> list[tuple[str, Callable[[Any], Any]]]:
    """Return ways to call the function on a whole batch, none of them trusted yet."""
    ways: list[tuple[str, Callable[[Any], Any]]] = [("whole batch", function)]
    if hasattr(item, "is_floating_point"):
        import torch

        ways.append(("vmap", torch.func.vmap(function)))
    return ways


def _stacked(items: Sequence[Any]) -> Any:
    first = items[0]
    if isinstance(first, Mapping):
        return {key: _stacked([i[key] for i in items]) for key in first}
    if hasattr(first, "is_floating_point"):
        import torch

        return torch.stack(list(items))
    import numpy as np

    return np.stack([np.asarray(i) for i in items])


def _rows(out: Any, count: int) -> list[Any]:
    if isinstance(out, Mapping):
        columns = {key: _rows(value, count) for key, value in out.items()}
        return [{key: column[i] for key, column in columns.items()} for i in range(count)]
    if len(out) != count:
        raise ValueError(f"{len(out)} rows came out for {count} items")
    return list(out)


def _equal(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Return whether two lists of outputs are equal: shapes exactly, values to what float32 holds."""
    import numpy as np

    for a, b in zip(one, other, strict=True):
        if isinstance(a, Mapping):
            if a.keys() != b.keys() or not all(_equal([a[k]], [b[k]]) for k in a):
                return False
            continue
        left, right = np.asarray(a), np.asarray(b)
        if left.shape != right.shape or left.dtype.kind != right.dtype.kind:
            return False
        if left.dtype.kind in "fc":
            if not np.allclose(left, right, rtol=1e-5, atol=1e-6, equal_nan=True):
                return False
        elif not np.array_equal(left, right):
            return False
    return True


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    out = work()
    return time.process_time() - began, out


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
