from __future__ import annotations

import pytest

from joulewise.diagnosing.over_training import early_stop, held_out_curve, stopped_by_itself
from joulewise.vocabulary.library_calls import Boosting
from joulewise.vocabulary.observed import CurvePoint, OptimiserView
from tests.diagnosing.views import causes, curve, evaluations, found, phases, view

PLATEAU = [0.5, 0.6, 0.7, 0.75, 0.78, 0.8] + [0.8, 0.799, 0.798] * 8


def trainer(values, name="val_acc", **fields):
    epochs = len(values)
    told = {
        "steps": 10 * epochs,
        "epochs": epochs,
        "samples": 640 * epochs,
        "batch_sizes": {64: 10 * epochs},
        "phases": phases(setup=10.0, forward=30.0, backward=40.0, optimiser=20.0),
        "evaluations": evaluations([10 * (e + 1) for e in range(epochs)], items=2000, seconds=0.0),
        "evaluation_calls": epochs,
        "curve": curve(name, values),
    }
    return view(**{**told, **fields})


def test_epochs_after_the_stop():
    """The epochs after six without improvement are saved: 18 of 30 here."""
    finding = found(trainer(PLATEAU))[0]

    assert finding.cause == "over_training"
    assert finding.saving.cpu_s.value == pytest.approx(90.0 * 18 / 30)
    assert finding.saving.cpu_s.low < finding.saving.cpu_s.value < finding.saving.cpu_s.high
    assert "after 12 of 30 epochs" in finding.evidence


def test_a_loss_counts_too():
    """A held-out loss is better when it is smaller."""
    assert causes(trainer([1 - v for v in PLATEAU], "val_loss")) == ["over_training"]


@pytest.mark.parametrize("name", ["train_acc", "best_val_acc", "loss_value", "epoch_time"])
def test_other_metrics_say_nothing(name):
    """What was trained on, a running best or no metric at all accuses nobody."""
    assert causes(trainer(PLATEAU, name)) == []


def test_late_improvement():
    """A plateau that a later epoch leaves is no waste: the whole schedule is in view."""
    assert causes(trainer([*PLATEAU[:-3], 0.85, 0.86, 0.86])) == []


def test_pending_drop():
    """Nothing is said where the learning rate was still to fall at the stop."""
    rates = ((0, 0.1), (250, 0.001))
    assert causes(trainer(PLATEAU, optimisers=(OptimiserView("SGD", 1, 300, rates),))) == []


def test_decayed_rate():
    """A rate that had long fallen promises nothing more."""
    rates = tuple((10 * e, 0.1 * 0.6**e) for e in range(30))
    assert causes(trainer(PLATEAU, optimisers=(OptimiserView("SGD", 1, 300, rates),))) == ["over_training"]


@pytest.mark.parametrize(
    ("epochs", "best", "own"), [(20, 12, True), (33, 17, True), (30, 5, False), (45, 12, False)]
)
def test_stopped_by_itself(epochs, best, own):
    """A run that ended within ten epochs of its best, or a usual patience after it, has stopped by itself."""
    assert stopped_by_itself(epochs, best) is own


def test_framework_stops():
    """A run with its framework's early stopping is left alone."""
    assert causes(trainer(PLATEAU, early_stop="EarlyStopping")) == []


@pytest.mark.parametrize(
    ("values", "stop"), [([1, 2, 3], None), ([3, 1, 1, 1], 2), ([1, 3, 2, 2, 4], 3), ([], None)]
)
def test_early_stop(values, stop):
    """Early stopping with a patience of two ends at the second epoch without improvement."""
    assert early_stop(values, 2) == stop


def test_last_of_an_epoch():
    """Of several values in one epoch the last is its own."""
    seen = trainer(PLATEAU)
    twice = curve("val_acc", [0.1] * 30)
    both = view(**{**{f: getattr(seen, f) for f in seen.__slots__}, "curve": (*twice, *seen.curve)})
    found_curve = held_out_curve(both)
    assert found_curve is not None
    assert found_curve.values == tuple(PLATEAU)


