"""Batch size and power limit over recurring runs."""

import random
from math import inf
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.training.recurring import Past, best_size, choose_limit, next_run
from joulewise.vocabulary.errors import UsageError

SIZES = [8, 16, 32, 64, 128, 256]


def walk(joules, default, runs, noise=0.0, seed=0, fails=()):
    draw = random.Random(seed)
    history: list[Past] = []
    for _ in range(runs):
        plan = next_run(SIZES, default, history)
        used = joules[plan.batch_size] * (1 + draw.gauss(0, noise))
        reached = plan.batch_size not in fails and used <= plan.give_up_j
        history.append(Past(plan.batch_size, used if reached else min(2 * used, plan.give_up_j), reached))
    return history


class TestNextRun:
    @given(st.sampled_from(SIZES), st.sampled_from(SIZES), st.integers(0, 50))
    def test_finds_the_valley(self, default, best, seed):
        """From any published size, ten noisy runs find the valley or its neighbour that costs hardly more."""
        joules = {s: 100 * (1 + 0.15 * abs(SIZES.index(s) - SIZES.index(best))) for s in SIZES}
        history = walk(joules, default, 10, 0.03, seed)

        assert history[0].batch_size == default
        assert joules[best_size(SIZES, default, history)] <= 115

    def test_exploring_is_bounded(self):
        """No run at another size costs more than a quarter above the best mean known when it began."""
        joules = {s: 100 * 3 ** abs(SIZES.index(s) - 2) for s in SIZES}
        history = walk(joules, 32, 10)

        assert all(p.energy_j <= 125 for p in history)
        assert [p.batch_size for p in history[-4:]] == [32] * 4

    def test_sizes_that_fail(self):
        """Where the published size misses the target its neighbours are tried; what fails is not chosen."""
        history = walk(dict.fromkeys(SIZES, 100.0), 256, 8, fails=(256, 128))

        assert best_size(SIZES, 256, history) == 64

    def test_a_tie_stays_with_the_published(self):
        """A size is not left for one that is better by less than 3 %."""
        joules = dict.fromkeys(SIZES, 100.0) | {16: 98.0}

        assert best_size(SIZES, 32, walk(joules, 32, 10)) == 32

    def test_says_why(self):
        """The plan is one line: the size, when it is given up, the reason; the first run is never given up."""
        first = next_run(SIZES, 32, [])
        second = next_run(SIZES, 32, [Past(32, 100.0, True)])

        assert (first.give_up_j, second.give_up_j) == (inf, 125.0)
        assert str(first) == "batch size 32: the published size"
        assert str(second).startswith("batch size 16, given up at 125 J: not far from 32")

    @pytest.mark.parametrize(
        ("default", "history", "message"),
        [(9, [], "default is 9"), (8, [Past(9, 1.0, True)], "a run of batch size 9")],
    )
    def test_refuses(self, default, history, message):
        """Sizes that are not allowed are named."""
        with pytest.raises(UsageError, match=message):
            next_run(SIZES, default, history)


def test_no_sizes():
    """Where no size is allowed, one line says so."""
    with pytest.raises(UsageError, match="no batch sizes are given"):
        next_run([], default=8, history=[])


class TestChooseLimit:
    PROFILE: ClassVar = {
        100.0: (20.0, 90.0),
        150.0: (12.0, 130.0),
        200.0: (10.5, 170.0),
        250.0: (10.0, 210.0),
    }

    def test_fewest_joules(self):
        """The limit with the fewest joules, and what it costs in time."""
        limit, why = choose_limit(self.PROFILE)

        assert limit == 150
        assert why == "26% fewer joules than at 250 W, +20% time"

    def test_a_bound_on_time(self):
        """With a bound on the slow-down, the fewest joules inside it."""
        assert choose_limit(self.PROFILE, slower=0.1)[0] == 200
        assert choose_limit(self.PROFILE, slower=0.0)[0] == 250

    @pytest.mark.parametrize(
        ("profile", "slower", "message"),
        [
            ({}, None, "empty"),
            ({100.0: (0.0, 1.0)}, None, "at 100 W"),
            ({100.0: (1.0, 1.0)}, -1.0, "slower is -1"),
        ],
    )
    def test_refuses(self, profile, slower, message):
        """A profile that says nothing is refused."""
        with pytest.raises(UsageError, match=message):
            choose_limit(profile, slower=slower)
