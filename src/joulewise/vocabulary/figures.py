"""A figure is a number that says how it is known and what it covers.

Three states are kept apart: a figure that is zero is `Figure(0.0, ...)`; one that is absent or could not
be read is `None` where a figure was expected, and whoever adds figures up says what is missing.

The interval is the central 90 % interval. Independent figures add in quadrature (`+`, `total`); figures
that share one assumption add linearly (`shared_total`), because their errors point the same way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from math import exp, hypot, inf, log


class Basis(IntEnum):
    """How a figure is known. A sum is only as good as its weakest part."""

    MEASURED = 0  # read from an energy counter or a meter
    MODELLED = 1  # computed from utilisation and the device's power curve
    ASSUMED = 2  # a default, because nothing better was found

    @property
    def word(self) -> str:
        """Return the basis as it is printed: measured, modelled or assumed."""
        return self.name.lower()


class Boundary(StrEnum):
    """What a figure covers, from the inside out. PUE applies to wall power only."""

    DEVICE = "device"  # the part itself: processor package, GPU board, memory
    NODE = "node"  # all that one machine's own sensor sees
    WALL = "wall"  # what the machine draws from its socket
    FACILITY = "facility"  # wall power and its part of cooling and distribution (PUE)


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that says how it is known: its best value, 90 % interval, basis, source and boundary."""

    value: float
    low: float
    high: float
    basis: Basis
    source: str = ""
    boundary: Boundary = Boundary.DEVICE

    def __post_init__(self) -> None:
        """Refuse an interval that does not hold its value."""
        if not self.low <= self.value <= self.high:
            raise ValueError(f"interval {self.low} to {self.high} does not hold the value {self.value}")

    def __add__(self, other: Figure) -> Figure:
        """Return the sum with an independent figure of the same boundary (errors in quadrature)."""
        return total((self, other))

    def scaled(self, factor: float) -> Figure:
        """Return this figure times an exact factor (>= 0)."""
        if factor < 0:
            raise ValueError(f"factor is {factor}, but must be at least 0")
        return replace(self, value=self.value * factor, low=self.low * factor, high=self.high * factor)

    def times(self, factor: Figure) -> Figure:
        """Return the product with an independent factor; both must be >= 0.

        The arms are combined as ratios (their logarithms in quadrature), so that a product of two figures
        that exclude zero excludes it too; the boundary is the factor's where it is wider.
        """
        if self.low < 0 or factor.low < 0:
            raise ValueError(
                f"only figures of at least 0 multiply, not {self.low} to {self.high} and {factor.low} to {factor.high}"
            )
        value = self.value * factor.value
        basis, source, boundary = (
            max(self.basis, factor.basis),
            _join(self.source, factor.source),
            _wider(self, factor),
        )
        if value == 0:
            return Figure(value, 0.0, self.high * factor.high, basis, source, boundary)
        below = (
            0.0
            if self.low == 0 or factor.low == 0
            else exp(-hypot(log(self.value / self.low), log(factor.value / factor.low)))
        )
        above = exp(hypot(log(self.high / self.value), log(factor.high / factor.value)))
        return Figure(value, min(value, value * below), max(value, value * above), basis, source, boundary)

    def within(self, boundary: Boundary) -> Figure:
        """Return the same figure said to cover `boundary`."""
        return replace(self, boundary=boundary)

    @property
    def relative_low(self) -> float:
        """The lower arm of the interval as a share of the value (0.25 means -25 %); inf at zero."""
        return _below(self) if self.value else inf

    @property
    def relative_high(self) -> float:
        """The upper arm of the interval as a share of the value; inf at zero."""
        return _above(self) if self.value else inf


def exact(value: float, source: str = "", boundary: Boundary = Boundary.DEVICE) -> Figure:
    """Return a figure without error, for counts and for what the user states."""
    return Figure(value, value, value, Basis.MEASURED, source, boundary)


def relative(
    value: float,
    low: float,
    high: float,
    basis: Basis,
    source: str = "",
    boundary: Boundary = Boundary.DEVICE,
) -> Figure:
    """Return a figure from relative arms: `relative(100, 0.25, 0.5, ...)` is 100 (75 to 150)."""
    return Figure(value, value * max(0.0, 1 - low), value * (1 + high), basis, source, boundary)


def total(figures: Iterable[Figure]) -> Figure:
    """Return the sum of independent figures of one boundary; errors add in quadrature."""
    parts = list(figures)
    value = sum(p.value for p in parts)
    below = hypot(*(p.value - p.low for p in parts))
    above = hypot(*(p.high - p.value for p in parts))
    return _sum(parts, value, below, above)


def shared_total(figures: Iterable[Figure]) -> Figure:
    """Return the sum of figures that share one assumption; errors add linearly."""
    parts = list(figures)
    value = sum(p.value for p in parts)
    return _sum(parts, value, sum(p.value - p.low for p in parts), sum(p.high - p.value for p in parts))


def _sum(parts: list[Figure], value: float, below: float, above: float) -> Figure:
    if not parts:
        raise ValueError("nothing to add up: an empty sum is unknown, not zero")
    boundaries = {p.boundary for p in parts}
    if len(boundaries) > 1:
        raise ValueError(f"figures of unlike boundaries do not add: {', '.join(sorted(boundaries))}")
    basis = max(p.basis for p in parts)
    source = _join(*(p.source for p in parts))
    return Figure(value, value - below, value + above, basis, source, parts[0].boundary)


def _below(figure: Figure) -> float:
    return (figure.value - figure.low) / figure.value if figure.value else 0.0


def _above(figure: Figure) -> float:
    return (figure.high - figure.value) / figure.value if figure.value else 0.0


def _wider(one: Figure, other: Figure) -> Boundary:
    order = list(Boundary)
    return max(one.boundary, other.boundary, key=order.index)


def _join(*sources: str) -> str:
    seen: dict[str, None] = {}
    for source in sources:
        for part in source.split("; "):
            if part:
                seen[part] = None
    return "; ".join(seen)
