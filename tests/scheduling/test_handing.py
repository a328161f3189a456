"""Handing over ahead: a cluster's scheduler has the job before any worker looks, and the next who looks takes care of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from joulewise.launching.port import Refused, Unreachable
from joulewise.ledger import jobs
from joulewise.ledger.job_rows import Planned
from joulewise.ledger.leases import Leases
from joulewise.scheduling.handing import hand_over, may_hand_over
from joulewise.scheduling.saved import placement_as_json, placement_from_json
from joulewise.scheduling.worker import Post, Worker
from joulewise.testing.queue_contract import HOUR, NOW, ticket
from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.vocabulary.job import Checkpoint, Stretch
from joulewise.vocabulary.ticket import Needs, Stage
from tests.scheduling.test_worker import Yard, give

CLEAN = NOW + 2 * HOUR  # the grid of the test's yard is dirty in between


@pytest.fixture
def yard():
    yard = Yard(name="slurm")
    yield yard
    yard.store.close()


def handed(yard: Yard, **given) -> str:
    """Submit a job that runs two hours from now, and hand it over without a worker."""
    asked = ticket("train", 1.0, engine="slurm", **given)
    job = yard.submit(replace(asked, job=replace(asked.job, release_utc=CLEAN)))
    mine = Leases(yard.store, "login", "here/1", 60.0, yard.seconds.read)
    hand_over(yard.store, yard.engine, mine, job, NOW, give)
    return job


def test_starts_without_a_worker(yard):
    """The engine begins it at its planned start; whoever looks next writes down that it ran, when, and how it ended."""
    job = handed(yard)
    assert yard.line(job).stage is Stage.PAUSED
    assert (
        jobs.story(yard.store, job)[-1].reason
        == f"slurm has it as {job}-1, and begins it at 2026-03-01 14:00 UTC"
    )

    yard.pass_time(2.5 * 3600)
    yard.worker().catch_up()
    assert yard.line(job).stage is Stage.RUNNING

    yard.pass_time(3600)
    yard.worker().catch_up()
    assert (yard.line(job).stage, yard.line(job).exit_code) == (Stage.DONE, 0)
    assert yard.engine.ran(job) == [(CLEAN, CLEAN + HOUR)]
    assert yard.engine.most_copies == 1


def test_adopted(yard):
    """A worker that comes later adopts it before its hour and leaves it where it is."""
    job = handed(yard)
    worker = yard.worker()
    worker.round()
    assert yard.line(job).stage is Stage.PAUSED
    assert yard.engine.ran(job) == []

    yard.run(worker)
    assert yard.line(job).stage is Stage.DONE
    assert yard.line(job).fence == 1
    assert yard.engine.ran(job) == [(CLEAN, CLEAN + HOUR)]


def test_moved(yard):
    """A worker whose hour for it comes earlier moves its begin."""
    job = handed(yard)
    yard.store.execute("UPDATE jobs SET start_utc = :s", {"s": jobs.iso(NOW)})
    yard.store.execute("UPDATE job_papers SET placement = ''")
    yard.run(yard.worker())

    assert yard.engine.ran(job) == [(NOW, NOW + HOUR)]
    assert yard.line(job).stage is Stage.DONE


def test_cancelled(yard):
    """Cancelled before its hour with no worker there, it is taken from the engine by whoever catches up."""
    job = handed(yard)
    assert jobs.cancel(yard.store, job, NOW, who="ada") is Stage.PAUSED
    yard.worker().catch_up()
    yard.worker().catch_up()

    assert yard.line(job).stage is Stage.CANCELLED
    yard.pass_time(5 * 3600)
    assert yard.engine.ran(job) == []


def test_refused_whole(yard):
    """What the cluster refuses is out of the queue again."""

    def refuse(_order):
        raise Refused("sbatch: invalid partition")

    yard.engine.start = refuse
    with pytest.raises(UsageError, match="train: sbatch: invalid partition"):
        handed(yard)
    with pytest.raises((UnknownName, UsageError)):
        jobs.find(yard.store, "latest")


def test_unreachable(yard):
    """A cluster that does not answer leaves the job in the queue for a worker, under a key that starts nothing twice."""

    def away(_order):
        raise Unreachable("sbatch did not answer")

    start, yard.engine.start = yard.engine.start, away
    job = handed(yard)
    assert yard.line(job).stage is Stage.QUEUED
    assert "it waits for a worker" in yard.line(job).reason

    yard.engine.start = start
    yard.run(yard.worker())
    assert yard.line(job).stage is Stage.DONE


def test_when(yard):
    """Only engines that start jobs at their hour are handed any, and only while no worker is there."""
    assert may_hand_over(yard.store, yard.engine)
    Leases(yard.store, "w", "here/1").enrol("DE", "slurm", "", Needs(4), NOW)
    assert not may_hand_over(yard.store, yard.engine)
    assert not may_hand_over(yard.store, Yard().engine)
    assert not may_hand_over(yard.store, Yard(name="ray", abilities=()).engine)


def test_waiting_is_not_running():
    """A job that the cluster lets wait has not run yet: its stretch begins when the engine says so, and that is learnt."""
    yard = Yard(name="slurm", start_s=600.0)
    job = yard.submit(ticket("plain", 0.5, engine="slurm"))
    yard.run(yard.worker(), step_s=60)

    (ran,) = jobs.attempts(yard.store, job)[0].ran
    assert ran == (
        NOW + timedelta(minutes=9),
        NOW + timedelta(minutes=40),
    )  # seen waiting for the last time, and over
    assert jobs.start_delays(yard.store, "slurm") == [540.0]
    yard.store.close()


def test_paused_before_it_began():
    """A job that the cluster lets wait and whose plan says rest is held, not suspended, and released when its hour comes."""
    yard = Yard(name="slurm", start_s=1200.0)
    job = yard.submit(ticket("pauses", 2.0, engine="slurm", pause=Checkpoint(1.0)))
    first = yard.worker()
    first.round()
    rest = placement_from_json(jobs.placement(yard.store, job) or {})
    later = replace(rest, stretches=(Stretch(NOW + 3 * HOUR, NOW + 5 * HOUR),))
    jobs.replace_placement(yard.store, job, 1, placement_as_json(later), NOW + HOUR)
    yard.pass_time(300)
    first.round()

    assert yard.line(job).stage is Stage.PAUSED
    assert jobs.story(yard.store, job)[-1].reason.endswith("it had not begun")
    yard.run(first, step_s=60)
    assert yard.line(job).stage is Stage.DONE
    assert yard.engine.ran(job)[0][0] >= NOW + 3 * HOUR
    assert jobs.start_delays(yard.store, "slurm") == []  # it was held back: that is no slow start
    yard.store.close()


def on_two_nodes(yard: Yard) -> Worker:
    """Return a worker of a cluster of two nodes."""
    post = Post("w", "here/1", Needs(8), nodes={"n1": Needs(4), "n2": Needs(4)})
    return Worker(
        yard.store,
        yard.engine,
        post,
        yard.clock,
        leases=Leases(yard.store, "w", "here/1", 60.0, yard.seconds.read),
    )


def test_waiting_for_a_node():
    """A job is kept off the nodes that were not counted with; one that waits long for its own may run on any."""
    yard = Yard(name="slurm", start_s=1500.0)
    worker = on_two_nodes(yard)
    first, second = (
        yard.submit(ticket(name, 0.5, engine="slurm", needs=Needs(3))) for name in ("first", "second")
    )
    worker.round()
    assert sorted(yard.engine.away.values()) == [("n1",), ("n2",)]

    for _ in range(12):
        yard.pass_time(60)
        worker.round()
    assert list(yard.engine.away.values()) == [(), ()]
    yard.run(worker, step_s=60)
    assert yard.line(first).stage is yard.line(second).stage is Stage.DONE
    yard.store.close()


def test_released_to_a_node():
    """A job that saved its state is released to the node that is counted with then."""
    yard = Yard(name="slurm")
    worker = on_two_nodes(yard)
    job = yard.submit(ticket("saves", 2.0, engine="slurm", pause=Checkpoint(60.0), checkpoint="SIGUSR1"))
    worker.round()
    while yard.line(job).stage is not Stage.PAUSED:
        yard.pass_time(60)
        worker.round()
    yard.engine.away.clear()
    yard.run(worker, step_s=60)

    assert yard.line(job).stage is Stage.DONE
    assert list(yard.engine.away.values()) == [("n2",)]
    yard.store.close()


@pytest.mark.parametrize("keeps", [False, True])
def test_room_of_what_stands_still(keeps):
    """While a job stands still another has its processors, but not on an engine that counts them as taken."""
    yard = Yard(keeps=keeps)
    rests = yard.submit(ticket("rests", 2.0, pause=Checkpoint(1.0), needs=Needs(4)))
    worker = yard.worker()
    worker.round()
    yard.pass_time(3900)
    worker.round()
    assert yard.line(rests).stage is Stage.PAUSED
    told = jobs.story(yard.store, rests)[-1].reason
    assert told.endswith("keeps its memory and its allocation" if keeps else "keeps its memory")

    other = ticket("other", 0.5, needs=Needs(4))
    planned = Planned("", "DE", yard.clock.now_utc(), NOW + 20 * HOUR, "for the test")
    late = jobs.add(yard.store, other, planned, yard.clock.now_utc())
    yard.run(worker, step_s=60)

    rested, begun = (yard.engine.ran(job) for job in (rests, late))
    assert (begun[0][0] < rested[-1][0]) is not keeps
    assert begun[0][0] == (rested[-1][1] if keeps else NOW + timedelta(minutes=65))
    yard.store.close()
