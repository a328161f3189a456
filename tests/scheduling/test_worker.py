"""The worker: whatever dies between two of its steps, no job is lost and none ever has two live copies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest

from joulewise.launching.port import SUSPEND, State
from joulewise.ledger import jobs
from joulewise.ledger.jobs import Planned
from joulewise.ledger.leases import Leases, give_up
from joulewise.ledger.memory import open_memory
from joulewise.ledger.store import Store
from joulewise.scheduling.plan import Grid
from joulewise.scheduling.queue_plan import planned_alone
from joulewise.scheduling.worker import Post, Worker
from joulewise.testing.clock import FakeClock
from joulewise.testing.queue_contract import HOUR, NOW, LeaseClock, ticket
from joulewise.testing.simulated import SimulatedEngine
from joulewise.vocabulary.errors import LedgerError
from joulewise.vocabulary.job import Checkpoint
from joulewise.vocabulary.signal import Signal
from joulewise.vocabulary.ticket import OPEN, Needs, Stage, Ticket

# a dirty hour between clean ones, so that an interruptible job of two hours pauses for it
GRID = Grid({"DE": Signal.of("DE", [100.0, 500.0, 100.0, *([600.0] * 45)], NOW)})
SECOND = timedelta(seconds=1)


class Kill(BaseException):
    """Kill -9: nothing catches it."""


class Fuse:
    """Calls to a store and an engine, of which the n-th is the last: it is killed before (even n) or after it (odd)."""

    def __init__(self, n: int | None) -> None:
        self._left = n

    def burn(self) -> None:
        if self._left is not None:
            if self._left == 0:
                raise Kill
            self._left -= 1

    def around(self, target: Any) -> Any:
        fuse = self

        class Through:
            def __getattr__(self, name: str) -> Any:
                found = getattr(target, name)
                if not callable(found):
                    return found
                return fuse.transaction(target) if name == "transaction" else fuse.call(found)

        return Through()

    def call(self, found: Any) -> Any:
        def through(*args: Any, **kwargs: Any) -> Any:
            self.burn()
            result = found(*args, **kwargs)
            self.burn()
            return result

        return through

    def transaction(self, target: Any) -> Any:
        @contextmanager
        def through() -> Iterator[None]:
            self.burn()
            with target.transaction():
                yield
            self.burn()

        return through


def give(asked: Ticket, _key: str) -> tuple[str, ...]:
    """Return a ticket's command as it is."""
    return asked.argv


class Yard:
    """A ledger, an engine and a clock that outlive their workers."""

    def __init__(self, **engine: Any) -> None:
        self.store: Store = open_memory()
        self.clock, self.seconds = FakeClock(NOW), LeaseClock()
        self.engine = SimulatedEngine(self.clock, **engine)
        self.workers = 0
        self.said: list[str] = []
        self.plans = 0

    def submit(self, asked: Ticket, planned: Planned | None = None) -> str:
        return jobs.add(self.store, asked, planned or planned_alone(asked, GRID, NOW), NOW)

    def worker(self, fuse: Fuse | None = None, room: Needs | None = None, **given: Any) -> Worker:
        self.workers += 1
        name = f"w{self.workers}"
        store = fuse.around(self.store) if fuse else self.store
        engine = fuse.around(self.engine) if fuse else self.engine
        return Worker(
            store,
            engine,
            Post(name, "here/1", room or Needs(4), lease_s=60.0),
            self.clock,
            say=self.said.append,
            plan=self._plan,
            leases=Leases(store, name, "here/1", 60.0, self.seconds.read),
            **given,
        )

    def _plan(self) -> None:
        self.plans += 1

    def pass_time(self, seconds: float) -> None:
        self.clock.sleep(seconds)
        self.seconds.now_s += seconds

    def run(self, worker: Worker, hours: float = 30.0, step_s: float = 300.0) -> None:
        """Let a worker look every five minutes until nothing is open."""
        for _ in range(int(hours * 3600 / step_s)):
            worker.round()
            if not jobs.lines(self.store, OPEN):
                return
            self.pass_time(step_s)

    def line(self, job_id: str) -> jobs.Line:
        return jobs.find(self.store, job_id)


@pytest.fixture
def yard() -> Iterator[Yard]:
    yard = Yard()
    yield yard
    yard.store.close()


def three(yard: Yard) -> list[str]:
    """Submit a plain job, a restartable one, and one that pauses for the dirty hour."""
    return [
        yard.submit(ticket("plain", 0.5)),
        yard.submit(ticket("again", 1.0, restartable=True)),
        yard.submit(ticket("pauses", 2.0, pause=Checkpoint(1.0))),
    ]


