"""Counters that restart, tremble and jump; power whose values are means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulewise.measuring.meters.counter import GrowingCounter, IntegratedPower


def counter(value: float = 1_000_000.0) -> GrowingCounter:
    """Return a counter in millijoules of a device that draws at most 1 kW."""
    return GrowingCounter(value, 0.0, unit_j=1e-3, limit_w=1000.0)


class TestGrowingCounter:
    @given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30))
    def test_steps_add_up(self, steps: list[int]) -> None:
        """However often it is looked at, what was used is last minus first, exactly."""
        shown, seen = 5 * 10**12, GrowingCounter(5 * 10**12, 0.0, unit_j=1e-3, limit_w=1e6)
        for at_s, step in enumerate(steps):
            shown += step
            assert seen.add(shown, at_s) == ""

        assert seen.used_j == sum(steps) * 1e-3

    def test_restart(self) -> None:
        """A counter that begins anew goes on: what it shows then was used since, and the gap is said."""
        seen = counter()
        seen.add(1_050_000, 1.0)
        why = seen.add(20_000, 2.0)

        assert seen.used_j == pytest.approx(70.0)
        assert "restarted (from 1050000 to 20000)" in why
        assert seen.add(21_000, 3.0) == ""
        assert seen.used_j == pytest.approx(71.0)

    def test_a_restart_that_is_told(self) -> None:
        """A counter that is known to have begun anew counts from zero even if it stands higher than before."""
        seen = counter(10.0)
        seen.add(50.0, 1.0, restarted=True)

        assert seen.used_j == pytest.approx(0.05)

    def test_going_back_far_is_no_restart(self) -> None:
        """A counter that went back but still shows far more than the time allows adds nothing."""
        seen = counter(10**9)
        why = seen.add(9 * 10**8, 1.0)

        assert seen.used_j == 0
        assert "left out" in why

    def test_a_jump_is_left_out(self) -> None:
        """A step beyond what the device can draw in the time is left out and said; then it goes on."""
        seen = counter()
        why = seen.add(10**12, 1.0)
        seen.add(10**12 + 5_000, 2.0)

        assert "more than 1000 W can use in 1.0 s" in why
        assert seen.used_j == pytest.approx(5.0)

    def test_trembling(self) -> None:
        """Less than a joule backwards is waited for, not counted as a restart."""
        seen = counter()
        seen.add(1_002_000, 1.0)
        assert seen.add(1_001_500, 2.0) == ""
        seen.add(1_003_000, 3.0)

        assert seen.used_j == pytest.approx(3.0)


class TestIntegratedPower:
    def test_a_ramp_of_moments_is_exact(self) -> None:
        """Between values of the moment a straight line is taken: its integral is exact."""
        power = IntegratedPower(100.0, 0.0)
        power.add(200.0, 2.0)
        power.add(200.0, 3.0)

        assert power.used_j == 500.0

    def test_means_read_once_per_window_are_exact(self) -> None:
        """A mean of one second, read every second, is the energy itself, however the load pulses inside."""
        power = IntegratedPower(50.0, 0.0, window_s=1.0)
        for at_s, mean_w in enumerate((160.0, 160.0, 400.0), start=1):
            power.add(mean_w, at_s)

        assert power.used_j == 720.0

    def test_beyond_the_window_it_is_bridged(self) -> None:
        """What is older than the window is bridged between the two values."""
        power = IntegratedPower(100.0, 0.0, window_s=1.0)
        power.add(200.0, 3.0)

        assert power.used_j == 200.0 + 2 * 150.0

    def test_never_back(self) -> None:
        """A sensor that shows less than nothing adds nothing."""
        power = IntegratedPower(0.0, 0.0)
        power.add(-5.0, 1.0)

        assert power.used_j == 0.0
