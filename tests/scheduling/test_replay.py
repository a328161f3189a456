"""Plans replayed on a year of real hours, from what was known at the time."""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from joulewise.scheduling.plan import Grid
from joulewise.vocabulary.job import Checkpoint, Duration, Job, Pace
from joulewise.vocabulary.signal import Signal
from tests.scheduling.conftest import placed_of

HOURLY = Path(__file__).resolve().parents[3] / "shared" / "data" / "carbon" / "hourly"
MOST_WORSE = 0.01  # the stated bound: in no month more than 1 % above running now

if not HOURLY.is_dir():
    pytest.skip("the intensities of ../shared are not here", allow_module_level=True)


@pytest.mark.parametrize("path", sorted(HOURLY.glob("*.csv")), ids=lambda p: p.name.partition("_")[0])
def test_in_no_month_worse_than_running_now(path):
    """Six-hour jobs with a day, planned on yesterday and last week, never cost a month 1 % more than running now."""
    with path.open(encoding="utf-8") as file:
        values = [float(r["ci_lifecycle_g_per_kwh"]) for r in csv.DictReader(file)]
    first = datetime(2022, 1, 1, tzinfo=UTC)
    paid: dict[int, list[float]] = {}
    for begin in range(365 * 24, len(values) - 48, 11):
        start = first + timedelta(hours=begin)
        week = [sum(values[begin - 24 * d + h] for d in range(1, 8)) / 7 for h in range(24)]
        known = [(values[begin - 24 + h] + week[h]) / 2 for h in range(24)]
        job = Job(
            "six", Duration.of(6 * 3600), start, start + timedelta(hours=24), (Pace("one", 1.0, 300.0),),
            Checkpoint(), ("here",),
        )  # fmt: skip
        placed = placed_of(job, Grid({"here": Signal.of("here", known, start)}), start)
        month = paid.setdefault(start.month, [0.0, 0.0])
        for stretch in placed.stretches:
            hour = begin + int((stretch.start_utc - start) / timedelta(hours=1))
            month[0] += sum(values[hour : hour + round(stretch.duration_s / 3600)])
        month[1] += sum(values[begin : begin + 6])

    worst = max(ran / now - 1 for ran, now in paid.values())
    assert len(paid) == 12
    assert worst <= MOST_WORSE
