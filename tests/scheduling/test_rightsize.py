import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.scheduling.rightsize import Scaling, Sized, advise, fit, largest_efficient, limits
from joulewise.vocabulary.errors import UsageError

SIZES = (1, 2, 4, 8)


@given(st.floats(1, 1e4), st.floats(0, 0.3), st.floats(0, 0.3))
def test_a_law_that_holds_is_found(one, spreading, serial):
    """Measurements made by the law give the law back."""
    truth = Scaling(one, spreading, serial)
    found = fit([Sized(n, truth.rate(n)) for n in SIZES])

    for n in (1, 2, 4, 8, 16):
        assert found.rate(n) == pytest.approx(truth.rate(n), rel=1e-6)


@given(st.lists(st.tuples(st.integers(1, 16), st.floats(0.1, 1e3)), min_size=1, max_size=6))
def test_whatever_was_measured_no_size_scales_better_than_perfectly(rows):
    """Noise never makes a fit that promises more than n times one worker."""
    scaling = fit([Sized(n, x) for n, x in rows])

    for n in SIZES:
        assert 0 < scaling.efficiency(n) <= 1 + 1e-9


def test_one_worker_is_leanest_where_nothing_is_shared():
    """Without fixed watts every further worker only loses; with them a second one pays."""
    scaling = Scaling(100.0, 0.0, 0.1)

    assert advise(scaling, SIZES, worker_w=300).workers == 1
    assert advise(scaling, SIZES, worker_w=300, fixed_w=400).workers > 1


def test_a_deadline_counts_before_efficiency():
    """Where only an inefficient size is in time it is advised, and the reason says so; where none is, the fastest."""
    scaling = Scaling(100.0, 0.0, 0.3)

    hurried = advise(scaling, SIZES, worker_w=300, least_efficiency=0.9, needed_per_s=200)
    assert hurried.workers == 4
    assert "the deadline needs it" in hurried.reason
    assert "none meets the deadline" in advise(scaling, SIZES, worker_w=300, needed_per_s=1e6).reason


def test_what_is_wasted_now_is_said():
    """Eight workers that scale badly burn more joules per unit than the advised size."""
    advice = advise(Scaling(100.0, 0.0, 0.3), SIZES, worker_w=300, now=8)

    assert advice.wasted_share == pytest.approx(1 - (1 + 0) / (1 + 0.3 * 7))


def test_the_largest_efficient_size():
    """The floor of efficiency decides how many may be asked for at most."""
    scaling = Scaling(100.0, 0.0, 0.05)

    assert largest_efficient(scaling, SIZES, 0.8) == 4
    assert largest_efficient(scaling, SIZES, 0.999) == 1


def test_limits_hold_every_run_and_say_what_is_unused():
    """Ten runs are held with room; of a day asked for an hour's work most is unused."""
    asked = limits([3600.0] * 10, [1e9] * 10, asked_s=86400, asked_bytes=8e9)

    assert asked.time_s >= 3600
    assert asked.memory_bytes >= 1.1e9
    assert (asked.wasted_time or 0) > 0.9
    assert (asked.wasted_memory or 0) > 0.8


def test_nothing_measured_is_refused():
    """Without a measurement, a size or a run there is no advice."""
    with pytest.raises(UsageError):
        fit([])
    with pytest.raises(UsageError):
        advise(Scaling(1, 0, 0), [], worker_w=1)
    with pytest.raises(UsageError):
        limits([], [])
    with pytest.raises(UsageError):
        Sized(0, 1)
