"""Time, as an argument: who needs it takes a `Clock`, so that a test can decide what time it is.

UTC says when something happened; the monotonic clock says how long it took. The two are never mixed: UTC can
be set back by whoever administers the machine, the monotonic clock cannot.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol, final


class Clock(Protocol):
    """The time of day and a stopwatch that never goes back."""

    def now_utc(self) -> datetime:
        """Return the time as an aware UTC datetime."""

    def monotonic_s(self) -> float:
        """Return seconds on a clock that never goes back; only differences mean something."""


@final
class SystemClock:
    """The machine's own clocks."""

    def now_utc(self) -> datetime:
        """Return the time as an aware UTC datetime."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Return seconds on the machine's monotonic clock."""
        return time.monotonic()
