"""Planning the queue: under the capacity there is, all or nothing, and honest where the grid is not to be had."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from importlib.util import find_spec

import pytest

from joulewise.ledger import jobs
from joulewise.ledger.leases import Leases
from joulewise.ledger.memory import open_memory
from joulewise.ledger.store import Store
from joulewise.scheduling.going import margin_s
from joulewise.scheduling.plan import Grid
from joulewise.scheduling.queue_plan import planned_alone, renew
from joulewise.scheduling.saved import placement_from_json
from joulewise.scheduling.sharing import Usage
from joulewise.testing.queue_contract import HOUR, NOW, ticket
from joulewise.vocabulary.errors import UsageError
from joulewise.vocabulary.job import Checkpoint, Duration
from joulewise.vocabulary.signal import Signal
from joulewise.vocabulary.ticket import Needs, Stage, Ticket

DAY = [500.0] * 6 + [100.0] * 6 + [400.0] * 36  # the clean hours are six to twelve hours away


def grid(values: Sequence[float] = DAY, at: datetime = NOW) -> Grid:
    return Grid({"DE": Signal.of("DE", list(values), at, source="for the test")})


def always(told: Grid):
    return lambda _zones, _start, _end: told


@pytest.fixture
def store() -> Iterator[Store]:
    store = open_memory()
    yield store
    store.close()


def add(store: Store, asked: Ticket) -> str:
    return jobs.add(store, asked, planned_alone(asked, grid(), NOW), NOW)


def enrol(store: Store, room: Needs) -> Leases:
    mine = Leases(store, "w", "here/1")
    mine.enrol("DE", "local", "", room, NOW)
    return mine


@pytest.mark.skipif(find_spec("numpy") is None, reason="planning under a capacity needs the extra `schedule`")
class TestRoom:
    """Three jobs of four processors and five hours; the clean hours are six."""

    def starts(self, store: Store, **options) -> list[float]:
        ids = [add(store, ticket(f"j{n}", 5.0, needs=Needs(4))) for n in range(3)]
        renew(store, always(grid()), NOW, **options)
        return sorted((jobs.find(store, i).start_utc - NOW) / HOUR for i in ids)

    def test_a_job_fits_on_one_node(self, store):
        """Twelve processors on two nodes are room for two such jobs at once; on one machine for three."""
        enrol(store, Needs(12))
        assert self.starts(store, nodes_of=lambda _: (Needs(6), Needs(6)))[2] > 8

    def test_one_machine(self, store):
        """On one machine all three run in the clean hours."""
        enrol(store, Needs(12))
        assert all(6 <= hour <= 7 for hour in self.starts(store))

    def test_each_worker_is_a_node(self, store):
        """Two workers of six processors are no machine of twelve."""
        for name in "ab":
            Leases(store, name, f"{name}/1").enrol("DE", "local", "", Needs(6), NOW)
        assert self.starts(store)[2] > 8

    def test_by_what_like_runs_used(self, store):
        """Jobs that ask for four processors and use one are planned beside each other; with --apart they are not."""
        enrol(store, Needs(4))
        assert all(6 <= hour <= 7 for hour in self.starts(store, usage_of=lambda _: Usage(1.0, 0.0)))

    def test_apart(self, store):
        """Where nobody knows what they use, one after another."""
        enrol(store, Needs(4))
        found = self.starts(store, usage_of=lambda _: None)
        assert all(b - a >= 5 for a, b in itertools.pairwise(found))


class TestAlone:
    def test_cleanest(self):
        """A job alone starts in its cleanest hours; the latest start leaves it its reserve."""
        planned = planned_alone(ticket("a", 2.0), grid(), NOW)

        assert planned.start_utc == NOW + 6 * HOUR
        assert planned.latest_utc == NOW + 22 * HOUR - timedelta(seconds=margin_s(7200))
        assert planned.reason == "best start: 80.0% less than running at once"

    def test_impossible(self):
        """A deadline that cannot be met is refused with the earliest finish."""
        with pytest.raises(
            UsageError,
            match=r"it takes 1d 06h, but its deadline is only 1d 00h away; give it until 2026-03-02 18:00 UTC",
        ):
            planned_alone(ticket("a", 30.0), grid(), NOW)

    def test_unknown_length(self):
        """A job of unknown length runs as soon as there is room, presses nobody, and says so."""
        planned = planned_alone(ticket("a", 0), grid(), NOW)

        assert (planned.start_utc, planned.latest_utc) == (NOW, NOW + 24 * HOUR)
        assert "its length is unknown" in planned.reason

    def test_quantiles(self):
        """Of lengths that were seen, the middle is planned and room for the long ones is kept."""
        asked = ticket("a")
        seen = replace(asked, job=replace(asked.job, duration=Duration.learnt([3600, 7200, 10800])))
        planned = planned_alone(seen, grid(), NOW)

        assert placement_from_json(planned.placement or {}).reserve_s == 10800 * 1.5
        assert planned.latest_utc == NOW + 24 * HOUR - timedelta(seconds=16200 + margin_s(16200))


packs = pytest.mark.skipif(find_spec("numpy") is None, reason="packing needs the extra `schedule`")


class TestRenew:
    def test_nothing(self, store):
        """An empty queue asks no grid."""
        assert renew(store, lambda *_: pytest.fail("the grid was asked"), NOW).planned == 0

    @packs
    def test_under_capacity(self, store):
        """Jobs that want the same hours share them as far as there is room, and none misses its deadline."""
        enrol(store, Needs(2))
        ids = [add(store, ticket(f"j{n}", 2.0)) for n in range(8)]
        done = renew(store, always(grid()), NOW)
        starts = sorted(jobs.find(store, j).start_utc for j in ids)

        assert (done.planned, done.without_room) == (8, 0)
        clean = [s for s in starts if NOW + 6 * HOUR <= s <= NOW + 10 * HOUR]
        assert len(clean) >= 4
        for at in range(24 * 4):
            moment = NOW + at * HOUR / 4
            running = sum(s <= moment < s + 2 * HOUR for s in starts)
            assert running <= 2

    def test_short_jobs_take_no_whole_hours(self, store):
        """Twelve jobs of ten minutes share the one clean hour of two processors."""
        enrol(store, Needs(2))
        ids = [add(store, ticket(f"j{n}", 1 / 6)) for n in range(12)]
        renew(store, always(grid([500.0, 100.0, *([500.0] * 30)])), NOW)
        starts = [jobs.find(store, j).start_utc for j in ids]

        assert all(NOW + HOUR <= s < NOW + 2 * HOUR for s in starts)

    @packs
    def test_what_runs_takes_room(self, store):
        """A job that runs through the clean hours leaves no room in them."""
        mine = enrol(store, Needs(1))
        runs = add(store, ticket("runs", 11.0))
        mine.claim(runs, 0, "due", NOW)
        jobs.replace_placement(
            store, runs, 1, {**(jobs.placement(store, runs) or {}), "stretches": [
                {"start_utc": NOW.isoformat(), "end_utc": (NOW + 11 * HOUR).isoformat(), "pace": "", "zone": ""}
            ]}, NOW,
        )  # fmt: skip
        waits = add(store, ticket("waits", 1.0))
        renew(store, always(grid()), NOW)

        assert jobs.find(store, waits).start_utc == NOW + 11 * HOUR

    @packs
    def test_memory_is_capacity(self, store):
        """Jobs that fill the memory are not planned beside each other, however many processors there are."""
        enrol(store, Needs(8, 0, 64 << 30))
        ids = [add(store, ticket(f"j{n}", 2.0, needs=Needs(1, 0, 40 << 30))) for n in range(3)]
        renew(store, always(grid()), NOW)
        starts = sorted(jobs.find(store, j).start_utc for j in ids)

        assert all(b - a >= 2 * HOUR for a, b in itertools.pairwise(starts))

    @packs
    def test_without_room(self, store):
        """A job that finds no room before its deadline runs as soon as there is some, and that is said."""
        enrol(store, Needs(1))
        ids = [add(store, ticket(f"j{n}", 10.0)) for n in range(4)]
        done = renew(store, always(grid()), NOW)
        lines = [jobs.find(store, j) for j in ids]
        crowded = [x for x in lines if x.reason.startswith("runs as soon as there is room")]

        assert done.without_room == len(crowded) >= 2
        assert all(x.start_utc == NOW for x in crowded)

    def test_grid_away(self, store):
        """Where only a yearly mean is known, jobs keep their deadlines, and the plan's signal says what it is."""
        enrol(store, Needs(2))
        job_id = add(store, ticket("a", 2.0))
        flat = Grid(
            {"DE": Signal.of("DE", [300.0] * 48, NOW, source="yearly mean: the service does not answer")}
        )
        done = renew(store, always(flat), NOW)

        assert "the service does not answer" in done.grid["DE"]
        assert jobs.find(store, job_id).start_utc + 2 * HOUR <= NOW + 24 * HOUR

    @packs
    def test_running_replanned(self, store):
        """A started job that may pause is planned anew where a newer forecast is worth it; one that may not is left."""
        mine = enrol(store, Needs(4))
        pauses = add(store, ticket("pauses", 3.0, pause=Checkpoint(1.0)))
        runs = add(store, ticket("runs", 3.0))
        for job_id in (pauses, runs):
            mine.claim(job_id, 0, "due", NOW)
        changed = grid([500.0] * 15 + [50.0] * 6 + [400.0] * 20)
        before = {j: jobs.placement(store, j) for j in (pauses, runs)}
        done = renew(store, always(changed), NOW + HOUR)

        assert done.changed == 1
        assert jobs.placement(store, runs) == before[runs]
        assert jobs.placement(store, pauses) != before[pauses]

    def test_new_jobs_leave_the_others(self, store):
        """Within the hour a job that comes is planned into the room that is left; nobody else is moved."""
        enrol(store, Needs(2))
        ids = [add(store, ticket(f"j{n}", 3.0)) for n in range(4)]
        renew(store, always(grid()), NOW)
        before = [jobs.find(store, j).start_utc for j in ids]
        late = add(store, ticket("late", 1.0))
        done = renew(store, always(grid()), NOW + timedelta(minutes=5))

        assert done.planned == 1
        assert [jobs.find(store, j).start_utc for j in ids] == before
        assert jobs.find(store, late).planned_utc is not None
        done = renew(store, always(grid()), NOW + HOUR)
        assert done.planned == 5

    @packs
    def test_all_move_for_one_without_room(self, store):
        """Where the others leave no room for a job that comes, all are planned anew, and it finds some."""
        enrol(store, Needs(1))
        ids = [add(store, ticket(f"j{n}", 6.0)) for n in range(1)]
        renew(store, always(grid()), NOW)
        late = add(store, ticket("late", 16.0))
        renew(store, always(grid()), NOW + timedelta(minutes=5))
        starts = {jobs.find(store, j).start_utc for j in (*ids, late)}

        assert len(starts) == 2
        assert "room:" not in jobs.find(store, late).reason

    def test_begins_with_the_step_that_runs(self, store):
        """Where the next whole step is as clean as now, a job does not wait for it."""
        enrol(store, Needs(2))
        job_id = add(store, ticket("a", 2.0))
        flat = Grid({"DE": Signal.of("DE", [300.0] * 48, NOW)})
        renew(store, always(flat), NOW + timedelta(minutes=2))

        assert jobs.find(store, job_id).start_utc == NOW + timedelta(minutes=2)

    def test_without_numpy(self, store, monkeypatch):
        """Without numpy each job is planned alone; workers hold the capacity."""
        enrol(store, Needs(1))
        ids = [add(store, ticket(f"j{n}", 2.0)) for n in range(3)]
        monkeypatch.setitem(sys.modules, "joulewise.scheduling.fleet_plan", None)
        renew(store, always(grid()), NOW)

        assert {jobs.find(store, j).start_utc for j in ids} == {NOW + 6 * HOUR}

    def test_over_is_over(self, store):
        """A job that was cancelled while it was planned stays cancelled."""
        job_id = add(store, ticket("a", 2.0))

        def cancelling(_zones: object, _start: object, _end: object) -> Grid:
            jobs.cancel(store, job_id, NOW, who="ada")
            return grid()

        renew(store, cancelling, NOW)
        assert jobs.find(store, job_id).stage is Stage.CANCELLED


