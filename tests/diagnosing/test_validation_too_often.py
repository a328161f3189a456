from __future__ import annotations

import pytest

from joulewise.vocabulary.library_calls import Boosting
from joulewise.vocabulary.observed import CurvePoint, Preparation
from tests.diagnosing.views import causes, evaluations, found, phases, view

TRAINED = phases(forward=10.0, backward=20.0, optimiser=10.0, validation=60.0)


def trainer(count: int, **fields):
    told = {
        "steps": 1000,
        "epochs": 4,
        "samples": 64_000,
        "batch_sizes": {64: 1000},
        "phases": TRAINED,
        "evaluations": evaluations([(n + 1) * 1000 // (count + 1) for n in range(count)]),
        "evaluation_calls": count,
    }
    return view(**{**told, **fields})


def test_once_an_epoch_is_kept():
    """Of 40 evaluations in four epochs, 36 are saved, at what they took from their first batch to their end."""
    finding = found(trainer(40))[0]

    assert finding.cause == "validation_too_often"
    assert finding.saving.cpu_s.value == pytest.approx(39.6)
    assert finding.saving.cpu_share == pytest.approx(0.396)
    assert "40 times in 4 epochs" in finding.evidence
    assert finding.remedy.text == "evaluate every 250 steps instead of every 24 (once per epoch)"


def test_healthy():
    """One evaluation an epoch is no waste, however long it takes."""
    assert causes(trainer(4)) == []


def test_cut_list():
    """Where only the first of many evaluations were kept, the others count at the same price."""
    whole = found(trainer(40))[0].saving.cpu_s.value
    cut = trainer(40, evaluations=trainer(40).evaluations[::2])
    assert found(cut)[0].saving.cpu_s.value == pytest.approx(whole)


@pytest.mark.parametrize(
    "where", ["train.py:teacher_logits", "q.py:rollout", "gan.py:sample", "rl.py:collect"]
)
def test_part_of_the_algorithm(where):
    """Forward passes without gradient that the algorithm needs are not validation."""
    steps = list(range(20, 1000, 20))
    assert causes(trainer(49, evaluations=evaluations(steps, where=where))) == []


def test_small_batches_are_no_validation():
    """A row of as few items as the training's own batch is part of the step (a target network)."""
    steps = list(range(1, 1000))
    seen = evaluations(steps, items=64, batch=64, seconds=0.06)
    assert causes(trainer(999, evaluations=seen)) == []


def test_without_epochs():
    """Where epochs are not known, nothing is said."""
    assert causes(trainer(40, epochs=None)) == []


def test_single_epoch():
    """A single epoch keeps ten points of its curve."""
    assert causes(trainer(10, epochs=1)) == []
    assert found(trainer(40, epochs=1))[0].saving.cpu_s.value == pytest.approx(33.0)


def test_folds():
    """Ten epochs of each of four models are forty: one evaluation for each is no waste."""
    curve = tuple(CurvePoint(float(n), 25 * n, float(n % 10), {"loss": 1.0}) for n in range(40))
    assert causes(trainer(40, epochs=10, curve=curve)) == []
    assert causes(trainer(40, epochs=10)) == ["validation_too_often"]


def in_batches(scored: int, rows: int, *, batches: int = 2000):
    """Return a process that learns from batches of 64 rows, of which the first 399 stand in the list, and scores."""
    fits = tuple(
        Preparation("SGD", "partial_fit", f"f{n}", "s", 64, 1, 0.01, 0.01, 0.0, 0.0) for n in range(399)
    )
    score = Preparation("SGD", "score", "v", "s", rows, scored, 50.0, 50.0, 0.0, 0.0)
    return view(
        preparations=(*fits, score),
        phases=phases(optimiser=(batches, 20.0), validation=(scored, 50.0), other=20.0),
    )


def test_partial_fits():
    """Of 400 scorings of 16,000 rows, while 128,000 were learnt, sixteen are kept."""
    finding = found(in_batches(400, 16_000))[0]

    assert finding.cause == "validation_too_often"
    assert finding.saving.cpu_s.value == pytest.approx(48.0)
    assert "scored 400 times while SGD learnt from 128000 rows in 2000 batches" in finding.evidence


def test_partial_fits_in_good_measure():
    """A small set that is scored now and then, and scorings once an epoch, are no waste."""
    assert causes(in_batches(20, 2_000)) == []
    assert causes(in_batches(40, 3_000)) == []
    assert causes(in_batches(400, 200)) == []
    whole = Preparation(
        "SGD", "partial_fit", "x", "s", 2000, 40, 20.0, 20.0, 0.0, 0.0
    )  # once an epoch, of a large held-out set
    score = Preparation("SGD", "score", "v", "s", 20_000, 40, 50.0, 50.0, 0.0, 0.0)
    assert (
        causes(view(preparations=(whole, score), phases=phases(optimiser=(40, 20.0), validation=(40, 50.0))))
        == []
    )


def rounds(set_rows=(1000, 50_000), trains=(True, False), eval_s=60.0):
    return view(
        boostings=(
            Boosting(
                "xgboost",
                300,
                1000,
                set_rows,
                trains,
                False,
                80.0,
                80.0,
                eval_s,
                eval_s,
                1,
                {"rmse": (1.0, 0.5)},
            ),
        )
    )


def test_sets_larger_than_what_is_learnt_from():
    """Of a held-out set fifty times the training set a fifth of the training set is kept."""
    finding = found(rounds())[0]

    assert finding.cause == "validation_too_often"
    assert finding.saving.cpu_s.value == pytest.approx(60 * (50_000 - 200) / 51_000)
    assert "a sample of 200" in finding.remedy.text


def test_sets_of_an_ordinary_size():
    """A held-out set no larger than the training set, and the training set itself, are nobody's waste."""
    assert causes(rounds(set_rows=(1000, 900))) == []
    assert causes(rounds(set_rows=(1000,), trains=(True,))) == []
