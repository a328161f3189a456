"""A worker's floor: jobs beside each other by measures, and kept apart again where that slows them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from joulewise.ledger import jobs
from joulewise.scheduling.floor import Sharing
from joulewise.scheduling.sharing import Device, Seen, Usage
from joulewise.testing.queue_contract import ticket
from joulewise.vocabulary.job import Checkpoint
from joulewise.vocabulary.ticket import Needs, Stage
from tests.scheduling.test_worker import Yard

SMALL = Usage(0.4, 1e9, 0.3, 10e9, {"step": 10.0})


class Bench:
    """What the recordings of the jobs in a yard tell: each makes `pace` steps a second, its GPU is as busy as said."""

    def __init__(self, yard: Yard) -> None:
        self.yard, self.pace, self.gpu, self.known = yard, 10.0, 0.5, True

    def usual(self, _ticket):
        return SMALL if self.known else None

    def look(self, _ticket, key):
        ran_s = sum((b - a).total_seconds() for a, b in self.yard.engine.ran(key.rpartition("-")[0]))
        return Seen(ran_s, {"step": self.pace * ran_s}, self.gpu)

    def sharing(self, *devices: Device) -> Sharing:
        return Sharing(
            self.usual, self.look, devices, lambda n, share, _m: {"CUDA_VISIBLE_DEVICES": f"{n}:{share:.2f}"}
        )


@pytest.fixture
def yard():
    yard = Yard()
    yield yard
    yard.store.close()


def stages(yard: Yard, ids: list[str]) -> list[Stage]:
    return [yard.line(i).stage for i in ids]


def test_by_measures(yard):
    """Three jobs that ask for all of a machine run beside each other where like runs used a half of it together."""
    ids = [yard.submit(ticket(name, 1.0, needs=Needs(4))) for name in "abc"]
    yard.worker(room=Needs(4), sharing=Bench(yard).sharing()).round()
    assert stages(yard, ids) == [Stage.RUNNING] * 3


def test_unmeasured_ask_for_all(yard):
    """Never measured, one at a time."""
    bench = Bench(yard)
    bench.known = False
    ids = [yard.submit(ticket(name, 1.0, needs=Needs(4))) for name in "abc"]
    yard.worker(room=Needs(4), sharing=bench.sharing()).round()
    assert sorted(stages(yard, ids)) == [Stage.QUEUED, Stage.QUEUED, Stage.RUNNING]


def test_undone(yard):
    """Where one slows by over a tenth beside another it is said, and who may stand still makes room; then it goes on alone."""
    bench = Bench(yard)
    fixed = yard.submit(ticket("fixed", 2.0, needs=Needs(4)))
    pausing = yard.submit(ticket("pausing", 2.0, needs=Needs(4), pause=Checkpoint(1.0)))
    worker = yard.worker(room=Needs(4), sharing=bench.sharing())
    worker.round()
    assert stages(yard, [fixed, pausing]) == [Stage.RUNNING] * 2

    bench.pace = 8.0
    for _ in range(6):
        yard.pass_time(31)
        worker.round()

    assert stages(yard, [fixed, pausing]) == [Stage.RUNNING, Stage.PAUSED]
    told = [d.reason for i in (fixed, pausing) for d in jobs.story(yard.store, i) if d.what == "slowed"]
    assert any("20% slower beside" in line and "kept apart from now on" in line for line in told)
    bench.pace = 10.0
    yard.run(worker)
    assert stages(yard, [fixed, pausing]) == [Stage.DONE] * 2
    assert yard.engine.ran(pausing)[-1][0] >= yard.engine.ran(fixed)[-1][1] - timedelta(seconds=31)


def test_one_gpu_for_three(yard):
    """Jobs that use a third of a GPU share it, each told its share; a fourth gets the next one."""
    ids = [yard.submit(ticket(name, 1.0, needs=Needs(1, 1))) for name in "abcd"]
    two = (Device(0, 80e9, shared=True), Device(1, 80e9, shared=True))
    yard.worker(room=Needs(8, 2), sharing=Bench(yard).sharing(*two)).round()

    assert stages(yard, ids) == [Stage.RUNNING] * 4
    given = sorted(jobs.attempts(yard.store, i)[0].devices for i in ids)
    assert given == [(0,), (0,), (1,), (1,)]  # 37 hundredths each


def test_gpu_not_to_be_shared(yard):
    """Without time-slicing or MPS a GPU goes to one job, whatever it uses of it."""
    ids = [yard.submit(ticket(name, 1.0, needs=Needs(1, 1))) for name in "ab"]
    yard.worker(room=Needs(8, 1), sharing=Bench(yard).sharing(Device(0, 80e9))).round()
    assert sorted(stages(yard, ids)) == [Stage.QUEUED, Stage.RUNNING]


@pytest.mark.parametrize("saves", [True, False])
def test_idle_gpu(yard, saves):
    """A GPU that its job has not used for ten minutes is told; given back where the job can save its state."""
    bench = Bench(yard)
    given = {"pause": Checkpoint(1.0), "checkpoint": "SIGUSR1"} if saves else {}
    idle = yard.submit(ticket("idle", 3.0, needs=Needs(1, 1), **given))
    worker = yard.worker(room=Needs(8, 1), sharing=bench.sharing(Device(0, 80e9)))
    worker.round()
    bench.gpu = 0.0
    for _ in range(24):
        yard.pass_time(31)
        worker.round()

    told = [d.reason for d in jobs.story(yard.store, idle) if d.what == "idle"]
    assert told
    assert told[0].startswith("its GPU did nothing for 10m 20s")
    if not saves:
        assert told[0].endswith("it cannot save its state, so it keeps it")
        assert yard.line(idle).stage is Stage.RUNNING
        return
    assert yard.line(idle).stage is Stage.PAUSED
    other = yard.submit(ticket("other", 0.5, needs=Needs(1, 1)))
    worker.round()
    assert yard.line(other).stage is Stage.RUNNING
    bench.gpu = 0.5
    yard.run(worker)
    assert stages(yard, [idle, other]) == [Stage.DONE] * 2
