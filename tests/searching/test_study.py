"""The study: trials run, budget held, journal written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from joulewise.searching.history import State
from joulewise.searching.journal import read, replay
from joulewise.searching.log import FileLog
from joulewise.searching.ordering import search
from joulewise.searching.space import Float, Space
from joulewise.vocabulary.budget import Spent
from joulewise.vocabulary.errors import UsageError
from tests.searching.doubles import SPACE, Meter, valley


def test_finds_the_valley():
    """The best settings are found, for less than a third of what the same trials cost in full."""
    meter = Meter()
    study = search(valley(meter), SPACE, "150J", measure=meter, minimise=True, epochs=27)

    assert (study.best_params or {})["x"] == pytest.approx(0.3, abs=0.12)
    assert sum(t.spent_j for t in study.trials) < study.in_full / 3
    assert study.best_value == min(-v for t in study.trials for v in t.values)
    assert "the next epoch would pass the budget" in study.reason
    assert "saved" in study.report()


@pytest.mark.parametrize(("budget", "limit_j"), [("150J", 150), ("12s", 120), ("1g", 100)])
def test_never_beyond_the_budget(budget, limit_j):
    """Joules, seconds and grams stay within the budget where epochs cost what they did before."""
    meter = Meter()
    search(valley(meter), SPACE, budget, measure=meter, minimise=True)

    assert 0.8 * limit_j <= meter.used_j <= limit_j


def test_stated_bound():
    """Where epochs grow dearer, the budget is passed by less than the dearest epoch's growth."""
    meter = Meter()

    def objective(trial):
        for epoch in trial.epochs():
            meter.used_j += epoch
            yield 1 / epoch

    search(objective, SPACE, "100J", measure=meter, minimise=True, epochs=9)

    assert meter.used_j <= 100 + 1


def test_target():
    """A study ends when a trial reaches its target, and names the trial."""
    meter = Meter()
    study = search(valley(meter), SPACE, "10kJ", measure=meter, minimise=True, target=0.1)

    assert study.reason.startswith("the target 0.1 is reached by trial")
    assert meter.used_j < 1000


def test_trials_of_the_budget():
    """A budget in trials starts no more than that many."""
    meter = Meter()
    study = search(valley(meter), SPACE, "6trials", measure=meter, minimise=True, epochs=9)

    assert len(study.trials) == 6
    assert study.reason.startswith("all 6 trials of the budget are started")


def test_single_epoch():
    """An objective of one epoch is searched as well: the best is near, closer than chance has it in 25 trials."""
    meter = Meter()

    def objective(trial):
        meter.used_j += 1
        yield -((trial["x"] - 0.3) ** 2) - (trial["width"] - 3) ** 2 / 10

    study = search(objective, SPACE, "25J", measure=meter, epochs=1)

    assert study.best_value > -0.003
    assert 24 <= meter.used_j <= 25
    assert {t.state for t in study.trials if t.epoch} == {State.COMPLETE}


def test_keep():
    """With `keep`, no more trials than that are ever held in memory at once, and those let go can still be promoted."""
    meter, held, most = Meter(), set(), []

    def objective(trial):
        held.add(trial.number)
        try:
            for epoch in trial.epochs():
                meter.used_j += 1
                most.append(len(held))
                yield -((trial["x"] - 0.3) ** 2) - 0.5 / epoch
        finally:
            held.discard(trial.number)

    study = search(objective, SPACE, "120J", measure=meter, keep=3)

    assert max(most) == 4  # the three that are kept, and the one that is trained
    assert len(study.trials) > 8
    assert any(not t.resumable for t in study.trials)
    assert replay(study.lines).differing == ()
    with pytest.raises(UsageError, match="keep is 0"):
        search(objective, SPACE, "120J", measure=meter, keep=0)


def test_failures_are_survived():
    """Trials that raise fail in one line; the study goes on and finds the best of the rest."""
    meter = Meter()

    def objective(trial):
        for epoch in trial.epochs():
            meter.used_j += 1
            if trial["x"] > 0.7:
                raise MemoryError("too wide")
            yield trial["x"] - 0.1 / epoch

    study = search(objective, SPACE, "60J", measure=meter, epochs=9)

    failed = [t for t in study.trials if t.state is State.FAILED]
    assert failed
    assert failed[0].why == "MemoryError at epoch 1: too wide"
    assert (study.best_params or {})["x"] <= 0.7
    assert "failed: MemoryError at epoch 1: too wide" in study.report()


def test_broken_objective():
    """An objective with which every trial fails ends the study in one line, with the reason."""

    def objective(trial):
        yield trial["rate"]

    with pytest.raises(
        UsageError, match="the first 5 trials all failed before they reported anything; the last: KeyError"
    ):
        search(objective, SPACE, "1kJ", measure=Meter())


