"""XGBoost: the callback ends the training and leaves the best iteration to predict with."""

from __future__ import annotations

import random

import pytest

import joulewise
from joulewise.training.xgboost import xgboost_callback
from joulewise.vocabulary.errors import UnknownName

xgboost = pytest.importorskip("xgboost", reason="xgboost is not installed")
numpy = pytest.importorskip("numpy", reason="numpy is not installed")

ROUNDS = 120
SETTINGS = {"objective": "binary:logistic", "verbosity": 0, "nthread": 1, "eta": 0.3, "max_depth": 3}


def data(seed: int):
    draw = random.Random(seed)
    x = numpy.array([[draw.random() for _ in range(4)] for _ in range(400)])
    return x, (x[:, 0] + 0.3 * x[:, 1] + numpy.array([draw.gauss(0, 0.1) for _ in range(400)]) > 0.65).astype(
        int
    )


def train(stopping, **callback):
    (x, y), (held_x, held_y) = data(1), data(2)
    return xgboost.train(
        SETTINGS,
        xgboost.DMatrix(x, y),
        ROUNDS,
        evals=[(xgboost.DMatrix(x, y), "training"), (xgboost.DMatrix(held_x, held_y), "held_out")],
        verbose_eval=False,
        callbacks=[xgboost_callback(stopping, **callback)],
    )


def test_stops_at_the_best():
    """Boosting ends before its last round, and the booster knows its best one on the last set."""
    stopping = joulewise.stopping("logloss", horizon=ROUNDS)
    booster = train(stopping)

    assert stopping.decision.stops
    assert booster.num_boosted_rounds() == len(stopping.curve) < ROUNDS
    assert booster.best_iteration + 1 == stopping.decision.best_step
    assert booster.best_score == pytest.approx(stopping.decision.best_value)


def test_named_validation_set():
    """The set that is named is the one listened to: the training loss goes on falling to the end."""
    stopping = joulewise.stopping("logloss", horizon=ROUNDS)
    train(stopping, data="training")

    assert stopping.decision.best_step == len(stopping.curve)


def test_estimator_predicts_with_the_best():
    """A classifier fitted with the callback predicts with its best round, not with its last."""
    stopping = joulewise.stopping("logloss", horizon=ROUNDS)
    model = xgboost.XGBClassifier(
        n_estimators=ROUNDS, n_jobs=1, max_depth=3, callbacks=[xgboost_callback(stopping)]
    )
    model.fit(*data(1), eval_set=[data(2)], verbose=False)
    held_x, _ = data(2)
    best = int(stopping.decision.best_step or 0)

    assert best < len(stopping.curve)
    assert model.predict_proba(held_x) == pytest.approx(
        model.predict_proba(held_x, iteration_range=(0, best))
    )


def test_unknown_metric():
    """A metric that XGBoost does not report is refused with the nearest that it does."""
    with pytest.raises(UnknownName, match="did you mean logloss"):
        train(joulewise.stopping("loglos", horizon=ROUNDS, higher_is_better=False))
