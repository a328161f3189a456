"""Metrics with their noise: a drop is never surer than the rows allow."""

from __future__ import annotations

import numpy as np
import pytest

from joulewise.compressing.metrics import compare, load, metric, nearest, of_function
from joulewise.vocabulary.errors import UnknownName, UsageError

DRAW = np.random.default_rng(5)


def judged(name, base, other, targets, **more):
    kind = metric(name, **more) if isinstance(name, str) else of_function(name, **more)
    first, second = {"y": np.asarray(base)}, {"y": np.asarray(other)}
    return compare(
        kind, kind.score(first, targets, first), kind.score(second, targets, first), len(first["y"])
    )


def wrong(targets, places):
    """Return the classes with some of them wrong."""
    told = targets.copy()
    told[places] = (told[places] + 1) % 3
    return told


TARGETS = DRAW.integers(0, 3, 1000)


def test_accuracy():
    """Accuracy counts the largest score, and a drop is paired: rows that both miss make no noise."""
    base, other = wrong(TARGETS, slice(0, 100)), wrong(TARGETS, slice(0, 110))
    told = judged("accuracy", np.eye(3)[base], np.eye(3)[other], TARGETS)

    assert (told.base.value, told.other.value, told.drop.value) == pytest.approx((0.9, 0.89, 0.01))
    assert 0.003 < told.drop.low < 0.01 < told.drop.high < 0.018
    assert told.base.high - told.base.low > told.drop.high - told.drop.low


def test_accuracy_of_the_same_answers_is_not_certain():
    """That no row of fifty differs does not show that none of a thousand will."""
    few = judged("accuracy", TARGETS[:50], TARGETS[:50], TARGETS[:50])
    many = judged("accuracy", TARGETS, TARGETS, TARGETS)

    assert few.drop.high == pytest.approx(0.0447, abs=0.001)  # 1.645 root(2 / 52 / 52)
    assert many.drop.high == pytest.approx(0.00232, abs=0.0001)


def test_coverage():
    """The interval of a drop holds the true one in about nine of ten drawings of rows."""
    held = 0
    for seed in range(200):
        draw = np.random.default_rng(seed)
        targets = draw.integers(0, 3, 400)
        base = np.where(draw.random(400) < 0.9, targets, (targets + 1) % 3)
        other = np.where(draw.random(400) < 0.95, base, (targets + 1) % 3)  # 0.045 of the rights are lost
        told = judged("accuracy", base, other, targets)
        held += told.drop.low <= 0.9 * 0.05 <= told.drop.high

    assert 168 <= held <= 194


def test_f1_is_the_mean_over_classes():
    """F1 is scikit-learn's macro F1."""
    sklearn = pytest.importorskip("sklearn.metrics")
    answers = wrong(TARGETS, slice(0, 300))

    assert judged("f1", answers, answers, TARGETS).base.value == pytest.approx(
        sklearn.f1_score(TARGETS, answers, average="macro")
    )


@pytest.mark.parametrize("name", ["rmse", "mae", "r2"])
def test_numbers(name):
    """Errors of numbers are what their formula says, and a drop is positive where it is worse."""
    right = DRAW.normal(size=(500, 1))
    base, other = right + DRAW.normal(size=(500, 1)) * 0.1, right + DRAW.normal(size=(500, 1)) * 0.2
    told = judged(name, base, other, right[:, 0])
    formula = {
        "rmse": lambda y: np.sqrt(np.mean((y - right) ** 2)),
        "mae": lambda y: np.mean(np.abs(y - right)),
        "r2": lambda y: 1 - np.sum((y - right) ** 2) / np.sum((right - right.mean()) ** 2),
    }[name]

    assert told.base.value == pytest.approx(formula(base))
    assert told.drop.value == pytest.approx(abs(formula(other) - formula(base)))
    assert 0 < told.drop.low < told.drop.value < told.drop.high


def test_recall_sees_what_cosine_hides():
    """Vectors at a cosine of 0.993 to fp32's keep far fewer than 99 % of their nearest neighbours, and recall@10 says so."""
    vectors = DRAW.normal(size=(500, 64)) + 4 * DRAW.normal(size=64)  # embeddings share a direction
    moved = (
        vectors + DRAW.normal(size=vectors.shape) * 0.118 * np.linalg.norm(vectors, axis=1, keepdims=True) / 8
    )
    unit, near = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (vectors, moved))
    told = judged("recall@10", vectors, moved, None)

    assert np.mean(np.sum(unit * near, axis=1)) == pytest.approx(0.993, abs=0.001)
    assert told.base.value == 1
    assert told.drop.low > 0.05


def test_nearest_are_others():
    """A row is not its own neighbour."""
    assert nearest(np.array([[1.0, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]]), 1)[:, 0].tolist() == [1, 0, 3, 2]


def test_a_function_of_rows_and_one_of_all():
    """A function of the user's gives a number a row or one for all; both are resampled."""
    rows = judged(lambda y, t: np.abs(y - t), TARGETS * 1.0, TARGETS + 0.5, TARGETS, lower_is_better=True)
    whole = judged(
        lambda y, t: np.abs(y - t).mean(), TARGETS * 1.0, TARGETS + 0.5, TARGETS, lower_is_better=True
    )

    assert rows.drop.value == whole.drop.value == 0.5


def test_a_function_may_see_what_fp32_said():
    """A third parameter is the answers of fp32."""
    told = judged(lambda y, _t, was: y == was, TARGETS, wrong(TARGETS, slice(0, 10)), None)

    assert told.drop.value == pytest.approx(0.01)


def test_load(tmp_path, monkeypatch):
    """A function is found in a file, and in a module of the working folder."""
    (tmp_path / "own_metric.py").write_text("def right(y, t):\n    return y == t\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    assert load("own_metric.py:right")(1, 1)
    assert load("own_metric:right")(1, 1)
    with pytest.raises(UnknownName, match="right"):
        load("own_metric.py:rihgt")
    with pytest.raises(UsageError, match="cannot import"):
        load("nowhere_to_be_found:right")


@pytest.mark.parametrize(
    ("name", "answers", "targets", "said"),
    [
        ("accuracy", np.zeros(50), TARGETS[:50], "needs classes"),
        ("accuracy", np.eye(3)[TARGETS[:50]], None, "add it to the data as y"),
        ("rmse", np.zeros((50, 2)), np.zeros(50), r"has shape \(50, 2\)"),
        ("recall@60", np.zeros((50, 2)), None, "more than 60 rows"),
        ("accuracy", TARGETS[:20], TARGETS[:20], "at least 30 are needed"),
        (
            lambda y, t: np.zeros(7),
            TARGETS[:50],
            TARGETS[:50],
            r"must give one finite number, or one for each of 50 rows",
        ),
        (lambda y, t: np.nan, TARGETS[:50], TARGETS[:50], "not all finite"),
    ],
)
def test_what_cannot_be_judged(name, answers, targets, said):
    """Outputs that a metric cannot judge are refused in one line."""
    with pytest.raises(UsageError, match=said):
        judged(name, answers, answers, targets)


def test_unknown_names():
    """An unknown metric suggests the nearest; the direction of a known one is not the user's to say."""
    with pytest.raises(UnknownName, match="did you mean accuracy"):
        metric("accurasy")
    with pytest.raises(UsageError, match="function of your own"):
        metric("accuracy", lower_is_better=True)
