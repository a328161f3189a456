"""XGBoost and LightGBM by both of their doors; skipped where they are not installed (they are in no extra of ours)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from joulewise.vocabulary.observed import Phase
from tests.measuring.agent.running import run

pytestmark = pytest.mark.slow
DATA = "import numpy as np\nrng = np.random.default_rng(0)\nx = rng.normal(size=(300, 4))\ny = (x[:, 0] > 0).astype(int)\n"
PROGRAMS = {
    "lightgbm": "import lightgbm as lgb\nm = lgb.LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1).fit(x, y)\nm.score(x, y)\n"
    "lgb.train({'objective': 'binary', 'verbose': -1, 'num_threads': 1}, lgb.Dataset(x, y), num_boost_round=7)",
    "xgboost": "import xgboost as xgb\nm = xgb.XGBClassifier(n_estimators=5, n_jobs=1).fit(x, y)\nm.score(x, y)\n"
    "xgb.train({'objective': 'binary:logistic', 'nthread': 1}, xgb.DMatrix(x, y), num_boost_round=7)",
}


@pytest.mark.parametrize("library", PROGRAMS)
def test_boosting(library: str, tmp_path: Path):
    """A fit counts once, whatever it calls inside; a library's own loop counts by its rounds."""
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed here")
    ran = run(DATA + PROGRAMS[library], tmp_path)
    calls = {(p.estimator, p.method): p.calls for p in ran.view.preparations}

    assert (ran.code, ran.view.faults) == (0, ())
    assert sum(n for (_, method), n in calls.items() if method == "fit") == 1
    assert sum(n for (_, method), n in calls.items() if method == "update") == 7
    assert ran.view.phase(Phase.OPTIMISER).calls == 8
    assert ran.view.phase(Phase.VALIDATION).calls == 1
    assert any(f.startswith(library) for f in ran.view.frameworks)
