"""The pure decision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from joulewise.searching.deciding import Rules, decide, expected_improvement, failed_as, looked_at, next_rung
from joulewise.searching.history import State, Step, Trial
from joulewise.searching.space import Choice, Float, Space
from joulewise.vocabulary.errors import UsageError

SPACE = Space({"x": Float(0.0, 1.0), "cheap": Float(0.0, 1.0)})
RULES = Rules(epochs=27, seed=1)


def seen(count=10, epochs=3, seed=0):
    rng = np.random.default_rng(seed)
    return [
        Trial(
            i,
            p,
            tuple(1 - (p[0] - 0.3) ** 2 - 0.5 / e for e in range(1, epochs + 1)),
            (1.0 + 9 * p[1],) * epochs,
        )
        for i, p in enumerate(rng.random((count, 2)))
    ]


def _there(point):
    assert point is not None
    return point


def test_pure():
    """The same trials, beliefs and rules give the same decision, and nothing that was given is changed."""
    trials = seen()
    one, believed = decide(SPACE, trials, None, RULES)
    other, _ = decide(SPACE, trials, None, RULES)

    assert (one.step, one.trial, one.until, one.reason) == (
        other.step,
        other.trial,
        other.until,
        other.reason,
    )
    assert believed is not None
    assert [t.epoch for t in trials] == [3] * 10


def test_begins_at_the_centre():
    """The first trial is the centre of the space, and every decision has a reason."""
    decision, beliefs = decide(SPACE, [], None, RULES)

    assert decision.step is Step.START
    assert decision.point == pytest.approx([0.5, 0.5], abs=0.01)
    assert "one of the first 8 points; first to epoch 3" in decision.reason
    assert beliefs is None


def test_promotes_a_winner():
    """A paused trial far ahead of the others goes on to its next rung, not to its end."""
    trials = seen()
    trials[4] = replace(trials[4], values=tuple(v + 1 for v in trials[4].values))

    decision, _ = decide(SPACE, trials, None, RULES)

    assert decision.step is Step.PROMOTE
    assert decision.trial == 4
    assert decision.until == next_rung(3, RULES) < RULES.epochs
    assert "its end is forecast at" in decision.reason


def test_cost_counts():
    """With the cost term, new trials are cheaper than without it."""
    costs = {}
    for power in (0.0, 1.0):
        rules = replace(RULES, cost_power=power)
        trials = seen()
        for _ in range(12):
            decision, _ = decide(SPACE, trials, None, rules)
            if decision.step is Step.START:
                p = _there(decision.point)
                trials.append(
                    Trial(
                        len(trials),
                        p,
                        tuple(1 - (p[0] - 0.3) ** 2 - 0.5 / e for e in (1, 2, 3)),
                        (1.0 + 9 * p[1],) * 3,
                    )
                )
            else:
                t = trials[decision.trial]
                more = range(t.epoch + 1, decision.until + 1)
                trials[decision.trial] = replace(
                    t,
                    values=(*t.values, *(1 - (t.point[0] - 0.3) ** 2 - 0.5 / e for e in more)),
                    costs_j=(*t.costs_j, *(t.costs_j[0] for _ in more)),
                )
        costs[power] = sum(t.spent_j for t in trials[10:]) / sum(t.epoch for t in trials[10:])

    assert costs[1.0] < costs[0.0]


def test_never_twice():
    """In a space of four configurations each is tried once, then the search says that nothing is left."""
    space = Space({"a": Choice((1, 2)), "b": Choice((1, 2))})
    trials: list[Trial] = []
    beliefs = None
    for _ in range(60):
        decision, beliefs = decide(space, trials, beliefs, Rules(epochs=3))
        if decision.step is Step.STOP:
            break
        if decision.step is Step.START:
            trials.append(Trial(len(trials), _there(decision.point)))
        t = trials[decision.trial]
        count = decision.until
        trials[decision.trial] = replace(
            t,
            values=tuple(0.1 * t.number - 1 / e for e in range(1, count + 1)),
            costs_j=(1.0,) * count,
            state=State.COMPLETE if count == 3 else State.PAUSED,
        )

    keys = [space.key(space.configuration(t.point)) for t in trials]
    assert len(keys) == len(set(keys)) == 4
    assert decision.step is Step.STOP
    assert decision.reason.startswith("every configuration of the space has been tried")


def test_trials_of_the_budget():
    """When all trials are started, only a paused one with a chance goes on; without a chance the search ends."""
    trials = seen()
    rules = replace(RULES, most_trials=10)

    assert decide(SPACE, trials, None, rules)[0].step is Step.PROMOTE

    hopeless = [replace(t, values=tuple(v - 3 for v in t.values)) for t in trials]
    hopeless[0] = Trial(
        0, trials[0].point, tuple(1 - 0.5 / e for e in range(1, 28)), (1.0,) * 27, State.COMPLETE
    )
    decision, _ = decide(SPACE, hopeless, None, rules)
    assert decision.step is Step.STOP
    assert "has a chance of 5 % to beat the best" in decision.reason


def test_blind_falls_back():
    """Where early values tell nothing, a new trial is trained in full and says why."""
    rng = np.random.default_rng(4)
    trials = [
        Trial(i, p, (*[-p[0]] * 26, 2 + p[0]), (1.0,) * 27, State.COMPLETE)
        for i, p in enumerate(rng.random((12, 2)))
    ]  # whoever is behind early wins late

    decision, _ = decide(SPACE, trials, None, RULES)

    assert decision.step is Step.START
    assert decision.until == 27
    assert "ranks hold at" in decision.reason


def test_failed_is_learnt_from():
    """Settings next to failed trials are not proposed while there are others: few starts in the failing third."""
    space = Space({"x": Float(0.0, 1.0)})
    trials: list[Trial] = []
    beliefs = None
    for _ in range(30):
        decision, beliefs = decide(space, trials, beliefs, Rules(epochs=9, seed=2))
        if decision.step is Step.START:
            x = float(_there(decision.point)[0])
            if x > 0.6:
                trials.append(Trial(len(trials), _there(decision.point), state=State.FAILED, why="raised"))
                continue
            trials.append(Trial(len(trials), _there(decision.point)))
        t = trials[decision.trial]
        trials[decision.trial] = replace(
            t,
            values=tuple(float(t.point[0]) - 0.1 / e for e in range(1, decision.until + 1)),
            costs_j=(1.0,) * decision.until,
            state=State.COMPLETE if decision.until == 9 else State.PAUSED,
        )

    later = [t for t in trials[8:] if t.state is State.FAILED]
    assert len(later) <= len(trials[8:]) / 2
    assert failed_as(Trial(0, np.zeros(1), (1.0,)), -3.0, 3).values == (1.0, -3.0, -3.0)


def test_started_but_not_trained():
    """A trial whose process died in its first epoch is the next to be trained, before anything new."""
    trials = [*seen(9), Trial(9, np.array([0.2, 0.2]))]

    decision, _ = decide(SPACE, trials, None, RULES)

    assert decision.step is Step.PROMOTE
    assert decision.trial == 9
    assert "started, but not trained" in decision.reason


def test_long_studies():
    """Of many trials the model sees the best and the latest, so that a decision stays cheap."""
    trials = [Trial(i, np.array([0.5, 0.5]), (float(i % 500),), (1.0,)) for i in range(1000)]

    kept = looked_at(trials)

    assert len(kept) == 180
    assert {499, *range(940, 1000)} <= {t.number for t in kept}
    assert [t.number for t in kept] == sorted(t.number for t in kept)
    assert looked_at(trials[:180]) == trials[:180]


def test_repeated_epochs_count():
    """A paused trial that cannot resume is dearer to finish, so that its equal that can is preferred."""
    trials = seen()
    good = tuple(v + 1 for v in trials[4].values)
    trials[4] = replace(trials[4], values=good, resumable=False, costs_j=(1.0,) * 3)
    trials[5] = replace(trials[5], point=trials[4].point + 1e-4, values=good, costs_j=(1.0,) * 3)

    assert decide(SPACE, trials, None, replace(RULES, most_trials=10))[0].trial == 5


def test_expected_improvement():
    """It is the mean of what lies above the best, as drawing shows; far below there is none, and no fault."""
    draws = np.random.default_rng(0).normal(0.2, 0.5, 400_000)

    told = expected_improvement(np.array([0.2, -100.0]), np.array([0.5, 0.5]), 0.6)

    assert told[0] == pytest.approx(np.maximum(draws - 0.6, 0).mean(), rel=0.02)
    assert told[1] == pytest.approx(0.0)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"first": 1}, {"growth": 1.0}, {"cost_power": -1.0}])
def test_rules_refused(wrong):
    """Rules with which nothing could be decided are refused."""
    with pytest.raises(UsageError, match="must be at least"):
        Rules(**{"epochs": 9, **wrong})
