"""What libraries did, on the real libraries: rows one by one, steps of pipelines, boosting, pollers, studies."""

from __future__ import annotations

from pathlib import Path

import pytest

from joulewise.vocabulary.observed import ProcessView
from tests.measuring.agent.running import alone, run

pytest.importorskip("sklearn", reason="scikit-learn is in the extra `example`")
pytest.importorskip("xgboost", reason="in the extra `dev`")
pytest.importorskip("lightgbm", reason="in the extra `dev`")
pytest.importorskip("optuna", reason="in the extra `optuna`")

CODE = """
import asyncio, queue
import lightgbm as lgb
import numpy as np
import optuna
import xgboost as xgb
from scipy.optimize import minimize
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
optuna.logging.set_verbosity(40)
rng = np.random.default_rng(0)
x = rng.normal(size=(3000, 120))
y = (x[:, 0] + rng.normal(size=3000) > 0).astype(int)
GridSearchCV(make_pipeline(PCA(90), LogisticRegression(max_iter=5)), {"logisticregression__C": [1, 2, 3]}, cv=2).fit(x, y)
model = LogisticRegression(max_iter=5).fit(x, y)
for i in range(300):
    model.predict(x[i:i + 1])
model.predict(x)
walk = LinearRegression().fit(x[:, :2], x[:, 2])
last = 0.5
for i in range(80):
    last = walk.predict(np.array([[last, 1.0]]))[0]
ridge = Ridge().fit(x[:, :3], x[:, 3])
minimize(lambda p: ridge.predict(p.reshape(1, -1))[0] ** 2 + (p ** 2).sum(), np.ones(3))
d, held = xgb.DMatrix(x, y), xgb.DMatrix(x[:500], y[:500])
kept = {}
xgb.train({"nthread": 1}, d, 7, evals=[(d, "train"), (held, "held")], verbose_eval=False)
xgb.train({"nthread": 1}, d, 5, evals=[(held, "held")], evals_result=kept, early_stopping_rounds=3, verbose_eval=False)
assert len(kept["held"]["rmse"]) == 5
lgb.train({"verbose": -1, "num_threads": 1, "objective": "binary"}, lgb.Dataset(x, y), 6, valid_sets=[lgb.Dataset(x, y)])
def objective(trial):
    if trial.number == 2:
        raise ValueError
    for step in range(3):
        trial.report(step, step)
    return trial.suggest_float("a", 0, 1)
optuna.create_study().optimize(objective, n_trials=4, catch=ValueError)
async def spin():
    for _ in range(40_000):
        await asyncio.sleep(0)
print(asyncio.run(spin()))
jobs = queue.Queue()
for _ in range(40_000):
    try:
        jobs.get_nowait()
    except queue.Empty:
        continue
"""
WORKS = """
import asyncio, queue
def work():
    return sum(i * i for i in range(400))
async def letting():
    for _ in range(6_000):
        work()
        await asyncio.sleep(0)
asyncio.run(letting())
jobs = queue.Queue()
for _ in range(6_000):
    work()
    try:
        jobs.get_nowait()
    except queue.Empty:
        pass
"""


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> ProcessView:
    ran = run(CODE, tmp_path_factory.mktemp("libraries"))
    assert (ran.code, ran.out) == (0, "None\n"), ran.err
    assert ran.view.faults == ()
    return ran.view


def test_rows_one_by_one(view: ProcessView):
    """Calls with a row each are told in one sum, apart from those with many, with a bound of a row's arithmetic."""
    few, many = (
        next(
            r
            for r in view.row_calls
            if r.estimator == "LogisticRegression" and r.method == "predict" and r.few is few
        )
        for few in (True, False)
    )

    assert (few.calls, few.rows, few.where, few.under, few.fed) == (300, 300, "program.py:<module>", "", 0)
    assert (many.calls, many.rows) == (1, 3000)
    assert few.row_ns == 5 * 120 + 5 * 120


def test_rows_that_wait_for_one_another(view: ProcessView):
    """An input that holds the answer before it is told, and so is a library that asks from inside."""
    (walk,) = (r for r in view.row_calls if r.estimator == "LinearRegression")
    (ridge,) = (r for r in view.row_calls if r.estimator == "Ridge")

    assert walk.fed >= 60
    assert ridge.under == "scipy"


def test_steps_of_a_pipeline(view: ProcessView):
    """A search's transformer got each fold three times; its bytes, and that PCA may draw random numbers, are known."""
    folds = [s for s in view.pipeline_steps if s.estimator == "PCA" and s.rows == 1500]

    assert [s.calls for s in folds] == [3, 3]
    assert {s.in_bytes for s in folds} == {1500 * 120 * 8}
    assert {s.out_bytes for s in folds} == {1500 * 90 * 8}
    assert all(s.random for s in folds)


def test_boosting(view: ProcessView):
    """Trainings with evaluations tell their rounds, sets and curves, and whether they stop early."""
    first, stops, light = view.boostings

    assert (first.library, first.rounds, first.set_rows, first.trains, first.stops) == (
        "xgboost", 7, (3000, 500), (True, False), False,
    )  # fmt: skip
    assert list(first.curves) == ["rmse"]
    assert first.curves["rmse"][0] > first.curves["rmse"][-1]
    assert 0 < first.eval_cpu_s < first.cpu_s
    assert stops.stops
    assert (light.library, light.rounds, light.set_rows) == ("lightgbm", 6, (3000,))


