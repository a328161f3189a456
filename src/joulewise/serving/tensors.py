"""From JSON to tensors and back: strict, because what is let through here is what the model will believe.

A list becomes a tensor of the model's type only if every element is such a number: no text, no null, no truth value
for a number, no fraction for an integer, nothing that is not finite, nothing out of the type's range. Whatever does not
fit is refused with the tensor's name, what was seen and what was expected.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# ONNX's name, the name in Open Inference Protocol v2, numpy's type
TYPES: Mapping[str, tuple[str, Any]] = {
    "tensor(bool)": ("BOOL", np.bool_),
    "tensor(uint8)": ("UINT8", np.uint8),
    "tensor(uint16)": ("UINT16", np.uint16),
    "tensor(uint32)": ("UINT32", np.uint32),
    "tensor(uint64)": ("UINT64", np.uint64),
    "tensor(int8)": ("INT8", np.int8),
    "tensor(int16)": ("INT16", np.int16),
    "tensor(int32)": ("INT32", np.int32),
    "tensor(int64)": ("INT64", np.int64),
    "tensor(float16)": ("FP16", np.float16),
    "tensor(float)": ("FP32", np.float32),
    "tensor(double)": ("FP64", np.float64),
}

Tensor = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Spec:
    """A tensor that the model takes or gives: name, v2 datatype, shape (None where any size goes)."""

    name: str
    datatype: str
    shape: tuple[int | None, ...]

    @property
    def dtype(self) -> Any:
        """Return numpy's type."""
        return _DTYPES[self.datatype]


_DTYPES: Mapping[str, Any] = {**dict(TYPES.values()), "BYTES": np.str_}  # text: keys of entities
_CODES = {
    "UINT8": "B",
    "INT8": "b",
    "INT16": "h",
    "UINT16": "H",
    "INT32": "i",
    "UINT32": "I",
    "INT64": "q",
    "UINT64": "Q",
}


