"""Items on disk: what a recipe gives for each item of a dataset, leaf by leaf in flat files, and back again unchanged.

An item is an array, a tensor, a number, a text, bytes, or tuples, lists and dictionaries of these. Each leaf has a file
of its own with the bytes of all items one after the other; where shapes differ from item to item, a second file tells
where each begins and what shape it has. What comes back has the same type, dtype, shape and bytes.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, final

from joulewise.vocabulary.errors import UsageError

_NUMBERS = {"bool": "?", "int": "<i8", "float": "<f8", "complex": "<c16"}


def structure(item: Any, number: int) -> Any:
    """Return the shape of an item as JSON can tell it: leaves are their kinds. Raises UsageError for another kind."""
    if isinstance(item, tuple):
        if type(item) is not tuple:
            raise UsageError(
                f"item {number} of the recipe is a {type(item).__name__}; give a plain tuple, list or dict"
            )
        return {"tuple": [structure(part, number) for part in item]}
    if isinstance(item, list):
        return {"list": [structure(part, number) for part in item]}
    if isinstance(item, Mapping):
        if not all(isinstance(k, str) for k in item):
            raise UsageError(
                f"item {number} of the recipe has keys that are no text; name its parts with text"
            )
        return {"dict": {k: structure(part, number) for k, part in item.items()}}
    return _kind(item, number)


def leaves(item: Any) -> Iterator[Any]:
    """Yield the leaves of an item, in the order of its structure."""
    if isinstance(item, tuple | list):
        for part in item:
            yield from leaves(part)
    elif isinstance(item, Mapping):
        for part in item.values():
            yield from leaves(part)
    else:
        yield item


def rebuilt(shape: Any, parts: Iterator[Any]) -> Any:
    """Return an item of this structure from its leaves."""
    if isinstance(shape, str):
        return next(parts)
    ((name, inner),) = shape.items()
    if name == "dict":
        return {k: rebuilt(part, parts) for k, part in inner.items()}
    built = [rebuilt(part, parts) for part in inner]
    return tuple(built) if name == "tuple" else built


def kinds(shape: Any) -> Iterator[str]:
    """Yield the kinds of the leaves of a structure."""
    if isinstance(shape, str):
        yield shape
        return
    ((_, inner),) = shape.items()
    for part in inner.values() if isinstance(inner, Mapping) else inner:
        yield from kinds(part)


def keeping_s(few: Sequence[Any]) -> tuple[float, float]:
    """Return the CPU seconds that an item takes to be written and to be read, tried on a few; raises UsageError for other kinds.

    What the disk itself takes to be sure of what was written (fsync) is left out: it comes once for all items.
    """
    shape = structure(few[0], 0)
    with tempfile.TemporaryDirectory(prefix="joulewise-") as name:
        folder = Path(name)
        writers = [LeafWriter(folder, n, kind) for n, kind in enumerate(kinds(shape))]
        try:
            began_s = time.thread_time()
            for number, item in enumerate(few):
                structure(item, number)
                for writer, leaf in zip(writers, leaves(item), strict=True):
                    writer.put(leaf, number)
            write_s = time.thread_time() - began_s
            told = [writer.finish() for writer in writers]
        finally:
            for writer in writers:
                writer.close()
        readers = [LeafReader(folder, n, leaf, len(few)) for n, leaf in enumerate(told)]
        began_s = time.thread_time()
        for number in range(len(few)):
            rebuilt(shape, (reader.get(number) for reader in readers))
        return write_s / len(few), (time.thread_time() - began_s) / len(few)


def encoded(leaf: Any, kind: str) -> tuple[bytes, tuple[int, ...]]:
    """Return a leaf's bytes and shape."""
    import numpy as np

    name, _, dtype = kind.partition(":")
    if name == "tensor":
        import torch

        flat = leaf.detach().cpu().contiguous().reshape(-1)
        data = flat.view(torch.uint8).numpy() if flat.numel() else np.empty(0, np.uint8)
        return data.tobytes(), tuple(leaf.shape)
    if name == "text":
        data = leaf.encode("utf-8", "surrogatepass")
        return data, (len(data),)
    if name == "bytes":
        return leaf, (len(leaf),)
    array = np.ascontiguousarray(leaf, dtype=_NUMBERS.get(name) or np.dtype(dtype))
    return array.tobytes(), np.shape(leaf)


