"""What the queue promises in every store of the ledger, as a test class to inherit: give it a fixture `store`."""

# ruff: noqa: S101 - assertions are what a contract is made of

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from joulewise.ledger import jobs
from joulewise.ledger.jobs import Planned
from joulewise.ledger.leases import Leases, due, give_up, holders, workers
from joulewise.ledger.store import Store
from joulewise.vocabulary.errors import UnknownName, UsageError
from joulewise.vocabulary.job import Duration, Job, Pace
from joulewise.vocabulary.ticket import Needs, Stage, Ticket

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class LeaseClock:
    """The seconds that leases count in, moved by hand; give its `read` to Leases."""

    def __init__(self) -> None:
        self.whose, self.now_s = "test", 1000.0

    def read(self, _store: Store) -> tuple[str, float]:
        """Return whose seconds they are, and how many."""
        return self.whose, self.now_s


def ticket(name: str = "train", hours: float = 1.0, **given: Any) -> Ticket:
    """Return a ticket for a job of some hours, due in a day."""
    job = Job(
        name,
        Duration.of(hours * 3600) if hours else Duration(),
        NOW,
        NOW + 24 * HOUR,
        (Pace("1 worker", 1.0, 200.0),),
        given.pop("pause", None),
        ("DE",),
    )
    return Ticket(job, ("sleep", f"{hours * 3600:g}"), "/", given.pop("owner", "ada"), **given)


def add(store: Store, name: str = "train", *, start: datetime = NOW, **given: Any) -> str:
    """Put a ticket into the queue, planned to start then, and return its id."""
    asked = ticket(name, **given)
    return jobs.add(store, asked, Planned("", "DE", start, NOW + 20 * HOUR, "for the test"), NOW)


def leases(store: Store, worker: str, clock: LeaseClock, place: str = "here/1") -> Leases:
    """Return a worker's leases of 60 s by a clock that is moved by hand."""
    return Leases(store, worker, place, 60.0, clock.read)