class Refused(Exception):  # noqa: N818 - it names the state
    """A request that gets an error: its HTTP status, and one line that says what is wrong with it."""

    def __init__(self, status: int, reason: str, retry_after_s: int | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after_s = retry_after_s


def bounds(spec: Spec) -> dict[str, float]:
    """Return what a tensor can hold, as JSON Schema says it; a number that rounds to a finite one is held."""
    dtype = np.dtype(spec.dtype)
    if dtype.kind in "iu":
        return {"minimum": int(np.iinfo(dtype).min), "maximum": int(np.iinfo(dtype).max)}
    limits = np.finfo(dtype)
    if dtype.itemsize == 8:
        return {"minimum": float(limits.min), "maximum": float(limits.max)}
    beyond = float(
        2.0 ** int(limits.maxexp) * (1 - 2.0 ** -(int(limits.nmant) + 2))
    )  # half a step above the largest
    return {"exclusiveMinimum": -beyond, "exclusiveMaximum": beyond}


def no_truth(spec: Spec, data: Any) -> None:
    """Raise Refused (400) if true or false stands among the numbers of a tensor: numpy would take them for 1 and 0."""
    if spec.datatype == "BOOL":
        return
    left = [data]
    while left:
        one = left.pop()
        if isinstance(one, list):
            left += one
        elif isinstance(one, bool):
            raise Refused(400, f"tensor {spec.name!r} holds true or false, but must hold {spec.datatype}")


def tensor(spec: Spec, data: Any, shape: Sequence[int] | None = None) -> Tensor:
    """Return `data` (nested lists; flat ones if `shape` is given) as the tensor of `spec`. Raises Refused (400)."""
    code = _CODES.get(spec.datatype)
    if code is not None and shape is None and len(spec.shape) == 2:
        quick = _rows(spec, data, code)
        if quick is not None:
            return quick
    try:
        raw = np.asarray(data)
    except (ValueError, OverflowError):
        raise Refused(400, f"tensor {spec.name!r} is ragged: its rows differ in length") from None
    if raw.size and not _fits(raw.dtype.kind, spec.datatype):
        raise Refused(400, f"tensor {spec.name!r} holds {_kind(raw)}, but must hold {spec.datatype}")
    if shape is not None:
        if raw.size != _product(shape):
            raise Refused(
                400,
                f"tensor {spec.name!r} has {raw.size} elements, but its shape {list(shape)} needs {_product(shape)}",
            )
        raw = raw.reshape(tuple(shape))
    if not _matches(raw.shape, spec.shape):
        raise Refused(
            400, f"tensor {spec.name!r} has shape {list(raw.shape)}, but must be {_shape_text(spec.shape)}"
        )
    return _cast(spec, raw)


def _rows(spec: Spec, data: Any, code: str) -> Tensor | None:
    """Return rows of integers as a tensor, at a third of what numpy takes; None where anything is not as it should be.

    What is wrong is said by the long way.
    """
    width = spec.shape[1]
    if type(data) is not list or not data or spec.shape[0] not in (None, len(data)):
        return None
    size = width or (len(data[0]) if type(data[0]) is list else 0)
    try:
        parts = [
            bytes(row) if code == "B" else array(code, row)
            for row in data
            if type(row) is list and row and len(row) == size and type(row[0]) is int
        ]
    except (TypeError, ValueError, OverflowError):
        return None
    if len(parts) != len(data):
        return None
    raw = parts[0] if len(parts) == 1 else b"".join(parts)
    return np.frombuffer(raw, spec.dtype).reshape(len(parts), size)


def binary_tensor(spec: Spec, raw: memoryview, shape: Sequence[int]) -> Tensor:
    """Return little-endian bytes as the tensor of `spec`. Raises Refused (400)."""
    if spec.datatype == "BYTES":
        raise Refused(400, f"tensor {spec.name!r} is text: send its data as JSON")
    dtype = np.dtype(spec.dtype).newbyteorder("<")
    if len(raw) != _product(shape) * dtype.itemsize:
        raise Refused(
            400,
            f"tensor {spec.name!r} has {len(raw)} bytes, but {spec.datatype} {list(shape)} needs {_product(shape) * dtype.itemsize}",
        )
    if not _matches(shape, spec.shape):
        raise Refused(
            400, f"tensor {spec.name!r} has shape {list(shape)}, but must be {_shape_text(spec.shape)}"
        )
    given = np.frombuffer(raw, dtype).reshape(tuple(shape))
    if dtype.kind == "f" and not np.isfinite(given).all():
        raise Refused(400, f"tensor {spec.name!r} holds a number that is not finite in {spec.datatype}")
    if dtype.kind == "b" and (given.view(np.uint8) > 1).any():
        raise Refused(400, f"tensor {spec.name!r} holds a byte that is neither 0 nor 1")
    return given.astype(spec.dtype, copy=False)


def _cast(spec: Spec, raw: Tensor) -> Tensor:
    dtype = np.dtype(spec.dtype)
    if dtype.kind in "iu" and raw.size:
        limits = np.iinfo(dtype)
        if int(raw.min()) < limits.min or int(raw.max()) > limits.max:
            raise Refused(400, f"tensor {spec.name!r} holds a number outside of {spec.datatype}")
    if dtype.kind != "f" or (
        raw.dtype.kind != "f" and dtype.itemsize > 2
    ):  # every integer is finite in 32 bits
        return raw.astype(dtype)
    with np.errstate(over="ignore"):
        cast = raw.astype(dtype)
    if not np.isfinite(cast).all():
        raise Refused(400, f"tensor {spec.name!r} holds a number that is not finite in {spec.datatype}")
    return cast


def _fits(kind: str, datatype: str) -> bool:
    if datatype in ("BOOL", "BYTES"):
        return kind == ("b" if datatype == "BOOL" else "U")
    return kind in "iuf" if datatype.startswith("FP") else kind in "iu"


def _kind(raw: Tensor) -> str:
    names = {
        "b": "true or false",
        "f": "numbers with a fraction",
        "U": "text",
        "i": "integers",
        "u": "integers",
    }
    return names.get(raw.dtype.kind, "something else than numbers (null, text, or rows of unlike length)")


def _matches(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    if len(shape) != len(wanted):
        return False
    for size, want in zip(shape, wanted, strict=True):
        if size <= 0 if want is None else size != want:
            return False
    return True


def _shape_text(shape: Sequence[int | None]) -> str:
    return "[" + ", ".join("any" if size is None else str(size) for size in shape) + "]"


def _product(shape: Sequence[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
