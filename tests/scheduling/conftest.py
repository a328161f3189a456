from datetime import UTC, datetime, timedelta
from typing import Any

from joulewise.scheduling.plan import Grid, place
from joulewise.vocabulary.job import Duration, Job, Pace, Placement
from joulewise.vocabulary.signal import Signal

NOW = datetime(2026, 1, 5, tzinfo=UTC)
WATTS = 1000.0


def signal(values, zone="DE", **fields) -> Signal:
    return Signal.of(zone, values, fields.pop("start_utc", NOW), source="test", **fields)


def grid(values, **zones) -> Grid:
    return Grid({"DE": signal(values), **{z: signal(v, z) for z, v in zones.items()}})


def job(hours=2.0, deadline_h=8.0, **changes) -> Job:
    fields: dict[str, Any] = {
        "name": "a",
        "duration": Duration.of(hours * 3600),
        "release_utc": NOW,
        "deadline_utc": NOW + timedelta(hours=deadline_h),
        "paces": (Pace("all", 1.0, WATTS),),
        "zones": ("DE",),
        **changes,
    }
    return Job(**fields)


def placed_of(*args, **kwargs) -> Placement:
    """Return what `place` returns where that is a placement."""
    placed = place(*args, **kwargs)
    assert isinstance(placed, Placement)
    return placed
