"""Fingerprints: equal for equal content. Of large arrays about a megabyte is looked at, and their shape."""

from __future__ import annotations

from .stdlib import load

TYPE_CHECKING = False  # typing would be the dearest import of a small program
if TYPE_CHECKING:
    from typing import Any

_MOST_BYTES = 1_000_000
_blake2b: Any = load("_blake2").blake2b


def digest(data: bytes) -> str:
    """Return the fingerprint of bytes: 16 hexadecimal digits."""
    return str(_blake2b(data, digest_size=8).hexdigest())


def fingerprint(value: Any, depth: int = 0) -> str:
    """Return the fingerprint of an array, a tensor, a table, or a container of them; "" if it cannot be told."""
    state = _blake2b(digest_size=8)
    try:
        _feed(state, value, depth)
    except (TypeError, ValueError, AttributeError, RuntimeError):
        return ""
    return str(state.hexdigest())


def _feed(state: Any, value: Any, depth: int) -> None:
    if depth > 3:
        return
    if hasattr(value, "detach") and hasattr(value, "numpy"):
        value = value.detach().cpu().numpy()
    elif hasattr(value, "to_numpy"):
        value = value.to_numpy()
    if hasattr(value, "tobytes") and hasattr(value, "shape"):
        state.update(f"{value.shape} {getattr(value, 'dtype', '')}".encode())
        size = int(getattr(value, "nbytes", 0))
        if size > _MOST_BYTES and len(value.shape):
            value = value[:: -(-size // _MOST_BYTES)]
        if str(getattr(value, "dtype", "")) == "object":
            state.update(repr(value[:1000]).encode())
        else:
            state.update(value.tobytes())
    elif hasattr(value, "data") and hasattr(value, "indices") and hasattr(value, "shape"):  # scipy.sparse
        _feed(state, value.data, depth + 1)
        _feed(state, value.indices, depth + 1)
    elif isinstance(value, (list, tuple)):
        state.update(str(len(value)).encode())
        for part in value[:1000]:
            _feed(state, part, depth + 1)
    elif isinstance(value, dict):
        for key in list(value)[:100]:
            state.update(str(key).encode())
            _feed(state, value[key], depth + 1)
    else:
        state.update(repr(value)[:1000].encode("utf-8", "backslashreplace"))
