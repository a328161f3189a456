"""LightGBM: the callback ends the training and leaves the best iteration to predict with."""

from __future__ import annotations

import random

import pytest

import joulewise
from joulewise.training.lightgbm import lightgbm_callback
from joulewise.vocabulary.errors import UnknownName

lightgbm = pytest.importorskip("lightgbm", reason="lightgbm is not installed")
numpy = pytest.importorskip("numpy", reason="numpy is not installed")

ROUNDS = 120
SETTINGS = {"objective": "binary", "verbosity": -1, "num_threads": 1, "learning_rate": 0.3, "num_leaves": 7}


def data(seed: int):
    draw = random.Random(seed)
    x = numpy.array([[draw.random() for _ in range(4)] for _ in range(400)])
    return x, (x[:, 0] + 0.3 * x[:, 1] + numpy.array([draw.gauss(0, 0.1) for _ in range(400)]) > 0.65).astype(
        int
    )


def train(stopping, **callback):
    learned = lightgbm.Dataset(*data(1))
    held_out = lightgbm.Dataset(*data(2), reference=learned)
    return lightgbm.train(
        SETTINGS,
        learned,
        ROUNDS,
        valid_sets=[learned, held_out],
        valid_names=["training", "held out"],
        callbacks=[lightgbm_callback(stopping, **callback)],
    )


def test_stops_at_the_best():
    """Boosting ends before its last round, and the booster predicts with the best one."""
    stopping = joulewise.stopping("binary_logloss", horizon=ROUNDS)
    booster = train(stopping)

    assert stopping.decision.stops
    assert len(stopping.curve) < ROUNDS
    assert booster.best_iteration == stopping.decision.best_step


def test_named_validation_set():
    """The set that is named is the one listened to: the training loss goes on falling to the end."""
    stopping = joulewise.stopping("binary_logloss", horizon=ROUNDS)
    train(stopping, data="training")

    assert stopping.decision.best_step == len(stopping.curve)


def test_unknown_metric():
    """A metric that LightGBM does not report is refused with the nearest that it does."""
    with pytest.raises(UnknownName, match="did you mean binary_logloss"):
        train(joulewise.stopping("binary_loglos", horizon=ROUNDS, higher_is_better=False))
