"""Requests pay for their CPU time at the recording's rate; what the server uses alone is standing by."""

from __future__ import annotations

import pytest

from joulewise.serving.energy import Tally, pace, rate
from joulewise.vocabulary.budget import Spent
from joulewise.vocabulary.figures import Basis, exact, relative


def test_rate():
    """Joules and grams per CPU second, never better than modelled; no rate from nothing."""
    spent = Spent(10.0, exact(30.0), exact(0.003))

    told = rate(spent, 2.0)

    assert (told.joules, told.grams, told.basis) == (15.0, pytest.approx(0.0015), Basis.MODELLED)
    assert rate(Spent(10.0, relative(30.0, 0.5, 0.5, Basis.ASSUMED)), 2.0).basis is Basis.ASSUMED
    assert rate(Spent(10.0, exact(30.0)), 2.0).grams is None
    assert rate(spent, None) is None
    assert rate(spent, 0.001) is None
    assert rate(Spent(10.0), 2.0) is None


def test_pace():
    """The recorder takes 1 % of the requests' CPU time; with none it doubles its interval, to a minute."""
    paces = [1.0]
    for _ in range(7):
        paces.append(pace(paces[-1], 0.0, 10.0, 0.001))
    assert paces == [1, 2, 4, 8, 16, 32, 60, 60]
    assert pace(60.0, 5.0, 10.0, 0.001) == 1.0  # half a core: a tick of 1 ms may come five times a second
    assert pace(60.0, 0.2, 10.0, 0.001) == pytest.approx(5.0)
    assert pace(1.0, 0.2, 10.0, 0.001) == 2.0


def test_every_cpu_second_is_counted_once():
    """CPU time is busy or standing by, and both together are all of it, however requests overlap."""
    clock = [0.0]
    tally = Tally(lambda: clock[0])

    def pass_(seconds):
        clock[0] += seconds

    pass_(1.0)  # standing by
    tally.enter()
    pass_(2.0)
    tally.enter()
    pass_(4.0)
    tally.batch(3.0)
    tally.leave()
    pass_(8.0)
    assert tally.busy_s == 14.0
    tally.leave()
    pass_(16.0)  # standing by
    tally.enter()
    tally.leave()

    assert tally.busy_s == 14.0
    assert tally.standing_by_s == 17.0
    assert tally.model_s == 3.0
    assert tally.overhead_s == pytest.approx((14.0 - 3.0) / 3)
    assert tally.inside == 0


def test_no_overhead_before_the_first():
    """Before anything was answered the overhead is 0, not a division by nothing."""
    assert Tally(lambda: 0.0).overhead_s == 0.0
