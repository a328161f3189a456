from __future__ import annotations

from pathlib import Path

import pytest

from joulewise.vocabulary.observed import Phase, ProcessView
from tests.measuring.agent.running import run

pytest.importorskip("sklearn", reason="scikit-learn is in the extra `example`")

CODE = """
import time
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler
rng = np.random.default_rng(0)
x, y = rng.normal(size=(200, 5)), rng.integers(0, 2, 200)
np.random.seed(4)
def prepare():
    t = time.perf_counter()
    while time.perf_counter() - t < 0.1: pass
    return x * 2
for c in (0.1, 1.0, 10.0):
    a = StandardScaler().fit_transform(prepare())
    model = LogisticRegression(C=c).fit(a, y)
    print(model.score(a, y) > 0.3)
GridSearchCV(LogisticRegression(), {"C": [1.0, 2.0]}, n_jobs=2, cv=2).fit(x, y)
"""


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> tuple[ProcessView, ...]:
    ran = run(CODE, tmp_path_factory.mktemp("sweep"))
    assert (ran.code, ran.out, ran.err) == (0, "True\n" * 3, "")
    return ran.views


def test_repeated_preparation(views: tuple[ProcessView, ...]):
    """The same input three times is one preparation with three calls, and the time that went into making it."""
    (main,) = (v for v in views if v.kind == "main")
    (scaling,) = (p for p in main.preparations if p.estimator == "StandardScaler")

    assert (scaling.method, scaling.calls, scaling.rows) == ("fit_transform", 3, 200)
    assert scaling.before_s >= 0.3
    assert scaling.first_before_s is not None
    assert scaling.first_before_s >= 0.1
    assert scaling.before_cpu_s <= scaling.before_s * 1.5


def test_fits_with_other_settings(views: tuple[ProcessView, ...]):
    """Fits on one input with other parameters have one fingerprint and settings of their own."""
    (main,) = (v for v in views if v.kind == "main")
    fits = [p for p in main.preparations if p.estimator == "LogisticRegression" and p.method == "fit"]

    assert len(fits) == 3
    assert len({p.fingerprint for p in fits}) == 1
    assert len({p.settings for p in fits}) == 3
    assert all(p.iterations for p in fits)


def test_scores(views: tuple[ProcessView, ...]):
    """What `score` gave is kept with the rows that were scored, and with nothing else."""
    (main,) = (v for v in views if v.kind == "main")
    scored = {p.method: p.score for p in main.preparations if p.estimator == "LogisticRegression"}

    assert scored["fit"] is None
    assert 0.3 < (scored["score"] or 0.0) <= 1.0


def test_phases(views: tuple[ProcessView, ...]):
    """Fitting is `optimiser`, scoring after a fit is `validation`, and all the time has a name."""
    (main,) = (v for v in views if v.kind == "main")

    assert main.phase(Phase.OPTIMISER).calls == 7
    assert main.phase(Phase.VALIDATION).calls == 3
    assert main.accounted_share > 0.95
    assert main.seeds == ("numpy 4",)
    assert any(f.startswith("sklearn ") for f in main.frameworks)
    assert main.threads.joblib == 2


def test_joblib_workers_are_seen(views: tuple[ProcessView, ...]):
    """The workers that joblib starts have views of their own, with the fits that they did."""
    workers = [v for v in views if v.kind != "main" and any(p.method == "fit" for p in v.preparations)]

    assert workers
    assert sum(p.calls for v in workers for p in v.preparations if p.method == "fit") == 4


def test_users_own_estimator(tmp_path: Path):
    """Methods keep their names and signatures, estimators clone and pickle, and an exception is the program's."""
    code = """
import inspect, pickle
from sklearn.base import clone
from sklearn.linear_model import Ridge
print(Ridge.fit.__name__, list(inspect.signature(Ridge.fit).parameters))
model = pickle.loads(pickle.dumps(clone(Ridge(alpha=3.0)).fit([[1.0], [2.0]], [1.0, 2.0])))
try: model.predict("nonsense")
except ValueError: print("refused")
"""
    ran = run(code, tmp_path)

    assert (ran.code, ran.out) == (0, "fit ['self', 'X', 'y', 'sample_weight']\nrefused\n")