class TestKills:
    @pytest.mark.slow
    def test_at_every_step(self):
        """A worker killed before or after any single step leaves all to the next one: each job runs exactly once."""
        kills = 0
        for n in range(2000):
            yard = Yard()
            ids = three(yard)
            try:
                yard.run(yard.worker(Fuse(n)), step_s=1800)
                killed = False
            except Kill:
                killed = True
                yard.pass_time(61)
                yard.run(yard.worker(), step_s=1800)
            lines = [yard.line(i) for i in ids]
            ran_s = [sum((b - a).total_seconds() for a, b in yard.engine.ran(i)) for i in ids]
            assert [x.stage for x in lines] == [Stage.DONE] * 3, (n, lines)
            assert [x.fence for x in lines] == [1, 1, 1], n
            assert ran_s == [1800.0, 3600.0, 7200.0], n
            assert yard.engine.most_copies == 1
            yard.store.close()
            if not killed:
                break
            kills += 1

        assert kills > 100

    def test_found_standing_still(self, yard):
        """A worker that was killed between pausing a job and writing it leaves no job standing still for good."""
        plain = three(yard)[0]
        yard.worker().round()
        yard.engine.suspend(f"{plain}-1")
        yard.pass_time(61)
        yard.run(yard.worker())

        assert yard.line(plain).stage is Stage.DONE
        assert [d.what for d in jobs.story(yard.store, plain)].count("paused") == 1

    def test_one_after_the_other(self):
        """Workers that are killed again and again, each after a few steps, still bring every job to its end."""
        yard = Yard()
        ids = three(yard)
        for n in range(200):
            with suppress(Kill):
                yard.run(yard.worker(Fuse(5 + n % 23)), step_s=60)
            yard.pass_time(61)
        yard.run(yard.worker())

        assert [yard.line(i).stage for i in ids] == [Stage.DONE] * 3
        assert [yard.line(i).fence for i in ids] == [1, 1, 1]
        assert yard.engine.most_copies == 1
        yard.store.close()

    def test_two_workers(self, yard):
        """A worker that slept through its lease finds its job adopted, lets go of it, and stops nothing."""
        job_id = yard.submit(ticket("a", 1.0))
        slept, other = yard.worker(), yard.worker()
        slept.round()
        yard.pass_time(120)
        other.round()
        slept.round()

        assert f"{job_id} is no longer this worker's" in yard.said
        assert (slept.busy, other.busy) == (0, 1)
        yard.run(other)
        assert (yard.line(job_id).stage, yard.line(job_id).fence, yard.engine.most_copies) == (
            Stage.DONE,
            1,
            1,
        )

    def test_left(self, yard):
        """A worker that was asked to end leaves its jobs running; the next one adopts them without waiting."""
        job_id = yard.submit(ticket("a", 1.0))
        first = yard.worker()
        first.round()
        first.leave()
        second = yard.worker()
        second.round()

        assert second.busy == 1
        assert [d.what for d in jobs.story(yard.store, job_id)] == [
            "submitted",
            "claimed",
            "started",
            "adopted",
        ]


class TestMachineDown:
    def test_restartable(self, yard):
        """A job that was declared restartable starts again under the next fence when its machine came back."""
        job_id = yard.submit(ticket("a", 1.0, restartable=True))
        yard.worker().round()
        yard.engine.forget_host()
        yard.pass_time(61)
        yard.run(yard.worker())
        line = yard.line(job_id)

        assert (line.stage, line.fence) == (Stage.DONE, 2)
        assert yard.engine.most_copies == 1

    def test_not_restartable(self, yard):
        """Any other job is over, and says why: a program may not like to be started twice."""
        job_id = yard.submit(ticket("a", 1.0))
        yard.worker().round()
        yard.engine.forget_host()
        yard.pass_time(61)
        yard.run(yard.worker())

        assert (yard.line(job_id).stage, yard.line(job_id).fence) == (Stage.FAILED, 1)
        assert (
            "the machine was restarted while it ran; it is not declared restartable"
            in yard.line(job_id).reason
        )

    def test_not_for_ever(self, yard):
        """A restartable job whose machine goes down each time is given up after twenty attempts."""
        job_id = yard.submit(ticket("a", 1.0, restartable=True))
        worker = yard.worker()
        for _ in range(60):
            worker.round()
            yard.engine.forget_host()
            yard.pass_time(30)

        assert yard.line(job_id).stage is Stage.FAILED
        assert "given up after 20 attempts" in yard.line(job_id).reason


