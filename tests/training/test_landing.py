"""A schedule that can be landed from wherever it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.training.landing import Landing
from joulewise.training.stopping import Move, decide
from joulewise.vocabulary.errors import UsageError
from tests.training.curves import saturating


class TestLanding:
    def test_stays_up_until_told(self):
        """Without an end in sight the rate rises once and stays."""
        landing = Landing(warm_up=9)

        assert landing.factor(0) == pytest.approx(0.1)
        assert [landing.factor(s) for s in (9, 100, 10**6)] == [1, 1, 1]
        assert not landing.over(10**6)

    def test_planned_ends_at_nothing(self):
        """A planned run decays over its last fifth and ends at rate 0."""
        landing = Landing.planned(100)

        assert landing.lands_at == 80
        assert landing.factor(79) == 1
        assert 0 < landing.factor(99) < 0.05
        assert landing.factor(100) == 0
        assert landing.over(100)

    def test_lands_from_anywhere(self):
        """Told to land at step 400, it takes a quarter of the steps before it, whatever was planned."""
        for landing in (Landing(), Landing.planned(10_000)):
            landed = landing.land(400)

            assert (landed.lands_at, landed.ends_at) == (400, 500)

    @given(st.integers(20, 2000), st.floats(0.5, 5), st.floats(10, 5000))
    def test_never_spends_more_than_there_is(self, steps, joules_per_step, budget_j):
        """Whatever the budget, the run ends inside it, and where a whole decay fits it gets one."""
        landing, step, left = Landing.planned(steps), 0, budget_j
        while not landing.over(step) and left >= joules_per_step:
            landing = landing.must_land(step, left, joules_per_step) or landing
            assert 0 <= landing.factor(step) <= 1
            step, left = step + 1, left - joules_per_step

        assert landing.over(step) or budget_j < 2 * joules_per_step
        assert left >= 0

    @given(st.integers(10, 1000), st.integers(1, 50), st.integers(1, 20))
    def test_a_landing_is_only_brought_forward(self, at, more, within):
        """A decay under way never rises where it is shortened, and never ends later than it would have."""
        landing = Landing().land(at)
        step = min(at + more, landing.ends_at - 1)
        again = landing.land(step, within)

        assert again.ends_at <= landing.ends_at
        assert again.factor(step) <= landing.factor(step) + 1e-9

    def test_stopping_knows_of_it(self):
        """Inside the decay no stopping rule may stop; before it, it may ask for the landing."""
        landing = Landing(warm_up=10).land(800)
        curve = saturating(17)

        assert decide(curve, landing.in_view(steps_per_unit=50)).move is Move.CONTINUE
        assert landing.in_view(steps_per_unit=50).horizon == 20
        assert Landing(warm_up=10).in_view(40).horizon == 40

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: Landing(-1), "warm_up is -1"),
            (lambda: Landing(decay=0), "decay is 0"),
            (lambda: Landing(lands_at=3), "go together"),
            (lambda: Landing(lands_at=3, ends_at=3), "must end after it begins"),
            (lambda: Landing.planned(0), "steps is 0"),
            (lambda: Landing().land(5, 0), "within is 0"),
            (lambda: Landing().must_land(5, 1.0, 0.0), "joules_per_step is 0"),
        ],
    )
    def test_refuses(self, make, message):
        """What cannot be flown is refused in one line."""
        with pytest.raises(UsageError, match=message):
            make()