@final
class LeafWriter:
    """Writes one leaf of every item."""

    def __init__(self, folder: Path, number: int, kind: str) -> None:
        self.kind = kind
        self.bytes = 0
        self._path = folder / f"leaf-{number}.bin"
        self._file: BinaryIO = self._path.open("wb", buffering=1 << 20)
        self._places = folder / f"leaf-{number}.shapes"
        self._index: BinaryIO | None = None
        self._shape: tuple[int, ...] | None = None
        self._count = 0

    def put(self, leaf: Any, number: int) -> None:
        """Write the leaf of the next item. Raises UsageError if it has another number of axes than those before."""
        import numpy as np

        data, shape = encoded(leaf, self.kind)
        if self._shape is None:
            self._shape = shape
        if len(shape) != len(self._shape):
            raise UsageError(
                f"item {number} of the recipe has {len(shape)} axes, items before it had {len(self._shape)}; give all the same number"
            )
        if self._index is None and shape != self._shape:
            self._index = self._places.open("wb", buffering=1 << 16)
            each = self.bytes // self._count  # the earlier items all had the first one's shape
            for before in range(self._count):
                self._index.write(np.array([before * each, *self._shape], "<i8").tobytes())
        if self._index is not None:
            self._index.write(np.array([self.bytes, *shape], "<i8").tobytes())
        self._file.write(data)
        self.bytes += len(data)
        self._count += 1

    def finish(self) -> dict[str, Any]:
        """Put everything on the disk and return how to read it."""
        files = [self._file, *([self._index] if self._index else [])]
        for file in files:
            file.flush()
            os.fsync(file.fileno())
            file.close()
        return {
            "kind": self.kind,
            "bytes": self.bytes,
            "shape": list(self._shape or ()),
            "ragged": self._index is not None,
        }

    def close(self) -> None:
        """Give back the files; what was written is of no use."""
        for file in (self._file, self._index):
            if file is not None:
                try:
                    file.close()
                except OSError:  # the disk is full: the last buffer has no place
                    continue


@final
class LeafReader:
    """Reads one leaf of any item from the mapped file."""

    def __init__(self, folder: Path, number: int, told: Mapping[str, Any], count: int) -> None:
        import numpy as np

        self.kind = str(told["kind"])
        self._name, _, self._dtype = self.kind.partition(":")
        self._shape = tuple(told["shape"])
        data = np.empty(0, np.uint8)
        if told["bytes"]:
            data = np.memmap(folder / f"leaf-{number}.bin", np.uint8, "r", shape=(told["bytes"],))
        self._data = data.view(np.ndarray)
        self._index = None
        if told["ragged"]:
            axes = len(self._shape) + 1
            self._index = np.fromfile(folder / f"leaf-{number}.shapes", "<i8").reshape(count, axes)
        self._each = told["bytes"] // count if count else 0
        self._count = count

    @property
    def whole(self) -> Any:
        """All items as one read-only array, or None where their shapes differ or they are no arrays."""
        import numpy as np

        if self._index is not None or self._name not in ("array", "scalar", *_NUMBERS):
            return None
        dtype = np.dtype(_NUMBERS.get(self._name) or self._dtype)
        return self._data.view(dtype).reshape(self._count, *self._shape)

    def get(self, number: int) -> Any:
        """Return the leaf of one item, as a copy that may be changed."""
        if self._index is None:
            start, shape = number * self._each, self._shape
            end = start + self._each
        else:
            start, *rest = self._index[number].tolist()
            shape = tuple(rest)
            end = int(self._index[number + 1, 0]) if number + 1 < self._count else len(self._data)
        return _decoded(self._data[start:end], self._name, self._dtype, shape)


def _kind(leaf: Any, number: int) -> str:
    for name, kind in (
        ("bool", bool),
        ("int", int),
        ("float", float),
        ("complex", complex),
        ("text", str),
        ("bytes", bytes),
    ):
        if type(leaf) is kind:
            if isinstance(leaf, int) and not -(2**63) <= leaf < 2**63:
                raise UsageError(
                    f"item {number} of the recipe holds {leaf}, which needs more than 64 bits; give text"
                )
            return name
    if _is_tensor(leaf):
        return f"tensor:{str(leaf.dtype).removeprefix('torch.')}"
    if hasattr(leaf, "dtype") and hasattr(leaf, "tobytes") and not leaf.dtype.hasobject:
        import numpy as np

        if leaf.dtype.fields is not None:
            raise UsageError(
                f"item {number} of the recipe is a structured array; give one array for each field"
            )
        return f"{'array' if isinstance(leaf, np.ndarray) else 'scalar'}:{leaf.dtype.str}"
    raise UsageError(
        f"item {number} of the recipe holds {type(leaf).__module__}.{type(leaf).__name__}, which cannot be cached; let the recipe "
        "give arrays, tensors, numbers or text"
    )


def _is_tensor(leaf: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(leaf, torch.Tensor)


def _decoded(data: Any, name: str, dtype: str, shape: tuple[int, ...]) -> Any:
    import numpy as np

    if name == "tensor":
        import torch

        kind = getattr(torch, dtype)
        if not math.prod(shape):
            return torch.empty(shape, dtype=kind)
        return torch.from_numpy(data.copy()).view(kind).reshape(shape)
    if name == "text":
        return data.tobytes().decode("utf-8", "surrogatepass")
    if name == "bytes":
        return data.tobytes()
    if name in _NUMBERS:
        return data.view(_NUMBERS[name])[0].item()
    array = data.copy().view(np.dtype(dtype))
    return array.reshape(shape) if name == "array" else array[0]
