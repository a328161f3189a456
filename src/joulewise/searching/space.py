"""What may be tried: parameters with their ranges, and when each of them applies.

    Space(
        {
            "learning_rate": Float(1e-4, 1e-1, log=True),
            "layers": Int(1, 5),
            "optimiser": Choice(("sgd", "adam")),
            "momentum": Float(0.1, 0.99, when={"optimiser": ("sgd",)}),
        }
    )

A configuration is a dict of the parameters that apply. Inside, a configuration is a point in the unit cube (one
coordinate a parameter, NaN where it does not apply), and for the models a vector of features: categories spread
over one feature each, so that no order is invented between them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, inf, isfinite, isnan, log, nan
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from joulewise.vocabulary.errors import UnknownName, UsageError

Vector: TypeAlias = NDArray[np.float64]
Configuration: TypeAlias = dict[str, Any]
When: TypeAlias = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Float:
    """A real number from `low` to `high`; `log` spreads it over orders of magnitude."""

    low: float
    high: float
    log: bool = False
    when: When = field(default_factory=dict)

    def at(self, share: float) -> float:
        """Return the value at `share` (0 to 1) of the range."""
        if self.log:
            return min(max(exp(log(self.low) + share * log(self.high / self.low)), self.low), self.high)
        return self.low + share * (self.high - self.low)

    def share(self, value: Any) -> float:
        """Return where in the range `value` lies (0 to 1)."""
        if self.log:
            return log(value / self.low) / log(self.high / self.low)
        return float((value - self.low) / (self.high - self.low))

    @property
    def count(self) -> float:
        """How many different values there are."""
        return inf


@dataclass(frozen=True, slots=True)
class Int:
    """A whole number from `low` to `high`, both included."""

    low: int
    high: int
    log: bool = False
    when: When = field(default_factory=dict)

    def at(self, share: float) -> int:
        """Return the value at `share` (0 to 1); every number has a stretch of its own, the ends as well."""
        below, above = self.low - 0.5, self.high + 0.5
        value = exp(log(below) + share * log(above / below)) if self.log else below + share * (above - below)
        return min(max(round(value), self.low), self.high)

    def share(self, value: Any) -> float:
        """Return the middle of the stretch that `value` has (0 to 1)."""
        below, above = self.low - 0.5, self.high + 0.5
        if self.log:
            return log(value / below) / log(above / below)
        return float((value - below) / (above - below))

    @property
    def count(self) -> float:
        """How many different values there are."""
        return self.high - self.low + 1


@dataclass(frozen=True, slots=True)
class Choice:
    """One of `values` (strings, numbers, truth values), between which there is no order."""

    values: Sequence[Any]
    when: When = field(default_factory=dict)

    def at(self, share: float) -> Any:
        """Return the value whose stretch holds `share` (0 to 1)."""
        return self.values[min(int(share * len(self.values)), len(self.values) - 1)]

    def share(self, value: Any) -> float:
        """Return the middle of the stretch that `value` has (0 to 1)."""
        return (list(self.values).index(value) + 0.5) / len(self.values)

    @property
    def count(self) -> float:
        """How many different values there are."""
        return len(self.values)


Parameter: TypeAlias = Float | Int | Choice


@final
class Space:
    """Named parameters; refuses ranges that hold nothing and conditions that can never be met."""

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        if not parameters:
            raise UsageError("the space is empty; name at least one parameter")
        for name, parameter in parameters.items():
            _check_range(name, parameter)
        self.parameters = dict(parameters)
        for name, parameter in parameters.items():
            self._check_condition(name, parameter)
        self._order = self._parents_first()

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters in the order in which they were given."""
        return tuple(self.parameters)

    @property
    def count(self) -> float:
        """An upper bound of how many different configurations there are."""
        total = 1.0
        for parameter in self.parameters.values():
            total *= parameter.count
        return total

    def configuration(self, point: Vector) -> Configuration:
        """Return the configuration at a point of the unit cube; parameters that do not apply are left out."""
        shares = dict(zip(self.parameters, point.tolist(), strict=True))
        chosen: Configuration = {}
        for name in self._order:
            parameter = self.parameters[name]
            if not parameter.when or self._applies(parameter, chosen):
                share = shares[name]
                chosen[name] = parameter.at(0.5 if isnan(share) else share)
        return {name: chosen[name] for name in self.parameters if name in chosen}

    def point(self, configuration: Mapping[str, Any]) -> Vector:
        """Return the point of the unit cube of a configuration: NaN where a parameter does not apply."""
        return np.array(
            [
                parameter.share(configuration[name]) if name in configuration else nan
                for name, parameter in self.parameters.items()
            ]
        )

    def features(self, points: Vector) -> Vector:
        """Return what the models see of points (rows): numbers as they are, categories one feature each."""
        columns: list[Vector] = []
        for index, parameter in enumerate(self.parameters.values()):
            column = points[:, index]
            if isinstance(parameter, Choice):
                count = len(parameter.values)
                where = np.minimum(np.nan_to_num(column, nan=0.0) * count, count - 1).astype(int)
                one = np.zeros((len(points), count))
                one[np.arange(len(points)), where] = np.where(np.isnan(column), 0.0, 0.5)
                columns += list(one.T)
            else:
                columns.append(np.nan_to_num(column, nan=0.5))
        return np.column_stack(columns)

    def check(self, configuration: Mapping[str, Any]) -> None:
        """Refuse a configuration that does not lie in the space."""
        for name, value in configuration.items():
            if name not in self.parameters:
                raise UnknownName("parameter", name, self.parameters)
            parameter = self.parameters[name]
            inside = (
                value in parameter.values
                if isinstance(parameter, Choice)
                else parameter.low <= value <= parameter.high
            )
            if not inside:
                raise UsageError(f"{name} is {value!r}, which lies outside of the space: {parameter}")

    def key(self, configuration: Mapping[str, Any]) -> str:
        """Return a text that two configurations share only if they are the same."""
        return json.dumps({n: configuration[n] for n in self.names if n in configuration}, default=str)

    def describe(self) -> dict[str, Any]:
        """Return the space as JSON values, to compare two studies' spaces."""
        told: dict[str, Any] = {}
        for name, p in self.parameters.items():
            rest = {"when": {k: list(v) for k, v in p.when.items()}} if p.when else {}
            if isinstance(p, Choice):
                told[name] = {"kind": "choice", "values": list(p.values), **rest}
            else:
                told[name] = {
                    "kind": type(p).__name__.lower(),
                    "low": p.low,
                    "high": p.high,
                    "log": p.log,
                    **rest,
                }
        return told

    def _applies(self, parameter: Parameter, chosen: Configuration) -> bool:
        return all(parent in chosen and chosen[parent] in values for parent, values in parameter.when.items())

    def _check_condition(self, name: str, parameter: Parameter) -> None:
        for parent, values in parameter.when.items():
            if parent not in self.parameters:
                raise UnknownName("parameter", parent, self.parameters, f"in the condition of {name}")
            above = self.parameters[parent]
            if isinstance(above, Float):
                raise UsageError(
                    f"{name} depends on {parent}, which is a real number; a condition needs an Int or a Choice"
                )
            possible = above.values if isinstance(above, Choice) else range(above.low, above.high + 1)
            lost = [v for v in values if v not in possible]
            if lost or not values:
                raise UsageError(
                    f"{name} asks that {parent} is {', '.join(map(repr, lost)) or 'nothing at all'}, which {parent} can never be; its condition can never be met"
                )

    def _parents_first(self) -> tuple[str, ...]:
        order: list[str] = []
        left = dict(self.parameters)
        while left:
            ready = [n for n, p in left.items() if all(parent in order for parent in p.when)]
            if not ready:
                raise UsageError(
                    f"{' and '.join(left)} depend on each other in a circle; the condition can never be met"
                )
            order += ready
            for name in ready:
                del left[name]
        return tuple(order)


def _check_range(name: str, parameter: Parameter) -> None:
    if not isinstance(parameter, Float | Int | Choice):
        raise UsageError(f"{name} is {parameter!r}, but must be a Float, an Int or a Choice")
    if isinstance(parameter, Choice):
        if not parameter.values or len(set(map(repr, parameter.values))) != len(parameter.values):
            raise UsageError(
                f"the choices of {name} are {list(parameter.values)!r}, but must be different, and at least one"
            )
        return
    low, high = parameter.low, parameter.high
    if not (isfinite(low) and isfinite(high)) or low > high or (low == high and isinstance(parameter, Float)):
        raise UsageError(f"{name} goes from {low:g} to {high:g}, which holds nothing")
    if parameter.log and low < (1 if isinstance(parameter, Int) else 5e-324):
        raise UsageError(f"{name} begins at {low:g}, but on a logarithmic scale it must begin above 0")
