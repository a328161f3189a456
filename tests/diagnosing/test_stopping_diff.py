"""The diff for a program that trains on after its best: what it changes, and that the changed program stops with the best weights."""

from __future__ import annotations

import pytest

from joulewise.diagnosing.stopping_diff import stopping_diff
from tests.diagnosing.test_validation_diff import applied
from tests.diagnosing.views import curve, evaluations, view

TRAINING = """\
from copy import deepcopy

weights, best, best_weights = [0], 0.0, None
for epoch in range(30):
    for step in range(3):
        weights[0] += 1
    val_acc = min(epoch, 9) / 10
    if val_acc > best:
        best = val_acc
        best_weights = deepcopy(weights)
    print("epoch", epoch)
print(epoch, best, best_weights)
"""


def seen(name="val_acc"):
    """Return a run of thirty epochs whose metric has been at its best from the tenth on."""
    return view(
        steps=90, epochs=30, evaluation_calls=30, evaluations=evaluations([3 * n for n in range(1, 31)]),
        curve=curve(name, [min(epoch, 9) / 10 for epoch in range(30)]),
    )  # fmt: skip


def test_stops(tmp_path):
    """Six epochs without a gain end the training, and the best weights are what they were."""
    diff = stopping_diff(TRAINING, seen(), "train.py")

    assert diff is not None
    assert applied(TRAINING, diff, tmp_path) == "15 0.9 [30]"


@pytest.mark.parametrize(
    "source",
    [
        TRAINING.replace("        best_weights = deepcopy(weights)\n", ""),
        TRAINING.replace("val_acc > best", "val_acc < best"),
        TRAINING.replace("val_acc", "train_acc"),
        TRAINING.replace('    print("epoch", epoch)', "    else:\n        continue"),
        TRAINING.replace("for epoch in range(30):", "epoch = -1\nwhile (epoch := epoch + 1) < 30:"),
        TRAINING + TRAINING,
        "def train(:",
        "",
    ],
)
def test_what_cannot_be_read(source):
    """No best weights, another metric or direction, another kind of loop, or two of them: no diff."""
    assert stopping_diff(source, seen(), "train.py") is None


def test_without_a_metric():
    """Where no held-out metric was seen there is no diff."""
    assert stopping_diff(TRAINING, seen("loss"), "train.py") is None