def test_values_that_stay():
    """The agent tells a metric when it has changed: an epoch without a value had the last one's, at the end, too."""
    values = [0.5, 0.6, 0.6, 0.7, 0.7, 0.7]
    told = tuple(p for p in curve("val_acc", values) if p.epoch in (0, 1, 3))
    found_curve = held_out_curve(trainer(values, curve=told))

    assert found_curve is not None
    assert list(found_curve.values) == values


FALLS = [1 / (1 + n) for n in range(50)]


def booster(values, name="logloss", **fields):
    told = {
        "library": "xgboost", "rounds": len(values), "rows": 5000, "set_rows": (1000,), "trains": (False,), "stops": False,
        "wall_s": 80.0, "cpu_s": 80.0, "eval_wall_s": 1.0, "eval_cpu_s": 1.0, "every": 1, "curves": {name: tuple(values)},
    }  # fmt: skip
    return view(boostings=(Boosting(**{**told, **fields}),))


def test_rounds_after_the_last_better_one():
    """Of 500 rounds whose loss rises after 50, an early stop with a patience of thirty leaves 80."""
    finding = found(booster(FALLS + [0.5] * 450))[0]

    assert finding.cause == "over_training"
    assert finding.saving.cpu_s.value == pytest.approx(0.97 * 80 * 420 / 500)
    assert "after 80 of 500 rounds" in finding.evidence
    assert "early_stopping_rounds=30" in finding.remedy.text


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ([1 / (1 + n) for n in range(500)], {}),  # every round is worth it
        (FALLS + [0.5] * 300 + [0.001] * 150, {}),  # a late improvement
        (FALLS + [0.5] * 450, {"stops": True}),
        (FALLS + [0.5] * 450, {"trains": (True,)}),  # the training set tells nothing
        (FALLS + [0.5] * 12, {}),
        ([], {}),
    ],
)
def test_rounds_left_alone(values, fields):
    """Curves that improve, rounds that stop by themselves, and curves of the training set."""
    assert causes(booster(values, **fields)) == []


def test_a_score_of_rounds():
    """A score's curve is read the other way round; one that was thinned out has its patience in rounds all the same."""
    rising = [1 - v for v in FALLS] + [0.5] * 450

    assert causes(booster(rising, "auc")) == ["over_training"]
    assert causes(booster(rising, "logloss")) == ["over_training"]  # as a loss it only rose
    thinned = found(booster(FALLS + [0.5] * 450, rounds=5000, every=10))[0]
    assert "after 530 of 5000 rounds" in thinned.evidence


def by_hand(values, name="val_acc", **rates):
    """Return a program without a framework: a line a second, a value for each epoch."""
    told = {name: values, **rates}
    points = tuple(
        CurvePoint(float(e), e + 1, float(e), {k: v[e] for k, v in told.items()}) for e in range(len(values))
    )
    return view(epochs=len(values), curve=points, phases=phases(other=95.0))


def test_without_a_framework():
    """A numpy program's own lines tell when each epoch ended: those after an early stop are saved."""
    finding = found(by_hand([0.5, 0.6, 0.7, 0.8, *[0.79] * 86]))[0]

    assert finding.cause == "over_training"
    assert finding.saving.cpu_s.value == pytest.approx(90 - 1 - 9)
    assert "after 10 of 90 epochs" in finding.evidence


@pytest.mark.parametrize(
    "seen",
    [
        by_hand([0.5, 0.6, 0.7, 0.8, *[0.79] * 76, *[0.85] * 10]),  # a late improvement
        by_hand([0.8, *[0.79] * 9]),  # within a usual patience
        by_hand([0.5, 0.6, 0.7, 0.8, *[0.79] * 86], name="train_acc"),
        by_hand(
            [0.5, 0.6, 0.7, 0.8, *[0.79] * 86], lr=[0.1] * 80 + [0.001] * 10
        ),  # the rate was to come down
    ],
)
def test_without_a_framework_left_alone(seen):
    """Late improvements, short runs, training metrics, and rates that are still to come down."""
    assert causes(seen) == []
