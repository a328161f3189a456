"""Workers of one study as jobs of an engine: this host's, Slurm's, Ray's."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from joulewise.launching.local_jobs import LocalJobs
from joulewise.launching.port import Unreachable
from joulewise.launching.ray import Ray
from joulewise.launching.slurm import Slurm
from joulewise.ledger.store import open_store
from joulewise.searching.deciding import Rules
from joulewise.searching.fleet import Cluster, Fleet
from joulewise.searching.history import State
from joulewise.searching.journal import replay
from joulewise.searching.log import DatabaseLog
from joulewise.searching.study import Study
from joulewise.testing.ray import private_ray, ray_missing
from joulewise.testing.slurm import private_slurm, slurm_missing
from joulewise.vocabulary.errors import UsageError
from tests.searching.doubles import SPACE

WORKER = """
import sys, time
sys.path.insert(0, sys.argv[2])
from joulewise.ledger.store import open_store
from joulewise.searching.log import DatabaseLog
from joulewise.searching.ordering import search
from tests.searching.doubles import SPACE, Meter
meter = Meter()
def objective(trial):
    for epoch in trial.epochs():
        meter.used_j += 1
        time.sleep(0.05)
        yield trial["x"] - 1 / epoch
search(objective, SPACE, "40J", measure=meter, epochs=9, name="s", opened=lambda: DatabaseLog(open_store(sys.argv[1]), "s"))
"""


def fleet(engine, tmp_path, code=WORKER):
    place = tmp_path / "studies.db"
    root = str(Path(__file__).parents[2])
    cluster = Cluster(engine.name, (sys.executable, "-c", code, str(place), root))
    return Fleet(engine, cluster, 2, lambda: Study("s", SPACE, Rules(9), DatabaseLog(open_store(place), "s")))


def held(study, workers):
    """Check that the study holds together, and was searched by that many workers at least."""
    keys = [study.space.key(study.space.configuration(t.point)) for t in study.trials]
    assert len(keys) == len(set(keys))
    assert 37 <= study.spent["energy_j"] <= 40
    assert len({line["worker"] for line in study.lines if line["kind"] == "joined"}) >= workers
    assert not any(t.state is State.RUNNING for t in study.trials)
    assert replay(study.lines).differing == ()


def test_jobs_of_this_host(tmp_path):
    """Jobs share the study; one that is killed is started again, and the study ends within its budget."""
    killed: list[int] = []

    def shown(study):
        alive = [m.process["pid"] for m in study.known.members.values() if m.active]
        if not killed and alive and any(t.epoch for t in study.trials):
            os.kill(alive[0], signal.SIGKILL)
            killed.append(alive[0])

    study = fleet(LocalJobs(tmp_path / "jobs"), tmp_path).go(shown)

    assert killed
    held(study, 3)
    assert any("another takes its place" in note for note in study.notes)


def test_engine_out_of_reach(tmp_path):
    """A job that an engine did not answer for is handed over again, under the same key."""
    jobs = LocalJobs(tmp_path / "jobs")
    keys: list[str] = []

    class Hesitant:
        name = "local"
        status, cancel, logs = jobs.status, jobs.cancel, jobs.logs

        def start(self, order):
            keys.append(order.key)
            if len(keys) == 1:
                jobs.start(order)
                raise Unreachable("it took the order, and did not say so")
            return jobs.start(order)

    study = fleet(Hesitant(), tmp_path).go()

    held(study, 2)
    assert keys[0] == keys[-1]
    assert len(keys) == 3
    assert len({line["worker"] for line in study.lines if line["kind"] == "joined"}) == 2


def test_jobs_that_cannot_work(tmp_path):
    """Jobs that end before they could do anything end the fleet, with their last words."""
    with pytest.raises(UsageError, match=r"exit code 1\), as \d before it; it said: no such module"):
        fleet(LocalJobs(tmp_path / "jobs"), tmp_path, "raise SystemExit('no such module')").go()


@pytest.mark.service
def test_slurm(tmp_path):
    """Two nodes of a Slurm cluster share the study."""
    if why := slurm_missing():
        pytest.skip(why)
    with private_slurm(2) as cluster:
        engine = Slurm(tmp_path / "jobs", environment=cluster.environment)
        held(fleet(engine, tmp_path).go(), 2)


@pytest.mark.service
def test_ray(tmp_path):
    """Two nodes of a Ray cluster share the study."""
    if why := ray_missing():
        pytest.skip(why)
    with private_ray(2) as address:
        held(fleet(Ray(tmp_path / "jobs", address), tmp_path).go(), 2)
