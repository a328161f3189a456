"""Epochs that are counted though only some steps are looked at."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from joulewise.measuring.agent.inside.epochs import Epochs


def seen(looks: Iterable[tuple[float | None, int]]) -> Epochs:
    epochs = Epochs()
    for epoch, step in looks:
        epochs.see(epoch, step)
    return epochs


def test_none():
    """Without a look there is no epoch."""
    assert Epochs().count(100) == 0


@pytest.mark.parametrize("first", [0, 1, 30])
def test_epochs_after_the_last_look(first: int):
    """Of epochs that are alike, those after the last look follow from the steps; one that has begun counts."""
    epochs = seen((first + step // 4, step) for step in range(0, 390, 7))

    assert epochs.now == first + 385 // 4
    assert [epochs.count(steps) for steps in (400, 401, 404, 405)] == [100, 101, 101, 102]


def test_steps_before_the_loop():
    """Steps before the first look are of no epoch."""
    assert seen((step // 10, 50 + step) for step in range(0, 200, 3)).count(50 + 300) == 30


def test_epochs_between_two_looks():
    """Values that nobody looked at lie between those that were, and nothing is made up where epochs differ."""
    looks = [(0, 0), (2, 9), (3, 40), (5, 44)]

    assert seen(looks).count(1000) == 6


def test_values_that_are_no_numbers_of_epochs():
    """Parts of an epoch, and numbers far apart, count as the values that were seen."""
    assert seen([(0.0, 0), (0.25, 1), (0.5, 2)]).count(50) == 3
    assert seen([(0, 0), (1000, 1)]).count(50) == 2


def test_another_loop_behind_it():
    """Steps where there is no such variable, or where it begins again, are of no epoch of the first loop."""
    first = [(step // 4, step) for step in range(0, 40, 3)]

    assert seen(first).count(400) == 100
    assert seen([*first, (None, 60)]).count(400) == 10
    assert seen([*first, (0, 60)]).count(400) == 10
