"""Several workers on one study: what they share, what a killed one loses, and the budget that they hold together."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from joulewise.ledger.store import open_store
from joulewise.searching.crew import share, size, visible_gpus
from joulewise.searching.history import State
from joulewise.searching.journal import read, replay
from joulewise.searching.log import DatabaseLog, FileLog
from joulewise.searching.ordering import search
from joulewise.vocabulary.errors import UsageError
from tests.searching.doubles import SPACE, Meter


def program(folder: Path, meter: Meter):
    """Return an objective that writes a checkpoint an epoch, and adds a byte to `begun` for every joule it uses."""

    def objective(trial):
        done = int(Path(trial.saved).read_text()) if trial.saved else 0
        for epoch in trial.epochs():
            with (folder / "begun").open("ab", buffering=0) as file:
                file.write(b".")
            meter.used_j += 1
            time.sleep(0.004)
            assert epoch == done + 1
            done = epoch
            state = folder / f"{trial.number}-{epoch}.txt"
            state.write_text(str(done))
            trial.save(state)
            yield trial["x"] - 1 / epoch

    return objective


def searched(folder: Path, budget: str, shown=None, workers=3):
    meter = Meter()
    return search(
        program(folder, meter), SPACE, budget, measure=meter, epochs=9, workers=workers, shown=shown,
        opened=lambda: FileLog(folder / "s.jsonl"),
    )  # fmt: skip


def held(study, folder: Path, limit_j: int, kills: int) -> None:
    """Check what has to hold for a study after `kills` of its workers were killed."""
    begun_j = (folder / "begun").stat().st_size
    lines = read(folder / "s.jsonl")
    told = [(line["trial"], line["epoch"]) for line in lines if line["kind"] == "epoch"]
    keys = [study.space.key(study.space.configuration(t.point)) for t in study.trials]
    assert begun_j <= study.spent["energy_j"] <= limit_j
    assert begun_j - len(told) <= kills  # the epochs in progress
    assert len(told) - len(set(told)) <= kills  # repeated: those whose checkpoint was not written any more
    assert len(keys) == len(set(keys))
    assert not any(t.state is State.RUNNING for t in study.trials)
    assert all(t.epoch == len(t.values) for t in study.trials)


def test_three_workers(tmp_path):
    """Workers share one study: each trial is trained once, the budget holds, every decision can be replayed."""
    study = searched(tmp_path, "60J")

    held(study, tmp_path, 60, 0)
    lines = read(tmp_path / "s.jsonl")
    by = {line["worker"] for line in lines if line["kind"] == "epoch"}
    assert len(by) == 3
    assert study.spent["energy_j"] >= 57
    assert replay(lines).differing == ()
    assert "the next epoch would pass the budget" in study.reason
    assert study.deciding_s > 0


def killing(chance: random.Random, kills: list[int], most: int, seen: list[int]):
    """Return what kills one of the workers that have joined, up to `most` times, whenever epochs have ended."""

    def shown(study):
        epochs = sum(t.epoch for t in study.trials)
        alive = [m.process["pid"] for m in study.known.members.values() if m.active]
        if len(kills) < most and alive and epochs >= 2 and epochs > seen[-1]:
            seen.append(epochs)
            time.sleep(chance.random() * 0.02)
            pid = chance.choice(alive)
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                return
            kills.append(pid)

    return shown


def test_killed(tmp_path):
    """A worker that is killed loses the epoch in progress of one trial, and is started again."""
    kills: list[int] = []
    study = searched(tmp_path, "60J", killing(random.Random(1), kills, 2, [0]), workers=2)

    assert len(kills) == 2
    held(study, tmp_path, 60, 2)
    lines = read(tmp_path / "s.jsonl")
    assert sum(line["kind"] == "lost" for line in lines) == 2
    assert sum(line["kind"] == "joined" for line in lines) == 4
    assert replay(lines).differing == ()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_fifty_times(tmp_path):
    """In fifty studies a worker is killed: no joule above the budget, no trial loses more than an epoch or counts twice."""
    chance = random.Random(7)
    for number in range(50):
        folder = tmp_path / str(number)
        folder.mkdir()
        kills: list[int] = []
        study = searched(folder, "40J", killing(chance, kills, 1, [0]), workers=2)
        assert len(kills) == 1
        held(study, folder, 40, 1)


def test_settings_that_kill(tmp_path):
    """Settings that kill three workers in the same epoch have failed; the rest of the study goes on."""
    meter = Meter()

    def objective(trial):
        for epoch in trial.epochs():
            meter.used_j += 1
            if trial["x"] > 0.8:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.002)
            yield trial["x"] - 1 / epoch

    study = search(
        objective,
        SPACE,
        "60J",
        measure=meter,
        epochs=9,
        workers=2,
        opened=lambda: FileLog(tmp_path / "s.jsonl"),
    )

    failed = [t for t in study.trials if t.state is State.FAILED]
    assert failed
    assert all(t.why == "3 workers died in its epoch 1" for t in failed)
    assert 0.5 < (study.best_params or {})["x"] <= 0.8


def test_objective_that_cannot_work(tmp_path):
    """With an objective that always fails, a crew ends in one line, as one worker does."""

    def objective(trial):
        yield trial["rate"]

    with pytest.raises(
        UsageError, match="trials all failed before they reported anything; the last: KeyError"
    ):
        search(objective, SPACE, "1kJ", measure=Meter(), workers=2, opened=lambda: FileLog(tmp_path / "s"))


def test_target_ends_all(tmp_path):
    """A target that one worker reaches ends the others, too."""
    meter = Meter()

    def objective(trial):
        for epoch in trial.epochs():
            meter.used_j += 1
            time.sleep(0.01)
            yield epoch

    study = search(
        objective,
        SPACE,
        "1kJ",
        measure=meter,
        target=5,
        workers=2,
        opened=lambda: FileLog(tmp_path / "s.jsonl"),
    )

    assert study.reason.startswith("the target 5 is reached")
    assert sum(t.epoch for t in study.trials) < 200


def test_no_place(tmp_path):
    """Several workers need a place that they share."""
    with pytest.raises(UsageError, match="workers is 2, but several share"):
        search(program(tmp_path, Meter()), SPACE, "9J", measure=Meter(), workers=2)


def test_database(tmp_path):
    """A study in an SQLite file is shared by workers, and gone on with, as one in a journal's file is."""
    meter = Meter()
    place = tmp_path / "studies.db"

    def opened():
        return DatabaseLog(open_store(place), "mine")

    study = search(program(tmp_path, meter), SPACE, "30J", measure=meter, epochs=9, workers=2, opened=opened)
    again = search(program(tmp_path, meter), SPACE, "40J", measure=meter, epochs=9, opened=opened)

    assert 28 <= study.spent["energy_j"] <= 30
    assert 38 <= again.spent["energy_j"] <= 40
    assert again.lines[: len(study.lines)] == study.lines
    assert replay(again.lines).differing == ()
    with pytest.raises(UsageError, match="a study named 'study' exists with another minimise"):
        search(program(tmp_path, meter), SPACE, "40J", measure=meter, epochs=9, opened=opened, minimise=True)


def test_size():
    """A machine has room for a worker a GPU, else for one a pair of processors; each has its share."""
    assert size(16, ()) == 8
    assert size(1.5, ()) == 1
    assert size(16, ("0", "1")) == 2
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "2, GPU-ab"}) == ("2", "GPU-ab")
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}) == ()
    own = share(1, 2, 8.0, ("2", "GPU-ab"), {"MKL_NUM_THREADS": "1"})
    assert own["OMP_NUM_THREADS"] == "4"
    assert own["CUDA_VISIBLE_DEVICES"] == "GPU-ab"
    assert "MKL_NUM_THREADS" not in own
