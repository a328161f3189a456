"""Read features online: one get into the model's input array, with the age of every value.

    reader = Reader(store, [user_spend, user_profile], name="churn-model")
    row = np.empty(reader.width, dtype="float32")
    ages_s = reader.read(17, row)       # (412.0, 86.5): seconds since the event time of each view's row
    rows, ages_s = reader.batch([17, 4, 99])

No join, window or aggregate happens here. What is missing (the entity, or a null) becomes the column's default, or NaN
in an array of floats; a row of another schema than the reader's view file is refused, never misread. Every read is
counted under the reader's name; the counts reach the store now and then, and at `close`.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, final

from joulewise.features.extras import need
from joulewise.features.online import OnlineStore, ReadTally, StoreAway, ViewState
from joulewise.features.rows import HEADER, Key, Layout, differences, key_of
from joulewise.features.views import View
from joulewise.vocabulary.errors import FeatureError, UnknownName, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NEVER_S = float("nan")  # the age of what is missing
_TELL_EVERY_S = 10.0
_KEPT_ROWS = 10_000


@final
class Reader:
    """Reads a list of views of one entity into one row: the columns of the first view, then those of the next.

    A view given by its name is read as the store knows it, without its file. `tolerates_s` is the oldest value that this reader is content with (default: each view's TTL); what is older is
    counted as stale. `dtype` is that of the arrays that `row` and `batch` make.
    """

    def __init__(
        self,
        store: OnlineStore,
        views: Sequence[View | str],
        *,
        name: str = "",
        dtype: str = "float32",
        tolerates_s: float = 0.0,
    ) -> None:
        need("numpy")
        import numpy as np

        if not views:
            raise UsageError("a reader needs at least one view")
        states = store.states()
        known = [_known(states, v, store.where) if isinstance(v, str) else v for v in views]
        if len({v.keys for v in known}) > 1:
            raise UsageError(
                f"views {', '.join(v.name for v in known)} have different keys; use a reader for each entity"
            )
        self._store, self.name, self._dtype = store, name or "unnamed", np.dtype(dtype)
        self.keys = known[0].keys
        self._single = len(self.keys) == 1
        self._parts: list[_Part] = []
        start = 0
        for view in known:
            part = _Part(view, states.get(view.name), start, tolerates_s, self._dtype)
            self._parts.append(part)
            start += part.width
        self.width = start
        self.columns = tuple(f"{p.view.name}.{c.name}" for p in self._parts for c in p.layout.columns)
        self.defaults = np.concatenate([p.defaults for p in self._parts])
        self.tolerates_s = tuple(p.tolerates_s for p in self._parts)
        self._lookup = store.lookup([v.name for v in known])
        self._one = self._lookup.one
        self._keeps = any(v.away == "last" for v in known)
        self._last: OrderedDict[Key, Sequence[bytes | None]] = OrderedDict()
        self._told_s = time.monotonic()
        self.away = 0  # reads that were answered with the last good value

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, entity: Any, into: NDArray[Any]) -> tuple[float, ...]:
        """Write one entity's features into the one-dimensional array `into`; return the age of each view's row in seconds.

        The age of what is missing is NaN. Raises FeatureError if the store holds rows of another schema, or is away and
        a view says `away="refuse"` or nothing was read before.
        """
        key = entity if self._single and type(entity) is int else key_of(entity, self.keys)
        try:
            found = self._one(key)
        except StoreAway:
            found = self._last_good(key)
        now_s = time.time()
        ages = []
        for part, row in zip(self._parts, found, strict=True):
            ages.append(part.unpack(row, into, now_s))
        if self._keeps:
            self._keep(key, found)
        self._counted(1)
        return tuple(ages)

    def row(self, entity: Any) -> NDArray[Any]:
        """Return one entity's features as a new array."""
        import numpy as np

        into = np.empty(self.width, self._dtype)
        self.read(entity, into)
        return into

    def batch(
        self, entities: Sequence[Any], into: NDArray[Any] | None = None
    ) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Return the features of many entities, a row each, and the ages in seconds, a column for each view."""
        import numpy as np

        keys = [key_of(e, self.keys) for e in entities]
        if into is None:
            into = np.empty((len(keys), self.width), self._dtype)
        ages = np.empty((len(keys), len(self._parts)))
        if not keys:
            return into, ages
        try:
            found = self._lookup.many(keys)
        except StoreAway:
            lasting = [self._last_good(key) for key in keys]
            found = [[rows[n] for rows in lasting] for n in range(len(self._parts))]
        now_s = time.time()
        for number, (part, rows) in enumerate(zip(self._parts, found, strict=True)):
            part.unpack_many(rows, into, ages[:, number], now_s)
        if self._keeps:
            for number, key in enumerate(keys):
                self._keep(key, [rows[number] for rows in found])
        self._counted(len(keys))
        return into, ages

    def tallies(self) -> list[ReadTally]:
        """Return what was read since the store was last told."""
        return [p.tally(self.name) for p in self._parts if p.reads]

    def tell(self) -> None:
        """Tell the store what was read; if it is busy, the next time."""
        self._told_s = time.monotonic()
        if (tallies := self.tallies()) and self._store.tally(tallies):
            for part in self._parts:
                part.forget()

    def close(self) -> None:
        """Tell the store what was read. The store itself stays open: it is the caller's."""
        self.tell()

    def _counted(self, reads: int) -> None:
        for part in self._parts:
            part.reads += reads
        if time.monotonic() - self._told_s > _TELL_EVERY_S:
            self.tell()

    def _keep(self, key: Key, found: Sequence[bytes | None]) -> None:
        self._last[key] = found
        self._last.move_to_end(key)
        if len(self._last) > _KEPT_ROWS:
            self._last.popitem(last=False)

    def _last_good(self, key: Key) -> Sequence[bytes | None]:
        """Return the last good rows, if every view allows it. Called while the store's own error is being handled."""
        if key not in self._last or any(p.view.away != "last" for p in self._parts):
            raise  # noqa: PLE0704 - the error of the store
        self.away += 1
        return self._last[key]


def _known(states: Mapping[str, ViewState], name: str, where: str) -> ViewState:
    if name not in states:
        raise UnknownName("view", name, states, f"(in the online store {where})")
    return states[name]


@final
class _Part:
    """One view's place in the row."""

    def __init__(
        self, view: View | ViewState, state: Any, start: int, tolerates_s: float, dtype: np.dtype[Any]
    ) -> None:
        import numpy as np

        if state is None:
            raise FeatureError(
                f"view {view.name} was never materialised here; run: joulewise materialise --view {view.name}"
            )
        columns = view.columns or state.columns
        if changed := differences(columns, state.columns):
            raise FeatureError(
                f"view {view.name} in the store has other columns than its file (store: {changed}); "
                f"materialise it from the same file, with --migrate"
            )
        self.view, self.layout = view, Layout(columns)
        self.tolerates_s = tolerates_s or view.ttl_s
        self.width = len(columns)
        self._slice = slice(start, start + self.width)
        self._start = start
        self._size, self._stamp, self._parse = self.layout.size, self.layout.stamp, self.layout.parse
        self._words = self.layout.words
        self._types = self.layout.dtype
        self._serves_stale = view.stale == "serve"
        without = [c.name for c in columns if c.default is None]
        if without and dtype.kind != "f":
            raise UsageError(
                f"view {view.name}: {', '.join(without)} has no default, and an array of {dtype} cannot hold NaN; give a default"
            )
        self.defaults = np.array([np.nan if c.default is None else c.default for c in columns]).astype(dtype)
        kinds = {c.type for c in columns}
        self._alike = kinds.pop() if len(kinds) == 1 else ""
        self._head = HEADER.size + 8 * self._words
        self._unpack_head = HEADER.unpack_from
        self._no_gap = bytes(8 * self._words)
        self.forget()

    def forget(self) -> None:
        self.reads = self.missing = self.stale = 0
        self.age_sum_s = 0.0
        self.first_utc = ""

    def tally(self, reader: str) -> ReadTally:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.first_utc = self.first_utc or now
        return ReadTally(
            self.view.name,
            reader,
            self.reads,
            self.missing,
            self.stale,
            self.age_sum_s,
            self.tolerates_s,
            self.first_utc,
            now,
        )

    def unpack(self, row: bytes | None, into: NDArray[Any], now_s: float) -> float:
        """Write one packed row into its place and return its age."""
        if row is None or len(row) != self._size or row[:8] != self._stamp:
            return self._absent(row, into)
        if row[16 : self._head] == self._no_gap:
            values = self._parse(row)
            into[self._slice] = values[2 + self._words :]
            at_us = values[1]
        else:
            values = self._parse(row)
            at_us = values[1]
            self._fill(values, into)
        age_s = now_s - at_us / 1e6
        self.age_sum_s += age_s
        if age_s > self.tolerates_s:
            self.stale += 1
            if not self._serves_stale:
                into[self._slice] = self.defaults
        return float(age_s)

    def unpack_many(
        self, rows: Sequence[bytes | None], into: NDArray[Any], ages: NDArray[np.float64], now_s: float
    ) -> None:
        """Write many packed rows into their columns and their ages into `ages`."""
        import numpy as np

        size, stamp = self._size, self._stamp
        whole = all(row is not None and len(row) == size and row[:8] == stamp for row in rows)
        if not whole:
            for number, row in enumerate(rows):
                ages[number] = self.unpack(row, into[number], now_s)
            return
        table = np.frombuffer(b"".join(rows), self._types)  # type: ignore[arg-type]  # none is None: looked at above
        block = into[:, self._slice]
        if self._alike:
            width = self._types["c0"].itemsize * self.width
            raw = np.frombuffer(table.tobytes(), np.uint8).reshape(len(rows), self._size)[
                :, self._head : self._head + width
            ]
            block[...] = np.ascontiguousarray(raw).view(self._types["c0"])
        else:
            for number in range(self.width):
                block[:, number] = table[f"c{number}"]
        if table["missing"].any():
            bits = np.unpackbits(
                np.ascontiguousarray(table["missing"]).view(np.uint8), axis=1, bitorder="little"
            )
            gone = bits[:, : self.width].astype(bool)
            block[gone] = np.broadcast_to(self.defaults, block.shape)[gone]
        ages[...] = now_s - table["at"] / 1e6
        self.age_sum_s += float(ages.sum())
        late = ages > self.tolerates_s
        self.stale += int(late.sum())
        if not self._serves_stale and late.any():
            block[late] = self.defaults

    def _absent(self, row: bytes | None, into: NDArray[Any]) -> float:
        if row is not None and len(row) >= HEADER.size and row[:8] != self._stamp:
            raise FeatureError(
                f"view {self.view.name} was materialised with other columns while this reader was open; open it again with the "
                "new view file"
            )
        self.missing += 1
        into[self._slice] = self.defaults
        return NEVER_S

    def _fill(self, values: tuple[Any, ...], into: NDArray[Any]) -> None:
        given = list(values[2 + self._words :])
        for number in range(self.width):
            if values[2 + number // 64] >> (number % 64) & 1:
                given[number] = self.defaults[number]
        into[self._slice] = given
