"""Figures: intervals hold their value through any arithmetic, and a sum is as good as its weakest part."""

from __future__ import annotations

from math import hypot, inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.vocabulary.figures import Basis, Boundary, Figure, exact, relative, shared_total, total

AMOUNTS = st.floats(1e-6, 1e9)
ARMS = st.floats(0, 0.999)


@st.composite
def figures(draw: st.DrawFn, lowest_arm: float = 0.0) -> Figure:
    value = draw(AMOUNTS)
    low = value * (1 - draw(st.floats(lowest_arm, 0.999)))
    high = value * (1 + draw(st.floats(lowest_arm, 5)))
    basis = draw(st.sampled_from(Basis))
    return Figure(value, low, high, basis, draw(st.sampled_from(["", "a", "b; a"])))


def test_the_interval_holds_the_value():
    """An interval that does not hold its value, or is not a number, is refused."""
    for low, high in ((2, 3), (0, 0.5), (nan, 2), (0, nan)):
        with pytest.raises(ValueError, match="does not hold"):
            Figure(1, low, high, Basis.MEASURED)


@given(st.lists(figures(), min_size=1, max_size=8))
def test_sums_keep_their_order(parts):
    """A sum of shared errors is never narrower than one of independent errors, and both sit round the same value."""
    apart, together = total(parts), shared_total(parts)

    assert apart.value == pytest.approx(sum(p.value for p in parts))
    assert together.low <= apart.low * (1 + 1e-9) + 1e-9
    assert together.high >= apart.high * (1 - 1e-9) - 1e-9
    assert together.low == pytest.approx(sum(p.low for p in parts), abs=1e-6 * together.value)
    assert apart.basis == together.basis == max(p.basis for p in parts)


@given(figures(), figures())
def test_addition_commutes(one, other):
    """The order of a sum does not matter, and `+` is the independent total."""
    forth, back = one + other, other + one

    assert (forth.value, forth.low, forth.high) == pytest.approx((back.value, back.low, back.high))
    assert forth.high - forth.value == pytest.approx(
        hypot(one.high - one.value, other.high - other.value), abs=forth.value * 1e-9
    )


@given(figures(), figures())
def test_a_product_lies_between_its_ends(one, other):
    """A product is at least as wide as its widest factor and never wider than the products of both ends."""
    product = one.times(other)

    assert product.value == pytest.approx(one.value * other.value)
    assert product.low >= one.low * other.low * (1 - 1e-9)
    assert product.high <= one.high * other.high * (1 + 1e-9)
    assert product.high >= product.value * max(one.high / one.value, other.high / other.value) * (1 - 1e-9)
    assert product.basis == max(one.basis, other.basis)


@given(figures(), st.floats(0, 1e6))
def test_scaling_keeps_the_relative_arms(figure, factor):
    """An exact factor changes the size and nothing else."""
    scaled = figure.scaled(factor)

    assert scaled.value == figure.value * factor
    if factor > 1e-3:
        assert scaled.relative_low == pytest.approx(figure.relative_low, abs=1e-9)
        assert scaled.relative_high == pytest.approx(figure.relative_high, abs=1e-9)


@given(figures())
def test_a_product_with_an_exact_factor_is_scaling(figure):
    """Multiplying by a figure without error is the same as scaling."""
    product, scaled = figure.times(exact(3.0)), figure.scaled(3.0)

    assert (product.value, product.low, product.high) == pytest.approx(
        (scaled.value, scaled.low, scaled.high)
    )


def test_small_arms_add_in_quadrature():
    """Three and four per cent make five."""
    one = relative(100, 0.03, 0.03, Basis.MEASURED)
    product = one.times(relative(2, 0.04, 0.04, Basis.MODELLED))

    assert product.relative_high == pytest.approx(0.05, rel=0.05)
    assert product.relative_low == pytest.approx(0.05, rel=0.05)


def test_two_wide_factors_do_not_reach_zero():
    """What excludes zero twice excludes it in the product."""
    wide = relative(100, 0.9, 0.5, Basis.ASSUMED)

    assert wide.times(wide).low > 0


def test_nothing_times_something():
    """A product with zero is zero, and its interval reaches to the product of the upper ends."""
    nothing = Figure(0, 0, 2, Basis.MEASURED)

    product = nothing.times(relative(10, 0.1, 0.1, Basis.MODELLED))

    assert (product.value, product.low, product.high) == (0, 0, 22)


def test_negative_figures_do_not_multiply():
    """A difference that may be negative is no factor."""
    with pytest.raises(ValueError, match="at least 0"):
        Figure(1, -1, 2, Basis.MEASURED).times(exact(2))
    with pytest.raises(ValueError, match="factor is -1"):
        exact(1).scaled(-1)


def test_an_empty_sum_is_refused():
    """Nothing added up is unknown, which is not zero."""
    for add in (total, shared_total):
        with pytest.raises(ValueError, match="unknown, not zero"):
            add([])


def test_unlike_boundaries_do_not_add():
    """Wall joules and device joules are not summed."""
    with pytest.raises(ValueError, match="device, wall"):
        total([exact(1), exact(1, boundary=Boundary.WALL)])


def test_the_wider_boundary_holds_in_a_product():
    """Device joules times a factor to the wall are wall joules, whichever comes first."""
    factor = exact(1.2, boundary=Boundary.WALL)

    assert exact(5).times(factor).boundary is factor.times(exact(5)).boundary is Boundary.WALL
    assert exact(5).within(Boundary.NODE).boundary is Boundary.NODE


def test_sources_are_named_once():
    """A sum names each of its sources once, in order."""
    assert total([exact(1, "a; b"), exact(1, "b"), exact(1, "")]).source == "a; b"


def test_relative_arms():
    """Relative arms go in and come out; at zero they have no size."""
    figure = relative(200, 0.25, 0.5, Basis.MODELLED)

    assert (figure.low, figure.high) == (150, 300)
    assert (figure.relative_low, figure.relative_high) == (0.25, 0.5)
    assert exact(0).relative_low == exact(0).relative_high == inf
    assert relative(10, 2.0, 0.0, Basis.ASSUMED).low == 0


def test_basis_words():
    """A basis is printed as one word."""
    assert [b.word for b in Basis] == ["measured", "modelled", "assumed"]
