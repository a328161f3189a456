"""Gain per joule inside real Optuna studies."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest

optuna = pytest.importorskip("optuna", reason="the plug for Optuna needs optuna")

from joulewise.searching.front import front  # noqa: E402
from joulewise.searching.optuna_plug import OptunaPlug  # noqa: E402
from joulewise.searching.optuna_trials import BEGAN, COSTS, RESUMES, VALUES  # noqa: E402
from joulewise.vocabulary.errors import UsageError  # noqa: E402
from tests.searching.doubles import Meter  # noqa: E402

EPOCHS = 9
PRUNED, COMPLETE = optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.COMPLETE


@pytest.fixture(autouse=True)
def _quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def curve(x, width, epoch):
    return 1 - (x - 0.3) ** 2 - 0.3 / epoch - 0.05 / width


def objective_of(plug, meter, folder, begun=None):
    """Return an objective as a user of Optuna writes it, with checkpoints in a folder."""

    def objective(trial):
        x = trial.suggest_float("x", 0, 1)
        width = trial.suggest_int("width", 1, 8, log=True)
        start = plug.begin(trial)
        state = int(Path(start.checkpoint).read_text()) if start.checkpoint else 0
        assert state == start.epoch
        for epoch in range(start.epoch + 1, EPOCHS + 1):
            meter.used_j += width
            if begun is not None:
                begun.append((trial.number, x, width, epoch))
            path = folder / f"{trial.number}-{epoch}"
            path.write_text(str(epoch))
            value = curve(x, width, epoch)
            plug.report(trial, value, path)
            if plug.should_prune(trial):
                raise optuna.TrialPruned
        return value

    return objective


@pytest.mark.parametrize("storage", [None, "sqlite:///{}/optuna.db"])
def test_study(tmp_path, storage):
    """A plain Optuna study finds the valley within its joules; most trials are frozen, some go on from their checkpoint."""
    meter = Meter()
    begun: list[tuple[int, float, int, int]] = []
    plug = OptunaPlug(epochs=EPOCHS, measure=meter, budget="400J")
    study = optuna.create_study(
        direction="maximize",
        sampler=plug.sampler,
        pruner=plug.pruner,
        storage=storage and storage.format(tmp_path),
    )
    study.optimize(objective_of(plug, meter, tmp_path, begun), callbacks=[plug.callback], n_trials=400)

    assert study.best_value > curve(0.3, 8, EPOCHS) - 0.01
    assert 340 <= meter.used_j <= 400
    assert "the next epoch would pass the budget" in plug.reason
    assert study.user_attrs["joulewise:reason"] == plug.reason
    resumed = [t for t in study.trials if t.user_attrs.get(BEGAN)]
    assert resumed
    for t in resumed:
        assert study.trials[t.user_attrs[RESUMES]].params == t.params
    assert len({(x, width, epoch) for _, x, width, epoch in begun}) == len(begun)  # no epoch twice
    states = [t.state for t in study.trials]
    assert states.count(PRUNED) > states.count(COMPLETE) > 0
    value, trial = plug.best(study)
    assert value >= study.best_value
    assert value == max(v for t in study.trials for v in t.user_attrs[VALUES])
    assert value in trial.user_attrs[VALUES]
    used = sum(sum(t.user_attrs[COSTS]) for t in study.trials)
    assert used == pytest.approx(meter.used_j)


def test_plain_objective():
    """An objective that knows nothing of joulewise works as well: `trial.report` and `trial.should_prune`."""
    meter = Meter()

    def objective(trial):
        x = trial.suggest_float("x", 0, 1)
        for step in range(EPOCHS):
            meter.used_j += 1
            trial.report((x - 0.3) ** 2 + 0.3 / (step + 1), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return (x - 0.3) ** 2 + 0.3 / EPOCHS

    plug = OptunaPlug(epochs=EPOCHS, measure=meter, budget="120J")
    study = optuna.create_study(direction="minimize", sampler=plug.sampler, pruner=plug.pruner)
    study.optimize(objective, callbacks=[plug.callback], n_trials=400)

    assert study.best_params["x"] == pytest.approx(0.3, abs=0.1)
    assert meter.used_j <= 120
    assert sum(t.state == PRUNED for t in study.trials) > len(study.trials) / 2


def test_two_objectives(tmp_path):
    """In a study of accuracy and joules trials are frozen, too, which Optuna's own pruners refuse."""
    meter = Meter()
    plug = OptunaPlug(epochs=EPOCHS, measure=meter, budget="300J")

    def objective(trial):
        value = objective_of(plug, meter, tmp_path)(trial)
        return value, trial.params["width"] * EPOCHS

    study = optuna.create_study(directions=["maximize", "minimize"], sampler=plug.sampler, pruner=plug.pruner)
    study.optimize(objective, callbacks=[plug.callback], n_trials=400)

    best = study.best_trials
    assert len({t.params["width"] for t in best}) >= 3
    assert sum(t.state == PRUNED for t in study.trials) > len(study.trials) / 2
    assert any(t.user_attrs.get(BEGAN) for t in best)
    points = front([(t.values[1], t.values[0]) for t in study.trials if t.state == COMPLETE])
    assert {(t.values[1], t.values[0]) for t in best} == set(points)


