"""The user's validation rows: inputs by name, what should come out, and those set aside to calibrate.

Calibration and gate never see the same rows: what a static int8 model was fitted to cannot judge it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from joulewise.vocabulary.errors import UsageError

Array = NDArray[Any]
_CALIBRATE_ROWS, _CALIBRATE_SHARE = 256, 5


@dataclass(frozen=True, slots=True)
class Data:
    """Rows: one array for each input, and the targets (None where the metric needs none)."""

    inputs: Mapping[str, Array]
    targets: Array | None = None

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.inputs.values())))

    def take(self, rows: Array | slice) -> Data:
        """Return these rows."""
        targets = None if self.targets is None else self.targets[rows]
        return Data({name: values[rows] for name, values in self.inputs.items()}, targets)

    def split(self, seed: int = 0) -> tuple[Data, Data]:
        """Return rows to calibrate on (a fifth, at most 256, drawn at random) and those to judge by, in their order."""
        count = min(_CALIBRATE_ROWS, self.rows // _CALIBRATE_SHARE)
        drawn = np.random.default_rng(seed).permutation(self.rows)
        return self.take(np.sort(drawn[:count])), self.take(np.sort(drawn[count:]))

    def feed(self, first: int, rows: int) -> dict[str, Array]:
        """Return a batch of so many rows from `first` on, beginning again at the end."""
        places = np.arange(first, first + rows) % self.rows
        return {name: values[places] for name, values in self.inputs.items()}


def read(path: Path, inputs: Mapping[str, Any], target: str = "y") -> Data:
    """Return the rows of an .npz file that holds an array for each input (name: dtype), and `target`. Raises UsageError."""
    try:
        with np.load(path, allow_pickle=False) as file:
            held = {name: file[name] for name in file.files}
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, BadZipFile, AttributeError):  # numpy's own words advise to unpickle
        raise UsageError(f"{path} is no .npz with plain arrays; nothing is unpickled") from None
    return of_arrays(held, inputs, target, str(path))


def of_arrays(held: Mapping[str, Array], inputs: Mapping[str, Any], target: str, place: str = "data") -> Data:
    """Return the rows in a mapping of arrays, cast to the inputs' types. Raises UsageError."""
    missing = [name for name in inputs if name not in held]
    if missing:
        raise UsageError(
            f"{place} holds {', '.join(held) or 'nothing'}, but the model's inputs are {', '.join(inputs)}: there is no {missing[0]!r}"
        )
    if target in inputs:
        raise UsageError(
            f"{target!r} is an input of the model: say which array holds what should come out, --target NAME"
        )
    rows = {name: _cast(place, name, held[name], dtype) for name, dtype in inputs.items()}
    targets = held.get(target)
    counts = {name: len(values) for name, values in rows.items()} | (
        {} if targets is None else {target: len(targets)}
    )
    if len(set(counts.values())) > 1:
        raise UsageError(
            f"{place}: arrays differ in rows: {', '.join(f'{n} {c}' for n, c in counts.items())}"
        )
    if not next(iter(counts.values())):
        raise UsageError(f"{place} has no rows")
    return Data(rows, targets)


def _cast(place: str, name: str, values: Array, dtype: Any) -> Array:
    if values.ndim == 0 or values.dtype.kind not in "fiub":
        raise UsageError(
            f"{place}: {name} is {values.dtype} of shape {values.shape}, but must be rows of numbers"
        )
    cast = np.ascontiguousarray(values, dtype=dtype)
    if values.dtype.kind == "f" and cast.dtype.kind != "f" and not np.array_equal(cast, values):
        raise UsageError(f"{place}: {name} has fractions, but the model takes {np.dtype(dtype)}")
    return cast