def test_studies(view: ProcessView):
    """A study's trials tell what they took, whether they reported, and which failed."""
    (study,) = view.studies

    assert (study.sampler, study.pruner, study.direction) == ("TPESampler", "MedianPruner", "minimize")
    assert [t.ended for t in study.trials] == ["complete", "complete", "failed", "complete"]
    assert [t.reports for t in study.trials] == [3, 3, 0, 3]


def test_polling_is_told(view: ProcessView):
    """A loop that only lets others run, and one that only asks an empty queue, poll."""
    assert sum(p.looks for p in view.pollings) > 40_000
    assert all(p.cpu_s > 0 for p in view.pollings)


def test_work_between_looks_is_no_polling(tmp_path: Path):
    """Coroutines that compute before they let others run, and loops that work before they ask, do not poll."""
    ran = run(WORKS, tmp_path)

    assert ran.code == 0, ran.err
    assert sum(p.looks for p in ran.view.pollings) < 1_000


SETTINGS = """
import numpy as np
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
rng = np.random.default_rng(0)
x, y = rng.normal(size=(60, 4)), np.arange(60) % 2
for c in (0.1, 1.0, 10.0):
    steps = [("scaled", StandardScaler()), ("more", PolynomialFeatures(degree=2, interaction_only=True, include_bias=False)),
             ("best", SelectKBest(k=5)), ("fewer", PCA(n_components=3, svd_solver="full", whiten=True)),
             ("model", LogisticRegression(C=c))]
    Pipeline(steps).fit(x, y).predict(x)
net = MLPClassifier((4,))
for _ in range(3):
    net.partial_fit(x, y, classes=[0, 1])
"""


def test_settings_of_a_long_pipeline(tmp_path: Path):
    """Pipelines that differ in their last step's setting are different, however long the others' are; its own methods count."""
    ran = run(SETTINGS, tmp_path)
    seen = {(p.estimator, p.method, p.settings): p.calls for p in ran.view.preparations}

    assert ran.code == 0, ran.err
    assert ran.view.faults == ()
    assert sorted((e, m, n) for (e, m, _), n in seen.items()) == [
        ("MLPClassifier", "partial_fit", 3),
        ("Pipeline", "fit", 1),
        ("Pipeline", "fit", 1),
        ("Pipeline", "fit", 1),
        ("Pipeline", "predict", 3),
    ]


PRINTS = """
import numpy as np
w = np.zeros(3)
def train():
    lr = 0.1
    for epoch in range(6):
        val_acc = 0.5 + 0.05 * min(epoch, 3)
        secret = epoch
        print("epoch", epoch, val_acc)
train()
"""


def test_numbers_beside_a_line(tmp_path: Path):
    """A numpy program's metrics are read where it prints, by its epoch; a program without numpy is not looked at."""
    ran = run(PRINTS, tmp_path)
    other = tmp_path / "plain"
    other.mkdir()

    assert ran.view.epochs == 6
    assert [p.values["val_acc"] for p in ran.view.curve] == pytest.approx([0.5, 0.55, 0.6, 0.65, 0.65, 0.65])
    assert ran.view.curve[0].values.keys() == {"val_acc", "lr"}
    assert 0 < ran.view.curve[0].t_s <= ran.view.curve[-1].t_s < ran.recording.duration_s
    assert run(PRINTS.replace("import numpy as np\nw = np.zeros(3)", ""), other).view.curve == ()


MOCKS = """
import asyncio, inspect, queue
from unittest import mock
async def nap():
    await asyncio.sleep(3600)
with mock.patch("asyncio.sleep") as slept:
    asyncio.run(nap())
print(type(slept).__name__, slept.await_count, str(inspect.signature(asyncio.sleep)), str(inspect.signature(queue.Queue.get)))
class Own(queue.Queue):
    def get(self, *args, **kwargs):
        return ("own", super().get(*args, **kwargs))
own = Own()
own.put(1)
print(own.get(), own.empty())
try:
    own.get(timeout=-1)
except ValueError as error:
    print(error)
"""


def test_what_is_stood_around_is_what_it_was(tmp_path: Path):
    """Mocks, signatures, subclasses and errors are those of a program that runs alone."""
    ran = run(MOCKS, tmp_path)

    assert ran.err == ""
    assert ran.out == alone(MOCKS, tmp_path).stdout
    assert ran.out.startswith("AsyncMock 1 ")


STUBBORN = """
import numpy as np
from sklearn.linear_model import LinearRegression
class Row(list):
    def __array__(self, *args, **kwargs):
        self.asked = getattr(self, "asked", 0) + 1
        if self.asked > 1:
            raise RuntimeError("once only")
        return np.array(list(self), dtype=float)
model = LinearRegression().fit(np.arange(6.0).reshape(3, 2), [1.5, 2.5, 3.7])
for _ in range(3):
    print(round(float(model.predict(Row([[1.0, 2.0]]))[0]), 3))
"""


def test_an_input_that_refuses_us(tmp_path: Path):
    """An input that can be read once only is read by its estimator, and by nobody's fault of ours."""
    ran = run(STUBBORN, tmp_path)
    beside = alone(STUBBORN, tmp_path)

    assert (ran.code, ran.out) == (beside.returncode, beside.stdout), ran.err
