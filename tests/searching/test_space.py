"""What may be tried."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.searching.journal import space_of
from joulewise.searching.space import Choice, Float, Int, Space
from joulewise.vocabulary.errors import UnknownName, UsageError

SPACE = Space(
    {
        "rate": Float(1e-4, 1e-1, log=True),
        "layers": Int(1, 5),
        "units": Int(64, 1024, log=True),
        "optimiser": Choice(("sgd", "adam")),
        "momentum": Float(0.1, 0.99, when={"optimiser": ("sgd",)}),
    }
)


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_there_and_back(shares):
    """A configuration's point leads to the same configuration, and lies in the space."""
    configuration = SPACE.configuration(np.array(shares))

    SPACE.check(configuration)
    again = SPACE.configuration(SPACE.point(configuration))
    assert again.keys() == configuration.keys()
    assert all(again[n] == pytest.approx(configuration[n]) for n in again if n != "optimiser")
    assert again["optimiser"] == configuration["optimiser"]


def test_condition():
    """A parameter whose condition is not met is left out, and has no coordinate."""
    configuration = SPACE.configuration(np.array([0.5, 0.5, 0.5, 0.9, 0.5]))

    assert configuration["optimiser"] == "adam"
    assert "momentum" not in configuration
    assert np.isnan(SPACE.point(configuration)[4])
    assert np.isfinite(SPACE.features(SPACE.point(configuration)[None, :])).all()


def test_whole_numbers_are_even():
    """Every whole number of a range is drawn equally often, its ends too."""
    counts = np.bincount([Int(1, 5).at(s) for s in np.linspace(0, 1, 5001)])[1:]

    assert counts.max() - counts.min() <= 1 + 5


def test_logarithmic():
    """The middle of a logarithmic range is its geometric mean."""
    assert Float(1e-4, 1e-2, log=True).at(0.5) == pytest.approx(1e-3)


def test_choices_have_no_order():
    """Any two of three choices are equally far apart for the models."""
    space = Space({"c": Choice(("a", "b", "d"))})
    rows = space.features(np.array([[0.1], [0.5], [0.9]]))

    gaps = [np.linalg.norm(rows[i] - rows[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert gaps == pytest.approx([gaps[0]] * 3)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "the space is empty"),
        ({"x": Float(2, 1)}, "x goes from 2 to 1, which holds nothing"),
        ({"x": Float(0, 1, log=True)}, "x begins at 0, but on a logarithmic scale"),
        ({"x": Choice(("a", "a"))}, "must be different"),
        ({"x": 3}, "x is 3, but must be a Float, an Int or a Choice"),
        ({"a": Choice((1, 2)), "x": Float(0, 1, when={"a": (3,)})}, "asks that a is 3, which a can never be"),
        ({"a": Float(0, 1), "x": Float(0, 1, when={"a": (0.5,)})}, "which is a real number"),
        (
            {"a": Choice((1,), when={"b": (1,)}), "b": Choice((1,), when={"a": (1,)})},
            "depend on each other in a circle",
        ),
    ],
)
def test_refused(parameters, message):
    """A range that holds nothing and a condition that can never be met are refused in one line."""
    with pytest.raises(UsageError, match=message):
        Space(parameters)


def test_unknown_parent():
    """A condition on a parameter that does not exist suggests the nearest."""
    with pytest.raises(UnknownName, match="did you mean optimiser"):
        Space({"optimiser": Choice(("a",)), "x": Float(0, 1, when={"optimizer": ("a",)})})


def test_outside():
    """A value outside of its range is refused."""
    with pytest.raises(UsageError, match="layers is 9, which lies outside"):
        SPACE.check({"layers": 9})


def test_described():
    """A space that was written down and read again is the same."""
    assert space_of(SPACE.describe()).describe() == SPACE.describe()
