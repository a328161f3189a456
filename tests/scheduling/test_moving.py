"""What a cluster has and has not begun follows the newest forecast, with no worker there."""

from __future__ import annotations

import pytest

from joulewise.launching.port import Refused
from joulewise.ledger import jobs
from joulewise.ledger.leases import Leases
from joulewise.scheduling.moving import move_handed
from joulewise.scheduling.plan import Grid
from joulewise.testing.queue_contract import HOUR, NOW
from joulewise.vocabulary.signal import Signal
from joulewise.vocabulary.ticket import Stage
from tests.scheduling.test_handing import CLEAN, handed
from tests.scheduling.test_worker import Yard


@pytest.fixture
def yard():
    yard = Yard(name="slurm")
    yield yard
    yard.store.close()


def passing(yard: Yard) -> Leases:
    return Leases(yard.store, "crontab", "here/1", 60.0, yard.seconds.read)


def test_moved_by_a_newer_forecast(yard):
    """A job that the engine has and has not begun is planned anew once the hour has turned, without a worker, and begins then."""
    job = handed(yard)
    newer = Grid({"DE": Signal.of("DE", [500.0] * 4 + [10.0] * 4 + [600.0] * 40, NOW)})
    yard.pass_time(3600)
    now = yard.clock.now_utc()

    (said,) = move_handed(yard.store, yard.engine, passing(yard), lambda *_: newer, now)
    assert said.endswith("moved to 2026-03-01 16:00 UTC: a newer forecast")
    assert yard.line(job).start_utc == NOW + 4 * HOUR
    assert jobs.story(yard.store, job)[-1].what == "moved"
    assert (
        move_handed(yard.store, yard.engine, passing(yard), lambda *_: newer, now) == []
    )  # within the hour it stays

    yard.pass_time(4.5 * 3600)
    yard.worker().catch_up()
    assert yard.engine.ran(job) == [(NOW + 4 * HOUR, NOW + 5 * HOUR)]
    assert (yard.line(job).stage, yard.engine.most_copies) == (Stage.DONE, 1)


def test_not_moved_for_nothing(yard):
    """Where the newer forecast says the same, and where the job runs or a worker is there, nothing is moved."""
    job = handed(yard)
    same = Grid({"DE": Signal.of("DE", [100.0] * 48, NOW)})
    yard.pass_time(3600)

    assert move_handed(yard.store, yard.engine, passing(yard), lambda *_: same, yard.clock.now_utc()) == []
    assert yard.line(job).start_utc == CLEAN
    yard.pass_time(1.5 * 3600)
    newer = Grid({"DE": Signal.of("DE", [500.0] * 4 + [10.0] * 44, NOW)})
    yard.worker().catch_up()
    assert move_handed(yard.store, yard.engine, passing(yard), lambda *_: newer, yard.clock.now_utc()) == []
    assert yard.line(job).stage is Stage.RUNNING
    yard.worker().round()
    assert move_handed(yard.store, yard.engine, passing(yard), lambda *_: newer, yard.clock.now_utc()) == []


def test_not_moved_where_the_engine_says_no(yard):
    """A cluster that refuses to move a job keeps it as it was, and so does the ledger."""
    job = handed(yard)
    newer = Grid({"DE": Signal.of("DE", [500.0] * 4 + [10.0] * 44, NOW)})
    yard.pass_time(3600)

    def refuses(*_args):
        raise Refused("it may not")

    yard.engine.begin = refuses
    (said,) = move_handed(yard.store, yard.engine, passing(yard), lambda *_: newer, yard.clock.now_utc())
    assert said.endswith("stays as it is: it may not")
    assert yard.line(job).start_utc == CLEAN
