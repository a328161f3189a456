"""Joules of each trial, in real Optuna studies and real Ray Tune."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip("numpy", reason="the room of searching needs numpy")

from joulewise.exchange.trials import TrialJoules, trial_joules, tuned, used
from joulewise.searching.ordering import Equipment
from joulewise.vocabulary.budget import Spent
from joulewise.vocabulary.figures import Basis, Figure

EXAMPLES = Path(__file__).parents[2] / "examples"


class Meter:
    """A meter that moves by 10 J whenever work is done."""

    def __init__(self) -> None:
        self.joules = 100.0
        self.points: list[dict[str, object]] = []

    def measure(self) -> Spent:
        return Spent(
            self.joules / 10, Figure(self.joules, self.joules * 0.5, self.joules * 2, Basis.MODELLED)
        )

    def told(self, **values) -> None:
        self.points.append(values)


class Test_used:
    def test_difference(self):
        """The joules between two readings keep the meter's relative error."""
        meter = Meter()
        before = meter.measure()
        meter.joules += 40
        told = used(before, meter.measure())

        assert (told["energy_j"], told["energy_low_j"], told["energy_high_j"]) == (40, 20, 80)
        assert told["basis"] == "modelled"
        assert "carbon_g" not in told

    def test_unknown(self):
        """Unknown joules are left out, never 0."""
        assert used(Spent(1.0), Spent(3.0)) == {"time_s": 2.0}


class TestOptuna:
    @pytest.fixture
    def optuna(self):
        optuna = pytest.importorskip("optuna", reason="trials of Optuna need optuna")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        return optuna

    def test_each_trial_tells_its_own(self, optuna):
        """Finished, pruned and failed trials tell what they used; the study tells the sum, the recording each trial."""
        meter = Meter()
        joules = TrialJoules(Equipment(meter.measure, meter.told))

        def objective(trial):
            x = trial.suggest_float("x", 0, 1)
            meter.joules += 10 * (trial.number + 1)
            if trial.number == 1:
                raise optuna.TrialPruned
            if trial.number == 2:
                raise ValueError("broken")
            return x

        study = optuna.create_study()
        study.optimize(joules(objective), n_trials=4, callbacks=[joules.callback], catch=ValueError)

        assert [t.user_attrs["joulewise:energy_j"] for t in study.trials] == pytest.approx([10, 20, 30, 40])
        assert [t.state.name for t in study.trials] == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE"]
        assert study.user_attrs["joulewise:energy_j"] == 200
        assert [p["trial"] for p in meter.points] == [1, 2, 3, 4]

    def test_trials_at_once(self, optuna):
        """Trials that ran at once in one process have no joules, and say that they shared it."""
        meter, both = Meter(), threading.Barrier(2, timeout=20)
        joules = TrialJoules(Equipment(meter.measure, meter.told))

        def objective(trial):
            both.wait()
            return trial.suggest_float("x", 0, 1)

        study = optuna.create_study()
        study.optimize(joules(objective), n_trials=2, n_jobs=2, callbacks=[joules.callback])

        assert all("joulewise:energy_j" not in t.user_attrs for t in study.trials)
        assert max(t.user_attrs["joulewise:shared"] for t in study.trials) == 2

    def test_recorded(self, optuna):
        """The study is a run of the ledger, and its trials stand in it as points."""
        import joulewise

        def objective(trial):
            return sum(range(500_000)) * trial.suggest_float("x", 0, 1)

        study = optuna.create_study()
        with trial_joules("sweep") as joules:
            study.optimize(joules(objective), n_trials=2, callbacks=[joules.callback])
        recording = joulewise.recordings("sweep")[0].recording

        assert [p.values["trial"] for p in recording.points] == [1, 2]
        assert all(t.user_attrs["joulewise:energy_j"] > 0 for t in study.trials)


@pytest.mark.service
@pytest.mark.slow
@pytest.mark.timeout(300)
class TestRayTune:
    def test_real_tune(self, home, tmp_path):
        """In a real Tune run, functions and classes report joules with their interval, and each trial is recorded."""
        pytest.importorskip("ray.tune", reason="trials of Ray Tune need ray[tune]")
        program = tmp_path / "program.py"
        program.write_text(PROGRAM)
        done = subprocess.run(
            [sys.executable, str(program)],
            capture_output=True,
            text=True,
            timeout=280,
            env={**os.environ, "RAY_AIR_NEW_OUTPUT": "0", "HOME": str(tmp_path)},
        )
        assert done.returncode == 0, done.stderr[-3000:]
        told = json.loads(done.stdout.strip().splitlines()[-1])

        assert [t["seen"] for t in told] == [[1, 2, 3], [1, 2, 3], [3]]
        for one in told:
            assert one["energy_j"] == sorted(one["energy_j"])
            assert all(
                low <= j <= high
                for low, j, high in zip(one["low"], one["energy_j"], one["high"], strict=True)
            )
        from joulewise import recordings

        assert len(recordings("tune-")) == 3


PROGRAM = """
import json, sys
import ray
from ray import tune
from ray.tune import report
import joulewise

def work():
    return sum(i * i for i in range(300_000))

def function(config):
    for step in (1, 2, 3):
        work()
        report({"step": step})          # the name as users import it

class Class(tune.Trainable):
    def setup(self, config):
        self.steps = 0
    def step(self):
        work()
        self.steps += 1
        return {"step": self.steps, "done": self.steps == 3}

def returns(config):
    work()
    return {"step": 3}

ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
found = []
for trainable in (function, Class, returns):
    seen = []
    class Ear(tune.Callback):
        def on_trial_result(self, iteration, trials, trial, result, **info):
            seen.append(dict(result))
    tune.Tuner(joulewise.tuned(trainable), run_config=tune.RunConfig(verbose=0, callbacks=[Ear()])).fit()
    seen = [s for s in seen if "step" in s]
    found.append({"seen": [s["step"] for s in seen], "energy_j": [s["joulewise_energy_j"] for s in seen],
                  "low": [s["joulewise_energy_low_j"] for s in seen], "high": [s["joulewise_energy_high_j"] for s in seen]})
ray.shutdown()
print()
print(json.dumps(found))
"""


def test_a_function_stays_itself():
    """A wrapped trainable keeps its name, which Tune shows."""

    def train(config):
        return None

    class Trainable:
        pass

    assert tuned(train).__name__ == "train"
    assert tuned(Trainable).__name__ == "Trainable"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("search_optuna.py", "optuna"),
        pytest.param("search_ray_tune.py", "ray.tune", marks=pytest.mark.service),
    ],
)
def test_examples(home, name, needs):
    """The examples run as they are."""
    pytest.importorskip(needs)
    pytest.importorskip("sklearn")
    done = subprocess.run([sys.executable, str(EXAMPLES / name)], capture_output=True, text=True, timeout=280)

    assert done.returncode == 0, done.stderr
    assert " J (" in done.stdout
