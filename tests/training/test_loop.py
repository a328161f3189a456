"""The plain loop: the metric's direction, the moment to keep the weights, and drops brought forward."""

from __future__ import annotations

import pytest

import joulewise
from joulewise.training.loop import direction
from joulewise.training.schedule import Schedule
from joulewise.training.stopping import replay
from joulewise.vocabulary.errors import UsageError

from .curves import saturating, stepped


def test_a_loop_stops_and_keeps_the_best():
    """A loop that asks after each epoch ends early, kept the best state, and replays to the same decision."""
    curve = saturating(noise=0.0005)
    stopping = joulewise.stopping("val_accuracy", horizon=60)
    kept = None
    for epoch, value in zip(curve.steps, curve.values, strict=True):
        decision = stopping.update(epoch, value)
        if stopping.improved:
            kept = epoch
        if decision.stops:
            break

    assert epoch < 45
    assert kept == decision.best_step
    assert replay(curve, Schedule(horizon=60)).decision == decision == stopping.decision


def test_a_drop_brought_forward():
    """When the decision is to drop now, the loop says so, drops, and is judged by the new rate from there."""
    stopping = joulewise.stopping("loss", schedule=Schedule(horizon=60, drops=(50,)))
    at_rest = stepped(drop=45)
    for step, value in zip(at_rest.steps, at_rest.values, strict=True):
        stopping.update(step, value)
        if stopping.should_drop:
            break
    stopping.dropped(step)

    assert step < 45
    assert stopping.schedule.drops == (step,)
    assert not stopping.update(step + 1, 0.45).stops
    with pytest.raises(UsageError, match="no drop of the learning rate is planned after step 50"):
        stopping.dropped(50)


def test_a_metric_never_logged():
    """Asking for the decision of a metric that was never logged names it and says what to call."""
    with pytest.raises(UsageError, match=r"metric 'val_loss' was never logged; call update"):
        _ = joulewise.stopping("val_loss", horizon=10).decision
    assert not joulewise.stopping("val_loss", horizon=10).improved


@pytest.mark.parametrize(("step", "value"), [(1, "high"), ("one", 0.5), (1, None)])
def test_a_metric_that_is_no_number(step, value):
    """A value or a step that is no number is refused in one line, and the curve stays as it was."""
    stopping = joulewise.stopping("val_loss", horizon=10)
    with pytest.raises(UsageError, match=r"metric 'val_loss' is .*, but both must be numbers"):
        stopping.update(step, value)
    assert not len(stopping.curve)


@pytest.mark.parametrize(
    ("metric", "higher"),
    [
        ("val_accuracy", True),
        ("valid/loss", False),
        ("binary_logloss", False),
        ("AUC", True),
        ("top-5 error", False),
    ],
)
def test_direction_by_name(metric, higher):
    """A metric's name says which way is better."""
    assert direction(metric) is higher
    assert direction(metric, higher) is higher


def test_direction_unknown():
    """A name that says nothing needs the direction, and takes it."""
    with pytest.raises(UsageError, match="does not say which way is better"):
        direction("quux")
    assert direction("quux", higher_is_better=False) is False
    with pytest.raises(UsageError, match="does not say which way is better"):
        direction("accuracy_loss")


def test_direction_contradicted():
    """A direction that contradicts the metric's name is refused."""
    with pytest.raises(
        UsageError, match="'val_loss' is said to be better higher, and its name says the opposite"
    ):
        joulewise.stopping("val_loss", horizon=10, higher_is_better=True)


def test_two_horizons():
    """A horizon beside a schedule is refused, for they might differ."""
    with pytest.raises(UsageError, match="give one of them"):
        joulewise.stopping("loss", horizon=10, schedule=Schedule(horizon=20))
