"""One entity's features as a packed row: a few bytes that know their schema, their age and what is missing.

    bytes 0-7    the schema's stamp: a row of other columns is never read as one of these
    bytes 8-15   event time, microseconds since 1970 (UTC), signed
    then         one bit for each column, set where its value is missing, in words of 8 bytes
    then         the values, little-endian, in the order of the columns, without gaps

A row of 16 bytes is a tombstone: the entity was deleted at that time.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

from joulewise.features.views import Column

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Key = int | str

_FORMATS = {"bool": ("?", "?"), "int8": ("b", "i1"), "int16": ("h", "<i2"), "int32": ("i", "<i4"),
            "int64": ("q", "<i8"), "float32": ("f", "<f4"), "float64": ("d", "<f8")}  # fmt: skip
HEADER = struct.Struct("<8sq")


@final
class Layout:
    """How the rows of a view are packed. `stamp` tells layouts apart; `parse` gives stamp, time, missing and values."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        told = json.dumps([c.told for c in columns]).encode()
        self.stamp = hashlib.blake2b(told, digest_size=8).digest()
        self.words = (len(columns) + 63) // 64
        codes = "".join(_FORMATS[c.stored][0] for c in columns)
        self.struct = struct.Struct(f"<8sq{self.words}Q{codes}")
        self.size = self.struct.size
        self.parse = self.struct.unpack

    @property
    def dtype(self) -> np.dtype[Any]:
        """The same layout for whole arrays of rows."""
        import numpy as np

        fields = [("stamp", "V8"), ("at", "<i8"), ("missing", "<u8", (self.words,))]
        values = [(f"c{n}", _FORMATS[c.stored][1]) for n, c in enumerate(self.columns)]
        return np.dtype([*fields, *values])

    def pack(self, at_us: NDArray[np.int64], values: Mapping[str, Any]) -> NDArray[Any]:
        """Return the packed rows of columns of values; masked entries and NaN are missing."""
        import numpy as np

        rows = np.zeros(len(at_us), self.dtype)
        rows["stamp"] = np.void(self.stamp)
        rows["at"] = at_us
        for number, column in enumerate(self.columns):
            given = values[column.name]
            gone = np.ma.getmaskarray(given)
            plain = np.ma.getdata(given)
            if column.stored.startswith("float"):
                gone = gone | np.isnan(plain)
            if gone.any():
                rows["missing"][:, number // 64] |= gone.astype(np.uint64) << np.uint64(number % 64)
                plain = np.where(gone, plain.dtype.type(0), plain)
            rows[f"c{number}"] = plain
        return rows


def tombstone(stamp: bytes, at_us: int) -> bytes:
    """Return the row of an entity that was deleted."""
    return HEADER.pack(stamp, at_us)


def key_of(entity: Any, keys: Sequence[str]) -> Key:
    """Return an entity's key as the stores know it; several keys become one text. Raises TypeError for another kind."""
    if len(keys) == 1:
        if isinstance(entity, tuple | list) and len(entity) == 1:
            entity = entity[0]
        return _part(entity, keys)
    if not isinstance(entity, tuple | list) or len(entity) != len(keys):
        raise TypeError(
            f"an entity is {entity!r}, but its keys are {', '.join(keys)}: give a tuple of {len(keys)}"
        )
    return json.dumps([_part(part, keys) for part in entity], separators=(",", ":"), ensure_ascii=False)


def differences(before: Iterable[Column], after: Iterable[Column]) -> str:
    """Return in words how the columns differ: "+score, -tenure, age int32 -> float32"; "" where only defaults do."""
    before, after = tuple(before), tuple(after)
    old, new = {c.name: c.type for c in before}, {c.name: c.type for c in after}
    made = {c.name: c.told for c in before}
    parts = [f"+{n}" for n in new if n not in old] + [f"-{n}" for n in old if n not in new]
    parts += [f"{n} {old[n]} -> {new[n]}" for n in new if n in old and old[n] != new[n]]
    parts += [
        f"{c.name} {c.type} of other {'values' if c.values else 'buckets'}"
        for c in after
        if old.get(c.name) == c.type and made[c.name] != c.told
    ]
    if not parts and list(old) != list(new):
        parts = ["another order"]
    return ", ".join(parts)


def _part(value: Any, keys: Sequence[str]) -> Key:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        raise TypeError(f"an entity is {value!r}, but {', '.join(keys)} must be a whole number or text")
    if isinstance(value, int):
        return value
    if hasattr(value, "item") and isinstance(whole := value.item(), int):
        return whole
    raise TypeError(f"an entity is {value!r}, but {', '.join(keys)} must be a whole number or text")
