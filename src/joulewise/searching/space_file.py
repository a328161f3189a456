"""A space in a TOML file, for programs that are searched without an edit.

learning_rate = { low = 1e-4, high = 1e-1, log = true }     # a real number
layers = { low = 1, high = 5 }                              # a whole number: both ends are whole
optimiser = ["sgd", "adam"]                                 # one of these
momentum = { low = 0.1, high = 0.99, when = { optimiser = ["sgd"] } }
schedule = { values = ["cosine", "step"], when = { optimiser = ["adam"] } }
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from joulewise.searching.space import Choice, Float, Int, Parameter, Space
from joulewise.vocabulary.errors import UnknownName, UsageError

_RANGE, _CHOICE = ("low", "high", "log", "when"), ("values", "when")


def read_space(path: Path) -> Space:
    """Return the space that a TOML file describes; UsageError in one line for whatever is wrong with it."""
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the space {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the space {path}: {error}") from None
    return Space({name: _parameter(name, entry) for name, entry in told.items()})


def _parameter(name: str, entry: Any) -> Parameter:
    if isinstance(entry, list):
        return Choice(tuple(entry))
    if not isinstance(entry, Mapping):
        raise UsageError(
            f"{name} is {entry!r}, but must be a list of choices or a range: {name} = {{ low = 1, high = 5 }}"
        )
    keys = _CHOICE if "values" in entry else _RANGE
    for key in entry:
        if key not in keys:
            raise UnknownName("key", key, keys, f"of {name} in the space")
    when = _when(name, entry.get("when", {}))
    if "values" in entry:
        if not isinstance(entry["values"], list):
            raise UsageError(f"the values of {name} are {entry['values']!r}, but must be a list")
        return Choice(tuple(entry["values"]), when)
    low, high, log = entry.get("low"), entry.get("high"), entry.get("log", False)
    if not _is_number(low) or not _is_number(high) or not isinstance(log, bool):
        raise UsageError(
            f"{name} goes from {low!r} to {high!r} (log {log!r}), but low and high must be numbers, and log true or false"
        )
    if isinstance(low, int) and isinstance(high, int):
        return Int(low, high, log, when)
    return Float(float(low), float(high), log, when)


def _when(name: str, entry: Any) -> dict[str, tuple[Any, ...]]:
    if not isinstance(entry, Mapping) or not all(isinstance(v, list) for v in entry.values()):
        raise UsageError(
            f'when of {name} is {entry!r}, but must name parents with their values: {{ optimiser = ["sgd"] }}'
        )
    return {parent: tuple(values) for parent, values in entry.items()}


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
