"""A clock that stands still until it is told to move: tests of time need no waiting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import final


@final
class FakeClock:
    """A `Clock` moved by `sleep`: UTC and the monotonic clock advance together.

    The monotonic clock starts at 1000 s, because a real one never starts at zero either.
    """

    def __init__(self, start_utc: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._utc = start_utc
        self._monotonic_s = 1000.0

    def now_utc(self) -> datetime:
        """Return the time as an aware UTC datetime."""
        return self._utc

    def monotonic_s(self) -> float:
        """Return seconds since an arbitrary start."""
        return self._monotonic_s

    def sleep(self, seconds: float) -> None:
        """Move both clocks on by `seconds` (>= 0), at once."""
        if seconds < 0:
            raise ValueError(f"seconds is {seconds}, but a clock does not go back")
        self._monotonic_s += seconds
        self._utc += timedelta(seconds=seconds)

    def set_utc(self, moment: datetime) -> None:
        """Set the time of day, as an administrator or NTP may; the monotonic clock does not notice."""
        self._utc = moment
