"""Workers on several hosts: a study in PostgreSQL, and what happens when a host falls silent."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta

import pytest

from joulewise.ledger.store import open_store
from joulewise.searching.deciding import Rules
from joulewise.searching.journal import replay
from joulewise.searching.log import DatabaseLog, FileLog
from joulewise.searching.ordering import search
from joulewise.searching.study import Study
from joulewise.vocabulary.budget import Budget
from joulewise.vocabulary.errors import UsageError
from tests.searching.doubles import SPACE, Meter
from tests.services import postgres_server as postgres_server  # noqa: PLC0414 - a fixture of pytest
from tests.services import postgres_url as postgres_url  # noqa: PLC0414


def objective_of(meter: Meter):
    def objective(trial):
        for epoch in trial.epochs():
            meter.used_j += 1
            time.sleep(0.005)
            yield trial["x"] - 1 / epoch

    return objective


@pytest.mark.service
def test_searches_that_know_nothing_of_each_other(postgres_url):
    """Two searches that name the same study in PostgreSQL share its trials and its budget."""

    def joined(**options):
        meter = Meter()
        return search(
            objective_of(meter), SPACE, "50J", measure=meter, epochs=9, name="sweep",
            opened=lambda: DatabaseLog(open_store(postgres_url), "sweep"), **options,
        )  # fmt: skip

    pid = os.fork()
    if pid == 0:
        joined()
        os._exit(0)
    joined(workers=2)
    assert os.waitpid(pid, 0)[1] == 0
    study = Study("sweep", SPACE, Rules(9), DatabaseLog(open_store(postgres_url), "sweep"))
    study.close()

    assert 47 <= study.spent["energy_j"] <= 50
    assert sum(t.epoch for t in study.trials) == study.spent["energy_j"]
    assert len({line["worker"] for line in study.lines if line["kind"] == "epoch"}) == 3
    keys = [study.space.key(study.space.configuration(t.point)) for t in study.trials]
    assert len(keys) == len(set(keys))
    assert replay(study.lines).differing == ()


@pytest.mark.service
def test_another_space_on_the_server(postgres_url):
    """A study that was begun with other rules is refused on the server, too, in one line."""
    Study("sweep", SPACE, Rules(9), DatabaseLog(open_store(postgres_url), "sweep")).close()

    with pytest.raises(UsageError, match="a study named 'sweep' exists with another epochs"):
        Study("sweep", SPACE, Rules(27), DatabaseLog(open_store(postgres_url), "sweep"))


def elsewhere(study: Study, age: timedelta) -> None:
    """Let a worker of another host join, begin an epoch and fall silent."""
    utc = (datetime.now(UTC) - age).isoformat()
    point = {"point": [0.5, 0.5], "params": {"x": 0.5, "width": 3}}
    study.write({"kind": "joined", "worker": "far", "process": {"host": "far"}, "rules": {}, "utc": utc})
    study.write(
        {"kind": "decision", "worker": "far", "step": "start", "trial": 0, "until": 3, "reason": "x", **point}
    )
    study.write({"kind": "began", "worker": "far", "trial": 0, "epoch": 1, "expected": 2.0, "utc": utc})


def test_silent_host(tmp_path):
    """A worker of another host that has been silent for long is given up: its trial is free, its epoch counts."""
    study = Study("s", SPACE, Rules(9), FileLog(tmp_path / "s.jsonl"))
    elsewhere(study, timedelta(hours=1))
    assert not study.trials[0].free_for("here")

    study.bury("here")

    assert study.trials[0].free_for("here")
    assert study.spent["energy_j"] == 2.0


def test_file_of_two_hosts(tmp_path):
    """A study in a file that another host works on is refused, with the way to share it."""
    study = Study("s", SPACE, Rules(9), FileLog(tmp_path / "s.jsonl"))
    elsewhere(study, timedelta(minutes=1))

    with pytest.raises(UsageError, match=r"is being searched on far, too; .* --store postgresql://"):
        study.bury("here")


def test_given_up_and_back(tmp_path):
    """A worker that was given up for lost ends when it comes back; what it trained meanwhile is not counted twice."""
    study = Study("s", SPACE, Rules(9), FileLog(tmp_path / "s.jsonl"))
    meter = Meter()

    def objective(trial):
        for epoch in trial.epochs():
            meter.used_j += 1
            if meter.used_j == 5:
                worker = next(name for name, m in study.known.members.items() if m.active)
                study.write({"kind": "lost", "worker": worker, "why": "silent"})
            yield trial["x"] - 1 / epoch

    study.run(objective, Budget(energy_j=50), meter)

    assert meter.used_j == 5
    assert sum(line["kind"] == "epoch" for line in study.lines) == 4
    assert "given up for lost" in study.reason
    assert all(t.free_for("other") for t in study.trials if t.epoch)