class QueueContract:
    """Inherit it and define the fixture `store`, a fresh ledger."""

    def test_comes_back(self, store: Store) -> None:
        """What was submitted comes back whole, is listed by its line, and found by id, beginning, name and `latest`."""
        asked = ticket("é漢", needs=Needs(4, 1, 16 << 30), env={"A": "b c"}, retries=2, checkpoint="SIGUSR1")
        job_id = jobs.add(store, asked, Planned("", "DE", NOW + HOUR, NOW + 2 * HOUR, "why", {"a": 1}), NOW)

        assert jobs.ticket(store, job_id) == asked
        assert jobs.placement(store, job_id) == {"a": 1}
        (line,) = jobs.lines(store)
        assert (line.id, line.name, line.stage, line.needs) == (job_id, "é漢", Stage.QUEUED, asked.needs)
        assert (line.start_utc, line.latest_utc, line.reason) == (NOW + HOUR, NOW + 2 * HOUR, "why")
        assert all(jobs.find(store, t).id == job_id for t in (job_id, job_id[:4], "é漢", "latest"))
        with pytest.raises(UnknownName, match="unknown job"):
            jobs.find(store, "nobody")

    def test_one_claim(self, store: Store) -> None:
        """Of two workers that want a job one gets it; the other is told that somebody was first."""
        clock = LeaseClock()
        job_id = add(store)

        assert leases(store, "a", clock).claim(job_id, 0, "due", NOW) == 1
        assert leases(store, "b", clock).claim(job_id, 0, "due", NOW) is None
        assert [h.line.id for h in leases(store, "a", clock).held()] == [job_id]
        assert leases(store, "b", clock).held() == []

    def test_due(self, store: Store) -> None:
        """Due is what waits and whose start has come, planned or latest; of this engine, zone and owner."""
        now = add(store, "now")
        later = add(store, "later", start=NOW + HOUR)
        add(store, "other", owner="bob")
        add(store, "cluster", engine="slurm")

        assert [x.id for x in due(store, "local", "DE", "ada", NOW)] == [now]
        assert {x.id for x in due(store, "local", "", "ada", NOW + HOUR)} == {now, later}
        assert {x.name for x in due(store, "local", "DE", "", NOW)} == {"now", "other"}
        assert due(store, "local", "FR", "", NOW + HOUR) == []
        assert {x.name for x in due(store, "local", "", "", NOW + 21 * HOUR)} == {"now", "later", "other"}

    def test_end(self, store: Store) -> None:
        """A job that ended leaves the queue with its exit code, its stretches and its story; its lease is gone."""
        clock = LeaseClock()
        job_id, mine = add(store), leases(store, "a", clock)
        fence = mine.claim(job_id, 0, "due", NOW) or 0
        ran = ((NOW, NOW + HOUR), (NOW + 2 * HOUR, None))

        assert mine.mark(job_id, fence, Stage.PAUSED, "h/1", ran, NOW, ("paused", "dirty hour"))
        assert mine.held()[0].attempt.ran == ran
        assert mine.finish(job_id, fence, Stage.DONE, "done", ran, NOW + 3 * HOUR, exit_code=0)
        assert (jobs.find(store, job_id).stage, jobs.find(store, job_id).exit_code) == (Stage.DONE, 0)
        (tried,) = jobs.attempts(store, job_id)
        assert (tried.handle, tried.ran, tried.ended_utc) == ("h/1", ran, NOW + 3 * HOUR)
        assert [d.what for d in jobs.story(store, job_id)] == ["submitted", "claimed", "paused", "done"]
        assert mine.held() == []
        assert holders(store) == []

    def test_old_fence(self, store: Store) -> None:
        """A word under an older fence, or without the lease, changes nothing and is told so."""
        clock = LeaseClock()
        job_id, old, new = add(store), leases(store, "a", clock), leases(store, "b", clock)
        old.claim(job_id, 0, "due", NOW)
        old.finish(job_id, 1, Stage.QUEUED, "machine died", (), NOW)
        assert new.claim(job_id, 1, "again", NOW) == 2

        assert not old.finish(job_id, 1, Stage.DONE, "late word", (), NOW)
        assert not old.finish(job_id, 2, Stage.DONE, "stolen fence", (), NOW)
        assert not old.mark(job_id, 1, Stage.PAUSED, "h", (), NOW)
        assert jobs.find(store, job_id).stage is Stage.RUNNING
        assert new.finish(job_id, 2, Stage.DONE, "done", (), NOW)

    def test_adoption(self, store: Store) -> None:
        """A silent worker's job is adopted under the same fence, once; a worker that speaks keeps its jobs."""
        clock = LeaseClock()
        job_id = add(store)
        old, new, third = (leases(store, w, clock) for w in "abc")
        old.claim(job_id, 0, "due", NOW)
        clock.now_s += 50
        old.renew()
        clock.now_s += 50
        assert new.orphans("local", bound=True) == []
        clock.now_s += 20
        (held,) = new.orphans("local", bound=True)

        assert new.adopt(held, NOW)
        assert not third.adopt(held, NOW)
        assert new.held()[0].line.fence == 1
        assert not old.mark(job_id, 1, Stage.RUNNING, "h", (), NOW)
        assert new.mark(job_id, 1, Stage.RUNNING, "h", (), NOW)

    def test_bound_to_its_place(self, store: Store) -> None:
        """A job of an engine that is bound to its host is never adopted elsewhere, however long the silence."""
        clock = LeaseClock()
        job_id = add(store)
        leases(store, "a", clock, "here/1").claim(job_id, 0, "due", NOW)
        clock.now_s += 1e9
        elsewhere = leases(store, "b", clock, "here/2")

        assert elsewhere.orphans("local", bound=True) == []
        assert [h.line.id for h in elsewhere.orphans("local", bound=False)] == [job_id]

    def test_clock_of_another_boot(self, store: Store) -> None:
        """Seconds of another boot say nothing: such a lease counts as over."""
        clock = LeaseClock()
        job_id = add(store)
        leases(store, "a", clock).claim(job_id, 0, "due", NOW)
        clock.whose, clock.now_s = "next boot", 5.0

        assert [h.line.id for h in leases(store, "b", clock).orphans("local", bound=True)] == [job_id]

    def test_cancel(self, store: Store) -> None:
        """One that waits is over at once and is claimed by nobody; one that runs is asked; one that is over is refused."""
        clock = LeaseClock()
        waits, runs, mine = add(store, "waits"), add(store, "runs"), leases(store, "a", clock)
        mine.claim(runs, 0, "due", NOW)

        assert jobs.cancel(store, waits, NOW, who="ada") is Stage.CANCELLED
        assert mine.claim(waits, 0, "due", NOW) is None
        assert jobs.cancel(store, runs, NOW, who="ada") is Stage.RUNNING
        assert mine.held()[0].line.wanted == "cancel"
        with pytest.raises(UsageError, match="is over already"):
            jobs.cancel(store, waits, NOW, who="ada")

    @pytest.mark.parametrize("again", [False, True])
    def test_given_up(self, store: Store, again: bool) -> None:
        """A job whose host never returns is given up under the next fence; its old worker is told so, and told what to end."""
        clock = LeaseClock()
        gone, other = leases(store, "w1", clock, "far/1"), leases(store, "w2", clock)
        job = add(store)
        gone.claim(job, 0, "its hour", NOW)
        gone.mark(job, 1, Stage.RUNNING, "handle", [(NOW, None)], NOW)

        with pytest.raises(UsageError, match=f"{job} is with w1, which was heard of within its lease"):
            give_up(store, job, NOW, who="ada", again=again, clock=clock.read)
        clock.now_s += 61
        stage = give_up(store, job, NOW + HOUR, who="ada", again=again, clock=clock.read)

        found = jobs.find(store, job)
        assert (found.stage, found.fence) == (stage, 2)
        assert stage is (Stage.QUEUED if again else Stage.FAILED)
        assert found.reason == "given up by ada: far does not return"
        assert not gone.finish(job, 1, Stage.DONE, "done", [], NOW)
        assert other.claim(job, 2, "again", NOW) == (3 if again else None)
        assert gone.strays("local", bound=True) == [(job, 1)]
        assert other.strays("local", bound=True) == []
        gone.bury(job, 1)
        assert gone.strays("local", bound=True) == []

    def test_nobody_to_give_up(self, store: Store) -> None:
        """A job that only waits has no host to give up."""
        with pytest.raises(UsageError, match="is with no worker"):
            give_up(store, add(store), NOW, who="ada")

    def test_withdrawn(self, store: Store) -> None:
        """What is taken back was never there."""
        job = add(store)
        jobs.withdraw(store, job)

        with pytest.raises(UnknownName):
            jobs.find(store, job)
        assert store.query("SELECT * FROM job_papers") == store.query("SELECT * FROM job_decisions") == []

    def test_open_work(self, store: Store) -> None:
        """Open work is told by engine and zone, what was begun with how long it ran and with whom."""
        waits, runs = add(store), add(store, needs=Needs(2))
        worker = leases(store, "w1", LeaseClock())
        worker.claim(runs, 0, "its hour", NOW + HOUR)
        ran = [(NOW + HOUR, NOW + 2 * HOUR), (NOW + 4 * HOUR, None)]
        worker.mark(runs, 1, Stage.RUNNING, "7", ran, NOW + 4 * HOUR)

        told = jobs.open_work(store, "local", "DE", NOW + 5 * HOUR)
        assert [(w.needs.cpus, w.ran_s, w.worker) for w in told] == [(2, 7200.0, "w1"), (1, None, "")]
        assert [w.stage for w in told] == [Stage.RUNNING, Stage.QUEUED]
        assert jobs.find(store, waits).stage is Stage.QUEUED
        assert jobs.open_work(store, "slurm", "DE", NOW) == jobs.open_work(store, "local", "FR", NOW) == []

    def test_start_delays(self, store: Store) -> None:
        """What an engine takes to start a job is learnt from attempts that are over."""
        mine = leases(store, "w1", LeaseClock())
        for seconds in (30, 10):
            job = add(store)
            mine.claim(job, 0, "its hour", NOW)
            assert jobs.start_delays(store, "local") == ([30.0] if seconds == 10 else [])
            ran = [(NOW + timedelta(seconds=seconds), NOW + HOUR)]
            mine.finish(job, 1, Stage.DONE, "done", ran, NOW + HOUR)

        assert jobs.start_delays(store, "local") == [10.0, 30.0]
        assert jobs.start_delays(store, "slurm") == []
        ahead = add(store)
        mine.claim(ahead, 0, "its hour", NOW)
        jobs.replace_placement(store, ahead, 1, {}, NOW, NOW + 5 * HOUR)
        ran = [(NOW + 5 * HOUR + timedelta(seconds=20), NOW + 6 * HOUR)]
        mine.finish(ahead, 1, Stage.DONE, "done", ran, NOW + 6 * HOUR)
        assert jobs.start_delays(store, "local") == [10.0, 20.0, 30.0]

    def test_plans(self, store: Store) -> None:
        """A plan moves what waits and nothing else; the first is the promise; the story says what moved and why."""
        clock = LeaseClock()
        waits, runs = add(store, "waits"), add(store, "runs")
        leases(store, "a", clock).claim(runs, 0, "due", NOW)

        def plan(hours: int) -> int:
            planned = [
                Planned(j, "FR", NOW + hours * HOUR, NOW + 9 * HOUR, f"cleaner {hours}", {"n": hours})
                for j in (waits, runs)
            ]
            return jobs.write_plans(store, planned, NOW, who="planner")

        assert [plan(3), plan(3), plan(4)] == [1, 1, 1]
        line = jobs.find(store, waits)
        assert (line.zone, line.start_utc, line.reason) == ("FR", NOW + 4 * HOUR, "cleaner 4")
        assert (jobs.placement(store, waits), jobs.promise(store, waits)) == ({"n": 4}, {"n": 3})
        assert [d.what for d in jobs.story(store, waits)] == ["submitted", "planned", "moved"]
        assert jobs.find(store, runs).zone == "DE"

    def test_waits_again(self, store: Store) -> None:
        """A job that failed and may be tried again waits under the next fence, and remembers its failures."""
        clock = LeaseClock()
        job_id, mine = add(store), leases(store, "a", clock)
        mine.claim(job_id, 0, "due", NOW)
        mine.finish(
            job_id, 1, Stage.QUEUED, "failed with 1", (), NOW, exit_code=1, failed=True, start_utc=NOW + HOUR
        )
        line = jobs.find(store, job_id)

        assert (line.stage, line.failures, line.start_utc, line.ended_utc) == (
            Stage.QUEUED,
            1,
            NOW + HOUR,
            None,
        )
        assert mine.claim(job_id, 1, "again", NOW) == 2
        assert [a.fence for a in jobs.attempts(store, job_id)] == [1, 2]

    def test_shares(self, store: Store) -> None:
        """What an owner has had is counted in processor seconds since a time, open stretches up to now."""
        clock = LeaseClock()
        mine = leases(store, "a", clock)
        for owner, cpus in (("ada", 2), ("bob", 1)):
            job_id = add(store, owner, owner=owner, needs=Needs(cpus))
            mine.claim(job_id, 0, "due", NOW)
            mine.mark(job_id, 1, Stage.RUNNING, "h", [(NOW, None)], NOW)

        assert jobs.used(store, NOW + HOUR / 2, NOW + HOUR) == {"ada": 3600.0, "bob": 1800.0}

    def test_one_planner(self, store: Store) -> None:
        """One worker plans at a time; another may when the first has been silent for too long."""
        clock = LeaseClock()
        one, other = leases(store, "a", clock), leases(store, "b", clock)

        assert one.take_planner()
        assert one.take_planner()
        assert not other.take_planner()
        clock.now_s += 61
        assert other.take_planner()
        assert not one.take_planner()

    def test_workers(self, store: Store) -> None:
        """A worker that enrolled is listed with its room, and is gone when it leaves."""
        mine = Leases(store, "a", "here/1")
        mine.enrol("DE", "local", "", Needs(4, 1, 8 << 30), NOW)

        (line,) = workers(store)
        assert (line.name, line.zone, line.capacity, line.alive) == ("a", "DE", Needs(4, 1, 8 << 30), True)
        mine.leave()
        assert workers(store) == []