def test_kinds_of_parameters():
    """Steps, choices of any kind and fixed values come back as Optuna's own values."""
    meter, seen = Meter(), []

    def objective(trial):
        seen.append(
            (
                trial.suggest_float("dropout", 0.1, 0.5, step=0.1),
                trial.suggest_int("units", 16, 64, step=16),
                trial.suggest_categorical("act", ["relu", None, 3]),
                trial.suggest_float("fixed", 2.0, 2.0),
                trial.suggest_float("rate", 1e-4, 1e-1, log=True),
            )
        )
        for step in range(3):
            meter.used_j += 1
            trial.report(seen[-1][0], step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return seen[-1][0]

    plug = OptunaPlug(epochs=3, measure=meter)
    study = optuna.create_study(direction="maximize", sampler=plug.sampler, pruner=plug.pruner)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.optimize(objective, n_trials=25)

    assert {round(s[0], 6) for s in seen} <= {0.1, 0.2, 0.3, 0.4, 0.5}
    assert {s[1] for s in seen} <= {16, 32, 48, 64}
    assert {s[2] for s in seen} <= {"relu", None, 3}
    assert study.best_value == pytest.approx(0.5)


def test_shared_storage(tmp_path):
    """Two processes share a study and its budget through Optuna's own storage; another sampler's trials are learnt from."""
    url = f"sqlite:///{tmp_path}/optuna.db"
    before = optuna.create_study(study_name="s", storage=url, direction="maximize")
    before.enqueue_trial({"x": 0.9, "width": 2})
    before.optimize(
        lambda t: curve(t.suggest_float("x", 0, 1), t.suggest_int("width", 1, 8, log=True), 9), n_trials=1
    )

    def work():
        meter = Meter()
        plug = OptunaPlug(epochs=EPOCHS, measure=meter, budget="100J", seed=os.getpid())
        study = optuna.load_study(study_name="s", storage=url, sampler=plug.sampler, pruner=plug.pruner)
        study.optimize(objective_of(plug, meter, tmp_path), callbacks=[plug.callback], n_trials=60)

    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    work()
    assert os.waitpid(pid, 0)[1] == 0
    study = optuna.load_study(study_name="s", storage=url)

    spent = {k: v["energy_j"] for k, v in study.user_attrs.items() if k.startswith("joulewise:spent")}
    assert len(spent) == 2
    assert (
        75 <= sum(spent.values()) <= 108
    )  # a process may have begun an epoch that the other did not know of
    assert min(spent.values()) > 10


def test_wrong_use():
    """A budget in joules where no meter tells any is refused, as everywhere."""
    from joulewise.vocabulary.budget import Spent

    with pytest.raises(UsageError, match="no meter tells any here"):
        OptunaPlug(epochs=3, measure=lambda: Spent(1.0), budget="1kJ")
