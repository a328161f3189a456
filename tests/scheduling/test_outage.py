"""The grid's service is away for a day in mid-plan: plans degrade and say so, and every deadline is met."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

pytest.importorskip("numpy", reason="planning under a capacity needs the extra `schedule`")

from joulewise.grid.at_hand import outlook
from joulewise.ledger import jobs
from joulewise.ledger.leases import Leases, lease_clock
from joulewise.ledger.memory import open_memory
from joulewise.scheduling.plan import Grid
from joulewise.scheduling.queue_plan import planned_alone, renew
from joulewise.scheduling.worker import Post, Worker
from joulewise.testing.clock import FakeClock
from joulewise.testing.queue_contract import HOUR, NOW, ticket
from joulewise.testing.simulated import SimulatedEngine
from joulewise.vocabulary.job import Checkpoint
from joulewise.vocabulary.signal import Signal, SignalPoint
from joulewise.vocabulary.ticket import OPEN, Needs, Stage

DAY = [300.0] * 10 + [80.0] * 6 + [350.0] * 8
ACTUAL = Signal.of("DE", DAY * 40, NOW - timedelta(days=30, hours=12), source="measured")
DOWN = (NOW + 3 * HOUR, NOW + 27 * HOUR)
SAID = "no-such-service did not answer (forecast)"


def grid_at(now: datetime) -> Grid:
    """Return what is at hand: history and a published forecast; during the outage history as of its beginning."""
    away = DOWN[0] <= now < DOWN[1]
    until = (DOWN[0] if away else now).replace(minute=0)
    past = ACTUAL.between(NOW - timedelta(days=28), until)
    told = ACTUAL.between(until, until + timedelta(hours=48))
    published = replace(
        told, points=tuple(SignalPoint(p.value, until) for p in told.points), source="a service"
    )
    made = outlook(
        "DE", now, 48, past=past, published=() if away else (published,), notes=(SAID,) if away else ()
    )
    source = "; ".join((made.method, *made.notes))
    return Grid({"DE": replace(made.signal, source=source)}, trust={"DE": made.kept})


def test_a_day_without_the_service():
    """Jobs that come before and during the outage are planned, run and done in time; what the plan rests on is told."""
    store, clock = open_memory(), FakeClock(NOW)
    engine = SimulatedEngine(clock)
    worker = Worker(
        store, engine, Post("w", "here/1", Needs(3)), clock,
        plan=lambda: renew(store, lambda *_: grid_at(clock.now_utc()), clock.now_utc()),  # type: ignore[arg-type]
        leases=Leases(store, "w", "here/1", clock=lease_clock),
    )  # fmt: skip
    ids: list[str] = []
    rests_on: set[str] = set()
    for step in range(60 * 6):
        now = clock.now_utc()
        if step % 12 == 0 and len(ids) < 15:
            asked = ticket(f"job-{len(ids)}", 1.5, pause=Checkpoint(1.0) if len(ids) % 2 else None)
            asked = replace(
                asked,
                job=replace(asked.job, release_utc=now, deadline_utc=now + timedelta(hours=9 + len(ids) % 7)),
            )
            ids.append(jobs.add(store, asked, planned_alone(asked, grid_at(now), now), now))
        worker.round()
        rests_on |= {
            told["signal"] for told in jobs.placements(store, ids).values() if DOWN[0] <= now < DOWN[1]
        }
        clock.sleep(600)

    found = [jobs.find(store, i) for i in ids]
    assert len(found) == 15
    assert [x.stage for x in found] == [Stage.DONE] * 15
    assert not any(x.late for x in found)
    assert jobs.lines(store, OPEN) == []
    assert any(SAID in text and "history alone" in text for text in rests_on)
    store.close()
