from __future__ import annotations

import pytest

from joulewise.diagnosing.quality import Quality, equal, quality
from joulewise.vocabulary.observed import Preparation
from tests.diagnosing.test_over_training import PLATEAU, trainer
from tests.diagnosing.views import view


def test_best_of_the_curve():
    """A run's quality is the best of its held-out metric."""
    assert quality([trainer(PLATEAU)]) == Quality("val_acc", 0.8, 1.0, 2000)
    loss = quality([trainer([1 - v for v in PLATEAU], "val_loss")])
    assert loss is not None
    assert loss.value == pytest.approx(0.2)
    assert loss.sign == -1.0


def test_what_was_logged():
    """Without a curve, the best logged score counts; what was trained on does not."""
    logged = [{"train_acc": 0.99, "acc": 0.7}, {"acc": 0.8, "epoch": 2}, {"acc": 0.75}]
    assert quality([], logged) == Quality("acc", 0.8, 1.0)
    assert quality([], [{"loss": 0.1}]) is None


def test_scores_of_rows_that_none_was_fitted_on():
    """Without a curve or a log, the best score of scikit-learn's kind on held-out rows counts."""
    made = ("settings", 300, 1, 0.1, 0.1, 0.0, 0.0)
    fit = Preparation("SVC", "fit", "train", *made)
    scores = [
        Preparation("SVC", "score", rows, *made, score=value)
        for rows, value in (("train", 1.0), ("held", 0.8), ("held", 0.9))
    ]

    assert quality([view(preparations=(fit, *scores))]) == Quality("score", 0.9, 1.0, 300)
    assert quality([view(preparations=(fit, scores[0]))]) is None


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        (Quality("acc", 0.80, 1.0, 2000), Quality("acc", 0.79, 1.0, 2000), True),  # noise: 0.025
        (Quality("acc", 0.80, 1.0, 2000), Quality("acc", 0.77, 1.0, 2000), False),
        (Quality("acc", 0.80, 1.0, 2000), Quality("acc", 0.90, 1.0, 2000), True),  # better
        (Quality("acc", 0.80, 1.0), Quality("acc", 0.79, 1.0), False),
        (Quality("val_loss", 1.0, -1.0), Quality("val_loss", 1.04, -1.0), True),
        (Quality("val_loss", 1.0, -1.0), Quality("val_loss", 1.06, -1.0), False),
        (Quality("acc", 0.8, 1.0), Quality("f1", 0.8, 1.0), None),
        (None, Quality("acc", 0.8, 1.0), None),
    ],
)
def test_equal(before, after, same):
    """Equal is what is no worse beyond the noise; unlike metrics cannot be compared."""
    assert equal(before, after) is same
