"""Whether items come out the same each time."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from joulewise.diagnosing.remedies.alike import Made, same, spread, states

np = pytest.importorskip("numpy")


class Items:
    """Items that come out as `make` says."""

    def __init__(self, make: Callable[[int], Any], count: int = 40) -> None:
        self.make, self.count = make, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Any:
        return self.make(number)


def test_the_same():
    """Equal items are kept; they are made twice, and the random numbers stay where they were."""
    few, before = Made(Items(lambda n: (np.full(2, n), {"n": float("nan") if n < 0 else n}))), states()

    assert few.why_not == ""
    assert [item[1]["n"] for item in few.items[:3]] == [0, 2, 5]
    assert few.make_s > 0
    assert states() == before


@pytest.mark.parametrize(
    "draw",
    [lambda n: random.random(), lambda n: np.random.rand(), lambda n: random.random() * 0],
)
def test_random_numbers(draw):
    """Items that draw the program's random numbers are not kept, and the numbers are given back."""
    before = states()

    assert Made(Items(draw)).why_not == "its items draw random numbers (augmentation), so they are made anew"
    assert states() == before


def test_a_generator_of_its_own():
    """One item in two changed by a generator of the data set's own is found, since many are made twice."""
    own = np.random.default_rng(0)

    assert Made(Items(lambda n: n if own.random() < 0.5 else -n - 1)).why_not.startswith(
        "its items come out different"
    )


def test_many_at_once():
    """Where the data set makes a batch at once, that is what an item costs."""

    class Batches(Items):
        calls = 0

        def __getitems__(self, numbers: list[int]) -> list[Any]:
            Batches.calls += 1
            return [self.make(number) for number in numbers]

    few = Made(Batches(lambda n: n))

    assert (few.items[:3], few.why_not) == ([0, 2, 5], "")
    assert Batches.calls == 2 * len(few.items) + 1


def test_spread():
    """Items are looked at from the first to the last."""
    assert spread(1, 16) == [0]
    assert spread(3, 16) == [0, 1, 2]
    assert spread(1000, 4) == [0, 333, 666, 999]


def test_same():
    """Types, shapes and every number count; a number that is none is itself."""
    nan = np.array([1.0, float("nan")])

    assert same((nan, "a"), (nan.copy(), "a"))
    assert not same((1,), [1])
    assert not same({"a": 1}, {"b": 1})
    assert not same(np.zeros(2), np.zeros(3))
    assert not same(np.array([0.0, 1.0]), np.array([0.0, 1.0 + 1e-15]))