def test_no_joules():
    """A budget in joules is refused where no meter tells them; one in time counts costs in seconds."""
    clock = [0.0]

    def measure():
        return Spent(time_s=clock[0])

    def objective(trial):
        for epoch in trial.epochs():
            clock[0] += 1
            yield epoch

    with pytest.raises(UsageError, match="no meter tells any here"):
        search(objective, SPACE, "1kJ", measure=measure)

    study = search(objective, SPACE, "30s", measure=measure, epochs=9)
    assert study.rules.unit == "s"
    assert 25 <= clock[0] <= 30


def test_plateau_refused():
    """A plateau rule is refused in one line."""
    with pytest.raises(UsageError, match="no plateau rule"):
        search(valley(Meter()), SPACE, "1kJ,plateau=1%", measure=Meter())


def test_replay(tmp_path):
    """Every decision comes out the same when it is made again from the journal; a changed one is found."""
    meter, path = Meter(), tmp_path / "s.jsonl"
    study = search(valley(meter), SPACE, "120J", measure=meter, minimise=True, opened=lambda: FileLog(path))
    lines = read(path)

    done = replay(lines)
    assert done.decisions == sum(line["kind"] == "decision" for line in study.lines) > 20
    assert done.differing == ()
    assert all(line["reason"] for line in lines if line["kind"] == "decision")

    index = next(i for i, line in enumerate(lines) if line["kind"] == "epoch")
    lines[index]["value"] += 5
    assert replay(lines).differing


def test_goes_on(tmp_path):
    """A study of that name goes on: what it spent counts, what it tried is not tried again, and it can be replayed."""
    path = tmp_path / "s.jsonl"
    first = Meter()
    search(valley(first), SPACE, "80J", measure=first, minimise=True, opened=lambda: FileLog(path))
    second = Meter()
    study = search(valley(second), SPACE, "160J", measure=second, minimise=True, opened=lambda: FileLog(path))

    assert second.used_j > 40
    assert first.used_j + second.used_j <= 160
    assert study.spent["energy_j"] == pytest.approx(first.used_j + second.used_j)
    keys = [study.space.key(study.space.configuration(t.point)) for t in study.trials]
    assert len(keys) == len(set(keys))
    assert replay(read(path)).differing == ()


def test_other_space_of_one_name(tmp_path):
    """Two studies of one name with different spaces: one clear line, and nothing is lost."""
    path = tmp_path / "s.jsonl"
    meter = Meter()
    search(
        valley(meter), SPACE, "30J", measure=meter, minimise=True, opened=lambda: FileLog(path), name="mine"
    )
    before = path.read_bytes()

    with pytest.raises(
        UsageError, match=r"a study named 'mine' exists with another space \(x, width differs\)"
    ):
        search(
            valley(meter),
            Space({"x": Float(0, 2)}),
            "90J",
            measure=meter,
            minimise=True,
            opened=lambda: FileLog(path),
        )
    with pytest.raises(UsageError, match="exists with another minimise"):
        search(valley(meter), SPACE, "90J", measure=meter, opened=lambda: FileLog(path))
    assert path.read_bytes() == before


PROGRAM = """
import os, signal, sys
from functools import partial
from pathlib import Path
from tests.searching.doubles import SPACE, Meter
from joulewise.searching.log import FileLog
from joulewise.searching.ordering import search
meter = Meter()
def objective(trial):
    for epoch in trial.epochs():
        meter.used_j += 1
        if meter.used_j == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        yield trial["x"] - 1 / epoch
search(objective, SPACE, "60J", measure=meter, opened=lambda: FileLog(Path(sys.argv[1])))
"""


CHECKPOINTS = """
import os, signal, sys
from functools import partial
from pathlib import Path
from tests.searching.doubles import SPACE, Meter
from joulewise.searching.log import FileLog
from joulewise.searching.ordering import search
folder, meter = Path(sys.argv[1]), Meter()
def objective(trial):
    state = int(trial.saved.read_text()) if trial.saved else 0
    for epoch in trial.epochs():
        meter.used_j += 1
        if meter.used_j == float(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        state += 1
        with open(folder / "trained", "a") as file:
            file.write(f"{trial.number} {epoch} {state}" + chr(10))
        trial.report(trial["x"] - 1 / epoch)
        (folder / f"{trial.number}.txt").write_text(str(state))
        trial.save(folder / f"{trial.number}.txt")
search(objective, SPACE, "80J", measure=meter, opened=lambda: FileLog(folder / "s.jsonl"))
"""