class TestLedgerAway:
    def test_runs_on(self, yard):
        """While the ledger does not answer nothing is stopped; what there is to write is written when it answers again."""

        class Away:
            out = False

            def __getattr__(self, name: str) -> Any:
                found = getattr(yard.store, name)

                def through(*args: Any, **kwargs: Any) -> Any:
                    if self.out:
                        raise LedgerError("the ledger is out of reach")
                    return found(*args, **kwargs)

                return through if callable(found) else found

        away = Away()
        worker = Worker(
            away,
            yard.engine,
            Post("w", "here/1", Needs(4)),
            yard.clock,
            say=yard.said.append,
            leases=Leases(away, "w", "here/1", 60.0, yard.seconds.read),
        )
        job_id = yard.submit(ticket("a", 1.0))
        worker.round()
        away.out = True
        for _ in range(5):
            yard.pass_time(1200)
            worker.round()
        away.out = False
        worker.round()

        assert yard.line(job_id).stage is Stage.DONE
        assert yard.said.count("the ledger is out of reach; what runs, runs on") == 1
        assert "the ledger answers again" in yard.said


class TestEnds:
    def test_retries(self, yard):
        """A job that fails is tried again as often as it was allowed, and then is failed with its exit code."""
        asked = ticket("a", 0.1, retries=2)
        job_id = yard.submit(Ticket(asked.job, ("fail", "60", "7"), "/", "ada", retries=2))
        yard.run(yard.worker())
        line = yard.line(job_id)

        assert (line.stage, line.exit_code, line.fence, line.failures) == (Stage.FAILED, 7, 3, 3)
        assert line.reason == "failed with exit code 7"

    def test_budget(self, yard):
        """A job that its budget stopped is not tried again."""
        asked = ticket("a", 0.1)
        job_id = yard.submit(Ticket(asked.job, ("fail", "60", "3"), "/", "ada", retries=2, budget="1kJ"))
        yard.run(yard.worker())

        assert (yard.line(job_id).fence, yard.line(job_id).reason) == (1, "stopped by its budget")

    def test_cannot_start(self, yard):
        """What the engine refuses is failed at once, with the engine's line."""
        job_id = yard.submit(Ticket(ticket("a").job, ("nonsense",), "/", "ada"))
        yard.run(yard.worker())

        assert yard.line(job_id).stage is Stage.FAILED
        assert yard.line(job_id).reason == "it could not be started: there is no program 'nonsense'"

    def test_cancel(self, yard):
        """A running job that is cancelled ends and is cancelled, not failed; a paused one, too."""
        runs = yard.submit(ticket("runs", 5.0))
        pauses = yard.submit(ticket("pauses", 2.0, pause=Checkpoint(1.0)))
        worker = yard.worker()
        worker.round()
        yard.pass_time(3900)
        worker.round()
        assert yard.line(pauses).stage is Stage.PAUSED
        for job_id in (runs, pauses):
            jobs.cancel(yard.store, job_id, NOW, who="ada")
        worker.round()
        worker.round()

        assert [yard.line(j).stage for j in (runs, pauses)] == [Stage.CANCELLED] * 2


class TestPausing:
    def test_as_planned(self, yard):
        """An interruptible job stands still in the dirty hour and runs in the clean ones, and the ledger knows when."""
        job_id = yard.submit(ticket("a", 2.0, pause=Checkpoint(1.0)))
        yard.run(yard.worker(), step_s=60)
        (tried,) = jobs.attempts(yard.store, job_id)
        hours = [((a - NOW) / HOUR, (b - NOW) / HOUR) for a, b in tried.ran]

        assert hours == [(0.0, pytest.approx(1.0, abs=0.02)), (2.0, pytest.approx(3.0, abs=0.02))]
        assert [d.what for d in jobs.story(yard.store, job_id)] == [
            "submitted", "claimed", "started", "paused", "resumed", "done",
        ]  # fmt: skip
        assert "stands still until 2026-03-01 14:00 UTC, as planned; keeps its memory" in [
            d.reason for d in jobs.story(yard.store, job_id)
        ]

    def test_requeue_only_with_a_checkpoint(self, yard):
        """A program that saves its state on a signal ends for its pause; one that cannot is never requeued."""
        saves = yard.submit(ticket("saves", 2.0, pause=Checkpoint(30.0), checkpoint="SIGUSR1"))
        stands = yard.submit(ticket("stands", 2.0, pause=Checkpoint(1.0)))
        yard.run(yard.worker())
        restarts = {j: yard.engine.status(f"{j}-1").restarts for j in (saves, stands)}

        assert restarts == {saves: 1, stands: 0}
        assert (
            "saves its state and ends for now"
            in next(d for d in jobs.story(yard.store, saves) if d.what == "paused").reason
        )

    def test_engine_that_cannot(self):
        """On an engine that neither suspends nor requeues, an interruptible job runs through."""
        yard = Yard(abilities=())
        job_id = yard.submit(ticket("a", 2.0, pause=Checkpoint(1.0)))
        yard.run(yard.worker(), step_s=60)

        assert len(yard.engine.ran(job_id)) == 1
        yard.store.close()

    def test_engine_that_only_suspends(self):
        """On an engine that only suspends, a program that could save its state is suspended all the same."""
        yard = Yard(abilities=(SUSPEND,))
        job_id = yard.submit(ticket("a", 2.0, pause=Checkpoint(1.0), checkpoint="SIGUSR1"))
        yard.run(yard.worker(), step_s=60)

        assert len(yard.engine.ran(job_id)) == 2
        assert yard.engine.status(f"{job_id}-1").restarts == 0
        yard.store.close()


