"""Optuna's distributions as parameters of ours: what is counted (steps, choices) is a whole number here."""

from __future__ import annotations

from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from joulewise.searching.space import Choice, Float, Int, Parameter
from joulewise.vocabulary.errors import UsageError


def _steps(distribution: BaseDistribution) -> tuple[Any, Any] | None:
    """Return where a distribution whose values are counted begins, and its step; None if they are as they are."""
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        return distribution.low, distribution.step
    if isinstance(distribution, IntDistribution) and distribution.step != 1:
        return distribution.low, distribution.step
    return None


def parameter(distribution: BaseDistribution) -> Parameter:
    """Return the parameter that stands for a distribution: steps and choices are counted."""
    if isinstance(distribution, CategoricalDistribution):
        return Choice(tuple(range(len(distribution.choices))))
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        raise UsageError(f"joulewise does not know Optuna's {type(distribution).__name__}")
    if (steps := _steps(distribution)) is not None:
        return Int(0, round((distribution.high - steps[0]) / steps[1]))
    if isinstance(distribution, FloatDistribution):
        return Float(distribution.low, distribution.high, distribution.log)
    return Int(distribution.low, distribution.high, distribution.log)


def inner(distribution: BaseDistribution, value: Any) -> Any:
    """Return what stands for a value of Optuna's in our space."""
    if isinstance(distribution, CategoricalDistribution):
        return int(distribution.to_internal_repr(value))
    steps = _steps(distribution)
    return value if steps is None else round((value - steps[0]) / steps[1])


def outer(distribution: BaseDistribution, value: Any) -> Any:
    """Return Optuna's value that stands for one of our space."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[value]
    steps = _steps(distribution)
    return value if steps is None else steps[0] + value * steps[1]
