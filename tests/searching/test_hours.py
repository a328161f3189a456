"""A search that rests in dirty hours."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from joulewise.scheduling.plan import Grid
from joulewise.searching import worker as worker_module
from joulewise.searching.deciding import Rules
from joulewise.searching.hours import Hours
from joulewise.searching.study import Study
from joulewise.vocabulary.budget import Budget, Spent
from joulewise.vocabulary.figures import exact
from joulewise.vocabulary.signal import Signal
from tests.searching.doubles import SPACE

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
DIRTY, CLEAN = 500.0, 100.0


class Clock:
    """Moves on by what is slept and worked."""

    def __init__(self) -> None:
        self.utc = NOON

    def monotonic(self):
        return (self.utc - NOON).total_seconds()

    def now(self):
        return self.utc

    def sleep(self, seconds):
        self.utc += timedelta(seconds=seconds)


def grid(start, end):
    """Return hours that are dirty until 18:00, and clean from then on."""
    values = tuple(DIRTY if (NOON + timedelta(hours=h)).hour < 18 else CLEAN for h in range(12))
    return Grid({"DE": Signal.of("DE", values, NOON)})


def hours(clock, deadline_h):
    return Hours(NOON + timedelta(hours=deadline_h), "DE", grid, clock.now)


def test_waits_for_the_clean_hour():
    """Two hours of work wait for six in the evening; ten hours of work leave no choice."""
    clock = Clock()

    assert hours(clock, 11).wait_s(2 * 3600) == pytest.approx(6 * 3600)
    assert hours(clock, 11).wait_s(10.5 * 3600) == 0
    assert hours(clock, 11).wait_s(None) == 0
    clock.sleep(7 * 3600)
    assert hours(clock, 11).wait_s(2 * 3600) == 0


def test_planned_anew():
    """When less is left than was planned, the search does not go on resting beyond its clean hours."""
    clock = Clock()
    plan = hours(clock, 11)
    assert plan.wait_s(3600) > 0
    clock.sleep(6 * 3600 + 60)
    assert plan.wait_s(3600) == 0


def test_search(monkeypatch):
    """A search learns what an epoch takes, rests until the clean hours, and ends within its budget and its deadline."""
    clock = Clock()
    worked: list[datetime] = []
    monkeypatch.setattr(time, "sleep", clock.sleep)
    monkeypatch.setattr(time, "monotonic", clock.monotonic)
    monkeypatch.setattr(worker_module, "_NAP_S", 600.0)

    def measure():
        return Spent((clock.utc - NOON).total_seconds(), exact(60.0 * len(worked)))

    def objective(trial):
        for epoch in trial.epochs():
            clock.sleep(60)
            worked.append(clock.utc)
            yield trial["x"] - 1 / epoch

    study = Study("s", SPACE, Rules(9))
    study.run(objective, Budget(time_s=5400), measure, hours=hours(clock, 11))

    assert 80 <= len(worked) <= 90
    clean = [utc for utc in worked if utc.hour >= 18]
    assert len(clean) >= 0.8 * len(worked)
    assert worked[-1] <= NOON + timedelta(hours=11)
    assert study.spent["time_s"] <= 5400
    assert any(line["kind"] == "rests" for line in study.lines)


def test_deadline(monkeypatch):
    """At its deadline a search ends, whatever its budget has left."""
    clock = Clock()

    def objective(trial):
        for epoch in trial.epochs():
            clock.sleep(1800)
            yield trial["x"] - 1 / epoch

    def measure():
        return Spent((clock.utc - NOON).total_seconds(), exact(1.0))

    study = Study("s", SPACE, Rules(9))
    study.run(objective, Budget(time_s=1e6), measure, hours=hours(clock, 2))

    assert study.reason == "the deadline is reached (2026-06-01 14:00 UTC)"