class TestEngines:
    """Each engine has its own workers, and its own time to start a job."""

    def test_room_of_their_own(self, store):
        """A job for one engine takes no room of another's workers."""
        Leases(store, "w", "here/1").enrol("DE", "local", "", Needs(1), NOW)
        Leases(store, "s", "here/1").enrol("DE", "slurm", "", Needs(1), NOW)
        ids = [add(store, ticket(name, 4.0, engine=name)) for name in ("local", "slurm")]
        renew(store, always(grid()), NOW)

        assert [jobs.find(store, i).start_utc for i in ids] == [NOW + 6 * HOUR] * 2

    def test_the_start_is_learnt(self, store):
        """What an engine took to start its last jobs lies within the room of the next, and before its latest start."""
        mine = enrol(store, Needs(1))
        for _ in range(6):
            job = add(store, ticket("quick", 0.1))
            mine.claim(job, 0, "", NOW - HOUR)
            ran = [(NOW - HOUR + timedelta(minutes=30), NOW)]
            mine.finish(job, 1, Stage.DONE, "", ran, NOW)
        late = add(store, ticket("late", 2.0))
        before = jobs.find(store, late).latest_utc
        renew(store, always(grid()), NOW)

        assert jobs.find(store, late).latest_utc == before - timedelta(minutes=30)
        placed = placement_from_json(jobs.placement(store, late) or {})
        assert sum(s.duration_s for s in placed.stretches) == 2.5 * 3600
        assert placed.predicted.energy_j == pytest.approx(200 * 7200)  # waiting draws nothing

    def test_done_early(self, store):
        """A plan leaves a tenth of the slack, so that not everybody presses in the last clean hour."""
        enrol(store, Needs(1))
        job = add(store, ticket("last", 2.0))
        renew(store, always(grid([500.0] * 22 + [100.0] * 26)), NOW)

        assert placement_from_json(jobs.placement(store, job) or {}).end_utc <= NOW + 22 * HOUR