def test_killed_with_checkpoints(tmp_path):
    """With checkpoints on disk, `kill -9` loses the epoch in progress only: no epoch of any trial is trained twice."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    for last in ("30", "20", "inf"):
        done = subprocess.run(
            [sys.executable, "-c", CHECKPOINTS, str(tmp_path), last], env=environment, check=False
        )
        assert done.returncode == (0 if last == "inf" else -signal.SIGKILL)

    trained = [line.split() for line in (tmp_path / "trained").read_text().splitlines()]
    assert len(trained) > 70
    assert len({(trial, epoch) for trial, epoch, _ in trained}) == len(trained)
    assert all(epoch == state for _, epoch, state in trained)
    assert any(int(epoch) > 9 for _, epoch, _ in trained)
    assert replay(read(tmp_path / "s.jsonl")).differing == ()


def epochs_of(path):
    """Return the epochs that a journal holds."""
    return [(line["trial"], line["epoch"]) for line in read(path) if line["kind"] == "epoch"]


@pytest.mark.slow
def test_killed_fifty_times(tmp_path):
    """Fifty times `kill -9` on one study: each loses one epoch, no trial counts twice, lost epochs count in the budget."""
    path = tmp_path / "s.jsonl"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    for kill in range(1, 51):
        command = [sys.executable, "-c", PROGRAM.replace("60J", "220J"), str(path), "4"]
        assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
        assert len(epochs_of(path)) == 3 * kill  # the fourth was in progress

    meter = Meter()

    def objective(trial):
        for epoch in trial.epochs():
            meter.used_j += 1
            yield trial["x"] - 1 / epoch

    study = search(objective, SPACE, "220J", measure=meter, opened=lambda: FileLog(path))

    assert study.spent["energy_j"] == 200 + meter.used_j <= 220
    assert len(epochs_of(path)) == 150 + meter.used_j
    keys = [study.space.key(study.space.configuration(t.point)) for t in study.trials]
    assert len(keys) == len(set(keys))
    assert replay(read(path)).differing == ()


def test_killed(tmp_path):
    """`kill -9` in the middle of an epoch loses that epoch only, and the study goes on within its budget."""
    path = tmp_path / "s.jsonl"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(path), "25"], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert sum(line["kind"] == "epoch" for line in read(path)) == 24
    path.write_bytes(path.read_bytes() + b'{"kind": "epo')

    meter = Meter()

    def objective(trial):
        for epoch in trial.epochs():
            meter.used_j += 1
            yield trial["x"] - 1 / epoch

    study = search(objective, SPACE, "60J", measure=meter, opened=lambda: FileLog(path))

    assert 58 <= 25 + meter.used_j <= 60
    assert study.spent["energy_j"] == 25 + meter.used_j  # the epoch that was lost counts
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_checkpoint_that_cannot_be_read(tmp_path):
    """A checkpoint that cannot be read is said in one line; its trial starts again, and nothing that was told is lost."""

    def objective_of(meter):
        def objective(trial):
            state = int(Path(trial.saved).read_text()) if trial.saved else 0
            for epoch in trial.epochs():
                meter.used_j += 1
                state += 1
                trial.report(trial["x"] - 1 / epoch)
                path = tmp_path / f"{trial.number}.txt"
                path.write_text(str(state))
                trial.save(path)

        return objective

    first = Meter()
    opened = partial(FileLog, tmp_path / "s.jsonl")
    before = search(objective_of(first), SPACE, "40J", measure=first, opened=opened)
    for path in tmp_path.glob("*.txt"):
        path.write_text("nonsense")

    second = Meter()
    study = search(objective_of(second), SPACE, "120J", measure=second, opened=opened)

    assert any("is not used again: ValueError at epoch" in note for note in study.notes)
    assert not any(t.state is State.FAILED for t in study.trials)
    assert all(
        after.values[: t.epoch] == t.values for t, after in zip(before.trials, study.trials, strict=False)
    )
    assert "is not used again" in study.report()
    assert replay(read(tmp_path / "s.jsonl")).differing == ()


def test_unreadable_in_the_same_process():
    """A checkpoint that cannot be read costs its trial no value: it starts again from nothing; a second time, it has failed."""
    meter = Meter()
    begun: dict[int, int] = {}

    def objective(trial):
        if trial.saved is not None:
            raise OSError(f"cannot read {trial.saved}")
        begun[trial.number] = begun.get(trial.number, 0) + 1
        for epoch in trial.epochs():
            meter.used_j += 1
            trial.report(1 - (trial["x"] - 0.3) ** 2 - 1 / epoch)
            trial.save(f"state {epoch}")

    study = search(objective, SPACE, "200J", measure=meter, epochs=9)

    assert set(begun.values()) == {1, 2}
    twice = {number for number, times in begun.items() if times == 2}
    assert len(study.notes) >= len(twice) > 0
    assert all("is not used again: OSError at epoch" in note for note in study.notes)
    failed = {t.number for t in study.trials if t.state is State.FAILED}
    assert failed <= twice
    assert all(t.epoch for t in study.trials if t.number in twice)
