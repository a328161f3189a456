"""Sleeping costs never more than twice what a clairvoyant would pay, and less where silences are alike."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.serving.sleeping import Standby, cost_j, sleep_after_s


def test_break_even():
    """Without history the limit is where standing by has cost as much as waking; free standing by never sleeps."""
    assert sleep_after_s(Standby(0.05, 7.5), []) == pytest.approx(150)
    assert sleep_after_s(Standby(0.0, 7.5), [1.0] * 100) == inf
    assert sleep_after_s(Standby(10.0, 1.0), []) == 5.0  # nobody is woken every second


def test_learned():
    """Where all silences are long, sleeping at once is cheaper than waiting for the break-even; where short, never."""
    standby = Standby(0.05, 7.5)
    assert sleep_after_s(standby, [3600.0] * 30) == 5.0
    assert sleep_after_s(standby, [100.0] * 30) == pytest.approx(100.0, abs=50.1)
    assert cost_j(standby, [100.0] * 30, sleep_after_s(standby, [100.0] * 30)) == pytest.approx(
        0.05 * 100 * 30
    )


@given(
    st.floats(0.001, 10),
    st.floats(0.1, 100),
    st.lists(st.floats(1, 1e5), max_size=60),
    st.floats(1, 1e5),
)
def test_never_more_than_twice(idle_w, wake_j, silences_s, next_s):
    """Over the silences it has learned from, it costs at most what the break-even does; over any, at most twice the best."""
    standby = Standby(idle_w, wake_j)
    limit_s = sleep_after_s(standby, silences_s)
    bound_s = max(standby.break_even_s, 5.0)

    assert 5.0 <= limit_s <= bound_s
    assert cost_j(standby, silences_s, limit_s) <= cost_j(standby, silences_s, bound_s) * (1 + 1e-9)
    if not silences_s and standby.break_even_s >= 5:
        best = min(idle_w * next_s, wake_j)
        assert cost_j(standby, [next_s], limit_s) <= 2 * best * (1 + 1e-9)