class TestRoom:
    def test_gpus_are_given_out(self, yard):
        """Each job gets GPUs of its own, by number, and only a job that asked for some sees any."""
        seen: dict[str, str] = {}
        start = yard.engine.start

        def watch(order: Any) -> str:
            seen[order.name] = order.env["CUDA_VISIBLE_DEVICES"]
            return str(start(order))

        yard.engine.start = watch
        for name, gpus in (("one", 1), ("two", 2), ("none", 0), ("waits", 1)):
            asked = ticket(name, 1.0, needs=Needs(1, gpus), priority=gpus)
            yard.submit(asked, Planned("", "DE", NOW, NOW + 9 * HOUR, ""))
        worker = yard.worker(room=Needs(8, 3))
        worker.round()

        assert seen["two"] == "0,1"
        assert {seen.get("one"), seen.get("waits")} == {"2", None}
        assert seen["none"] == ""

    def test_other_zones_and_owners(self, yard):
        """A worker takes what is planned in its zone, of its own user unless it serves everybody."""
        yard.submit(ticket("mine", 1.0))
        yard.submit(ticket("bobs", 1.0, owner="bob"))
        yard.submit(ticket("far", 1.0), Planned("", "FR", NOW, NOW + 9 * HOUR, ""))
        post = Post("w", "here/1", Needs(4), zone="DE", owners="ada")
        Worker(yard.store, yard.engine, post, yard.clock).round()

        assert [x.name for x in jobs.lines(yard.store, (Stage.RUNNING,))] == ["mine"]

    def test_plans_when_something_is_new(self, yard):
        """A planning is started for a job that was never planned under everybody's room, and not again and again."""
        worker = yard.worker()
        worker.round()
        assert yard.plans == 0
        job_id = yard.submit(ticket("a", 1.0), Planned("", "DE", NOW + 5 * HOUR, NOW + 9 * HOUR, ""))
        yard.pass_time(20)
        worker.round()
        assert yard.plans == 1
        planned = [Planned(job_id, "DE", NOW + 5 * HOUR, NOW + 9 * HOUR, "why")]
        jobs.write_plans(yard.store, planned, yard.clock.now_utc(), who="planner")
        for _ in range(5):
            yard.pass_time(20)
            worker.round()
        assert yard.plans == 1


class TestGivenUp:
    """A host that was given up and returns ends what it still runs before it takes anything else."""

    def given_up(self, yard: Yard) -> tuple[str, Worker]:
        job = yard.submit(ticket("plain", 2.0))
        worker = yard.worker()
        worker.round()
        yard.pass_time(61)
        give_up(yard.store, job, yard.clock.now_utc(), who="ada", clock=yard.seconds.read)
        return job, worker

    def test_its_worker_lives(self, yard):
        """The worker there finds its word refused and ends the copy."""
        job, worker = self.given_up(yard)
        worker.round()

        assert not yard.engine.status(f"{job}-1").live
        assert yard.line(job).stage is Stage.FAILED

    def test_another_worker_there(self, yard):
        """A worker that is started there later finds the copy and ends it."""
        job, _worker = self.given_up(yard)
        yard.worker().round()
        assert not yard.engine.status(f"{job}-1").live
        yard.pass_time(61)
        yard.worker().round()

        assert jobs.attempts(yard.store, job)[0].end_state == "lost"

    def test_started_again_elsewhere(self, yard):
        """Declared restartable it may run elsewhere; the returned copy is ended, and its word does not count."""
        job = yard.submit(ticket("again", 1.0, restartable=True))
        old = yard.worker()
        old.round()
        yard.pass_time(61)
        give_up(yard.store, job, yard.clock.now_utc(), who="ada", again=True, clock=yard.seconds.read)
        old.round()  # it returns, ends its copy, and takes the job anew as anybody may
        yard.run(old)

        assert (yard.line(job).stage, yard.line(job).fence) == (Stage.DONE, 3)
        assert yard.engine.status(f"{job}-1").state is State.CANCELLED
