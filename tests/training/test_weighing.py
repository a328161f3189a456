"""Weighing: joules per sample of the ways to take a step."""

import pytest

from joulewise.training.weighing import Way, weighed
from joulewise.vocabulary.errors import UsageError


def test_least_of_interleaved_rounds():
    """The least of the rounds counts, a hopeless way is left out after its first, a failing one says why."""
    spent = {"now": 0.0}
    taken = []

    def way(name, price):
        def step():
            taken.append(name)
            spent["now"] += next(price)

        return Way(step, 256)

    def failing():
        raise RuntimeError("no such kernel\nmore")

    steady, dear = iter([3.0] * 99), iter([50.0] * 99)
    found = weighed(
        {"steady": way("steady", steady), "dear": way("dear", dear), "broken": Way(failing, 256)},
        lambda: spent["now"],
    )

    assert found[0].joules_per_sample == pytest.approx(3 / 256)
    assert found[1].joules_per_sample == pytest.approx(50 / 256)
    assert (taken.count("steady"), taken.count("dear")) == (7, 3)
    assert (found[2].joules_per_sample, found[2].why) == (None, "no such kernel")


def test_nothing_works():
    """Where no way can be taken at all, one line says the first reason."""

    def failing():
        raise RuntimeError("shapes do not match")

    with pytest.raises(UsageError, match="cannot be trained as it is: shapes do not match"):
        weighed({"one": Way(failing, 8)}, lambda: 0.0)
