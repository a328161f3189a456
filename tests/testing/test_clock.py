"""The clock that moves only when told, and the port that it shares with the machine's own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from joulewise.testing.clock import FakeClock
from joulewise.vocabulary.clock import Clock, SystemClock


def test_both_clocks_move_together() -> None:
    """Sleeping moves UTC and the monotonic clock by the same time, and takes none."""
    clock = FakeClock()
    utc, monotonic_s = clock.now_utc(), clock.monotonic_s()
    clock.sleep(90)

    assert clock.now_utc() - utc == timedelta(seconds=90)
    assert clock.monotonic_s() - monotonic_s == 90


def test_setting_utc_leaves_the_stopwatch() -> None:
    """Whoever sets the time of day back does not turn back durations."""
    clock = FakeClock()
    before_s = clock.monotonic_s()
    clock.set_utc(datetime(1999, 1, 1, tzinfo=UTC))

    assert clock.now_utc().year == 1999
    assert clock.monotonic_s() == before_s


def test_it_does_not_go_back() -> None:
    """A negative sleep is refused with the value seen."""
    with pytest.raises(ValueError, match="seconds is -1"):
        FakeClock().sleep(-1)


@pytest.mark.parametrize("clock", [FakeClock(), SystemClock()])
def test_times_are_aware(clock: Clock) -> None:
    """Every clock tells UTC with its zone, and a stopwatch that never goes back."""
    assert clock.now_utc().utcoffset() == timedelta(0)
    assert clock.monotonic_s() <= clock.monotonic_s()
