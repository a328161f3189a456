"""A served model that is fed by feature views: a request names the entities, and what is known of them is read here.

    keys of a batch ──> one get in each view ──> the model's tensors, in its order ──> the model ──> outputs and ages

`FedModel` stands in front of a model and is one itself, so batches, deadlines, documentation and both dialects are those of
every model. Its inputs are the keys of the entities in place of the inputs that views fill, its outputs the model's and,
for each view, `VIEW.age_s`: seconds since the event time of what was read, null where nothing was. Requests that share a
batch share a read. Its answers are not kept (`repeats` is False): a kept one would hide the age of its features.

No view file is needed: the online store knows columns, keys and policies. Columns are found by name; where a view was
materialised with other columns meanwhile they are found anew, and what is gone then is a refusal (503), never a misreading.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from joulewise.features.online import OnlineStore, StoreAway, ViewState
from joulewise.features.reading import Reader
from joulewise.serving.onnx_model import Model
from joulewise.serving.tensors import Refused, Spec, Tensor
from joulewise.vocabulary.errors import FeatureError, UnknownName, UsageError

Views = Mapping[str, Sequence[str]]  # by input: names of views, or of columns as `view.column`


@dataclass(slots=True)
class Counts:
    """What was read since the server began, a row of one view counted once; CPU seconds of the reading thread."""

    reads: int = 0
    missing: int = 0
    stale: int = 0
    away: int = 0  # answered with the last good value
    cpu_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Plan:
    """Readers, and where their columns go: for each input a list of (reader, its columns, the input's columns)."""

    readers: tuple[Reader, ...]
    inputs: Mapping[str, tuple[tuple[int, list[int], list[int]], ...]]
    ages: Mapping[str, tuple[int, int]]  # by view: reader, its column of ages
    whole: frozenset[str]  # inputs that are one reader's row as it is


@final
class FedModel:
    """A model whose inputs in `views` are read from `store`. Raises UsageError if they do not fit.

    Reads are counted under the name `reader` (the model's), in the store as well (`joulewise features show`). The store is
    the caller's, and for this model alone.
    """

    def __init__(self, model: Model, views: Views, store: OnlineStore, reader: str = "") -> None:
        self.name, self.version = model.name, model.version
        self.batches, self.repeats = model.batches, False
        self.waits = "://" in store.where  # a network is waited for
        self._model = model
        self._names = [spec.name for spec in model.inputs]
        self.feed = Feed(model.name, model.inputs, views, store, reader or model.name)
        rest = tuple(spec for spec in model.inputs if spec.name not in views)
        for spec in rest:
            if spec.name in {key.name for key in self.feed.keys}:
                raise UsageError(f"{model.name}: {spec.name!r} is an input of its own and the key of a view")
        self.inputs = self.feed.keys + rest
        self.outputs = (*model.outputs, *self.feed.ages)

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the model's outputs and the ages. Raises Refused: 503 if the features cannot be read."""
        given = dict(zip((spec.name for spec in self.inputs), tensors, strict=True))
        filled, ages = self.feed.read(given)
        outputs = self._model.run([filled.get(name, given.get(name)) for name in self._names])  # type: ignore[misc]
        return [*outputs, *ages]


@final
class Feed:
    """Reads what views know of the entities in a batch, as tensors for the inputs that they fill. It outlives its model."""

    def __init__(
        self, model: str, inputs: Sequence[Spec], views: Views, store: OnlineStore, reader: str
    ) -> None:
        self.counts = Counts()
        self._reader, self._views, self._store = reader, views, store
        self._specs = {spec.name: spec for spec in inputs}
        self._lock = threading.Lock()
        for name in views:
            if name not in self._specs:
                raise UnknownName("input", name, self._specs, f"(of {model}, filled from views)")
        states = named(views, store)
        self._plan = self._planned(states)
        rows = {self._specs[name].shape[0] for name in views} - {None}
        if len(rows) > 1:
            raise UsageError(f"{model}: its inputs {', '.join(views)} want different numbers of rows")
        shape = (rows.pop() if rows else None,)
        kinds = {
            key: kind
            for s in states.values()
            for key, kind in zip(s.keys, s.key_kinds or ["whole"] * len(s.keys), strict=True)
        }
        self.keys = tuple(
            Spec(key, "INT64" if kind == "whole" else "BYTES", shape) for key, kind in kinds.items()
        )
        self.ages = tuple(Spec(f"{view}.age_s", "FP64", shape) for view in self._plan.ages)

    def read(self, given: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return the inputs that views fill, for the keys that are given, and each view's ages. Raises Refused (503)."""
        began_s = time.thread_time()
        with self._lock:
            try:
                return self._filled(given)
            except FeatureError as error:
                raise Refused(503, str(error)) from None
            finally:
                self.counts.cpu_s += time.thread_time() - began_s

    def close(self) -> None:
        """Tell the store what was read."""
        with self._lock:
            for reader in self._plan.readers:
                reader.close()

    def counters(self) -> dict[str, float]:
        """Return the counts by name, for metrics and the recording."""
        count = self.counts
        return {
            "feature_reads": count.reads,
            "feature_missing": count.missing,
            "feature_stale": count.stale,
            "feature_away": count.away,
            "feature_cpu_s": round(count.cpu_s, 4),
        }

    def _filled(self, given: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[Tensor]]:
        try:
            return self._read(given)
        except StoreAway:
            raise
        except FeatureError:  # materialised with other columns meanwhile
            try:
                self._plan = self._planned(named(self._views, self._store))
            except UsageError as changed:
                raise FeatureError(str(changed)) from None
            return self._read(given)

    def _read(self, given: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[Tensor]]:
        plan = self._plan
        found = [_found(reader, _entities(reader, given)) for reader in plan.readers]
        filled = {}
        for name, parts in plan.inputs.items():
            spec = self._specs[name]
            if name in plan.whole:
                rows = found[parts[0][0]][0]  # the row as it was read
                filled[name] = rows if len(spec.shape) == 2 else rows[:, 0]
                continue
            rows = np.empty((len(found[0][0]), sum(len(into) for _, _, into in parts)), spec.dtype)
            for number, columns, into in parts:
                rows[:, into] = found[number][0][:, columns]
            filled[name] = rows if len(spec.shape) == 2 else rows[:, 0]
        ages = [found[number][1][:, column].round(3) for number, column in plan.ages.values()]
        for (number, column), age_s in zip(plan.ages.values(), ages, strict=True):
            self._count(age_s.tolist(), plan.readers[number].tolerates_s[column])
        self.counts.away = sum(reader.away for reader in plan.readers)
        return filled, ages

    def _count(self, ages_s: list[float], tolerates_s: float) -> None:
        self.counts.reads += len(ages_s)
        for age_s in ages_s:
            self.counts.missing += age_s != age_s  # noqa: PLR0124 - NaN: nothing was there
            self.counts.stale += age_s > tolerates_s

    def _planned(self, states: Mapping[str, ViewState]) -> _Plan:
        """Return the readers that fill the inputs: one for the views of one entity and one type of number."""
        wanted = {name: _columns(states, items) for name, items in self._views.items()}
        groups: dict[tuple[tuple[str, ...], str], dict[str, None]] = {}
        for name, columns in wanted.items():
            for view, _ in columns:
                groups.setdefault((states[view].keys, _dtype(self._specs[name])), {})[view] = None
        readers = {
            group: Reader(self._store, list(views), name=self._reader, dtype=group[1])
            for group, views in groups.items()
        }
        order = list(readers)
        inputs: dict[str, tuple[tuple[int, list[int], list[int]], ...]] = {}
        ages: dict[str, tuple[int, int]] = {}
        for name, columns in wanted.items():
            spec = self._specs[name]
            if len(spec.shape) not in (1, 2) or (spec.shape[1:] or (1,))[0] not in (None, len(columns)):
                raise UsageError(
                    f"the input {name} has the shape {list(spec.shape)}, but {', '.join(self._views[name])} "
                    f"give{'s' if len(self._views[name]) == 1 else ''} {len(columns)} column{'s' if len(columns) > 1 else ''}"
                )
            parts: dict[int, tuple[list[int], list[int]]] = {}
            for place, (view, column) in enumerate(columns):
                group = (states[view].keys, _dtype(spec))
                number = order.index(group)
                taken, into = parts.setdefault(number, ([], []))
                taken.append(readers[group].columns.index(f"{view}.{column}"))
                into.append(place)
                ages.setdefault(view, (number, list(groups[group]).index(view)))
            inputs[name] = tuple((number, taken, into) for number, (taken, into) in parts.items())
        whole = frozenset(
            name
            for name, parts in inputs.items()
            if len(parts) == 1 and parts[0][1] == list(range(list(readers.values())[parts[0][0]].width))
        )
        return _Plan(tuple(readers.values()), inputs, ages, whole)


def named(views: Views, store: OnlineStore) -> dict[str, ViewState]:
    """Return the states of the views that are named. Raises UnknownName for what the store does not hold."""
    states = store.states()
    found = {}
    for items in views.values():
        for item in items:
            view = item if item in states else item.partition(".")[0]
            if view not in states:
                raise UnknownName(
                    "view",
                    view,
                    states,
                    f"(in the online store {store.where}; joulewise materialise brings it there)",
                )
            found[view] = states[view]
    return found


def _columns(states: Mapping[str, ViewState], items: Sequence[str]) -> list[tuple[str, str]]:
    columns = []
    for item in items:
        if item in states:
            columns += [(item, c.name) for c in states[item].columns]
            continue
        view, _, column = item.partition(".")
        if column not in (known := [c.name for c in states[view].columns]):
            raise UnknownName("column", column, known, f"(of view {view})")
        columns.append((view, column))
    return columns


def _dtype(spec: Spec) -> str:
    return str(np.dtype(spec.dtype))


def _found(reader: Reader, entities: Sequence[object]) -> tuple[Tensor, Tensor]:
    """Return rows and ages; a single entity by the shorter way."""
    if len(entities) != 1:
        return reader.batch(entities)
    rows = np.empty((1, reader.width), reader.dtype)
    return rows, np.array([reader.read(entities[0], rows[0])])


def _entities(reader: Reader, given: Mapping[str, Tensor]) -> list[object]:
    parts = [given[key].tolist() for key in reader.keys]
    return parts[0] if len(parts) == 1 else list(zip(*parts, strict=True))
