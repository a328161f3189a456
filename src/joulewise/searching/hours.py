"""When a search may work: in the clean hours before its deadline. A search is flexible work that can pause after any epoch.

The work that is left (by the budget and what an hour of it uses) is planned as one interruptible job by the room of
scheduling, anew every half hour; outside of the plan's stretches a worker rests, its frozen trials in memory. The plan
keeps the deadline, and is never worse than working on, on the forecast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import final

from joulewise.scheduling.plan import Grid, plan
from joulewise.vocabulary.job import Checkpoint, Duration, Job, Pace, Stretch

_ANEW = timedelta(minutes=30)
_RESERVE = 0.1  # of the work that is left: it may take longer


@final
class Hours:
    """A deadline in a zone; `grid_of` tells how clean the hours between two moments will be."""

    def __init__(
        self,
        deadline_utc: datetime,
        zone: str,
        grid_of: Callable[[datetime, datetime], Grid],
        now: Callable[[], datetime],
    ) -> None:
        self.deadline_utc = deadline_utc
        self._zone = zone
        self._grid_of = grid_of
        self._now = now
        self._stretches: Sequence[Stretch] = ()
        self._planned_utc: datetime | None = None

    @property
    def over(self) -> bool:
        """Whether the deadline has passed."""
        return self._now() >= self.deadline_utc

    def wait_s(self, left_s: float | None) -> float:
        """Return the seconds to rest before going on; 0 for now. `left_s` is the work that is left (None: unknown yet)."""
        now_utc = self._now()
        if left_s is None or left_s <= 0 or now_utc >= self.deadline_utc:
            return 0.0
        if self._planned_utc is None or now_utc - self._planned_utc >= _ANEW:
            self._stretches, self._planned_utc = self._planned(now_utc, left_s), now_utc
        ahead = [s for s in self._stretches if s.end_utc > now_utc]
        return max(0.0, (ahead[0].start_utc - now_utc).total_seconds()) if ahead else 0.0

    def _planned(self, now_utc: datetime, left_s: float) -> Sequence[Stretch]:
        """Return the stretches to work in; none (work on) where the deadline leaves no choice."""
        job = Job(
            "search", Duration.of(left_s, _RESERVE), now_utc, self.deadline_utc, (Pace("", 1.0, 1.0),),
            interruptible=Checkpoint(), zones=(self._zone,),
        )  # fmt: skip
        placed = plan([job], self._grid_of(now_utc, self.deadline_utc), now_utc).placements
        return placed[0].stretches if placed else ()
