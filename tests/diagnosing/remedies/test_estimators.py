"""Remedies and trials of programs without training steps: scikit-learn, XGBoost, LightGBM. Run as they are, by the real verb."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.measuring.agent.running import run

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the agent is tested on Linux"),
]
DATA = """
import numpy as np
rng = np.random.default_rng(0)
x = rng.normal(size=(4000, 30)); y = (x[:, 0] + rng.normal(size=4000) > 0).astype(int)
"""
REPEATED = (
    DATA
    + """
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
told = []
for c in range(6):
    p = PCA(20, svd_solver="full")
    z = p.fit_transform(x)
    told.append((z.sum(), p.components_.sum(), id(z)))
    z[:] = 0
    f = RandomForestClassifier(5).fit(x, y)
    g = LogisticRegression(C=float(c + 1)).fit(x, y)
print(len({t[:2] for t in told}), len(told))
"""
)


def test_equal_fits_are_handed_out(tmp_path: Path):
    """A fit that came out the same twice is a copy from then on; what draws random numbers or has other settings is made anew."""
    pytest.importorskip("sklearn")
    ran = run(REPEATED, tmp_path, options=["--with", "cache"])

    assert (ran.code, ran.out) == (0, "1 6\n"), ran.err
    assert ran.view.changed == (
        "cache: PCA.fit_transform of equal input and settings came out the same twice: from then on it is handed out",
    )
    made = {p.estimator: p for p in ran.view.preparations}
    assert made["PCA"].calls == 6
    assert ran.view.faults == ()


@pytest.mark.parametrize(
    ("library", "code", "says"),
    [
        (
            "xgboost",
            """import xgboost
xgboost.XGBClassifier(n_estimators=3, n_jobs=4).fit(x, y)
xgboost.train({'nthread': 3, 'objective': 'binary:logistic'}, xgboost.DMatrix(x, y), 2)
""",
            ["threads: xgboost trains with nthread=1 instead of {'n_jobs': 4}", "threads: xgboost trains with nthread=1 instead of {'nthread': 3}"],
        ),
        (
            "lightgbm",
            "import lightgbm\nlightgbm.LGBMClassifier(n_estimators=3, n_jobs=4, verbose=-1).fit(x, y)",
            ["threads: lightgbm trains with num_threads=1 instead of"],
        ),
        (
            "sklearn",
            "from sklearn.ensemble import RandomForestClassifier\nRandomForestClassifier(4, n_jobs=4).fit(x, y)",
            ["threads: joblib runs 1 job at once instead of n_jobs=4"],
        ),
    ],
)  # fmt: skip
def test_threads(library: str, code: str, says: list[str], tmp_path: Path):
    """A library's own number of threads goes before the variables, so it is held, too."""
    pytest.importorskip(library)
    ran = run(DATA + code, tmp_path, options=["--with", "threads=1"])

    assert (ran.code, ran.view.faults) == (0, ()), ran.err
    for words in says:
        assert any(text.startswith(words) for text in ran.view.changed), ran.view.changed


def test_a_trial_of_calls(tmp_path: Path):
    """A trial measures calls of estimators in their order behind a third of them, and ends at once."""
    pytest.importorskip("sklearn")
    code = DATA + (
        "from sklearn.decomposition import PCA\n"
        "for n in range(50):\n    PCA(5).fit_transform(x)\nprint('never printed')"
    )
    from joulewise import wiring

    environment = wiring.remedied({"trial": "steps=9 passes=0 batches=0 calls=1"})
    ran = run(code, tmp_path, environment=environment)

    assert (ran.code, ran.out) == (0, ""), ran.err
    assert [(w.kind, w.samples, w.steps) for w in ran.view.windows] == [("steps", 1, 1)] * 6
    assert all(w.wall_s > 0 and w.apart_wall_s == 0 for w in ran.view.windows)
