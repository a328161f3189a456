from __future__ import annotations

from dataclasses import replace

import pytest

from joulewise.vocabulary.observed import Evaluation
from tests.diagnosing.views import causes, found, phases, view

ONE_BY_ONE = Evaluation(20.0, 120, 70_000, 70_000, 70.0, 70.0, "score.py:main")


def scorer(row=ONE_BY_ONE, **fields):
    told = {
        "steps": 120,
        "samples": 12_000,
        "batch_sizes": {100: 120},
        "phases": phases(setup=20.0, forward=0.6, backward=1.0, optimiser=0.4, validation=70.0),
        "evaluations": (row,),
        "evaluation_calls": 1,
    }
    return view(**{**told, **fields})


def test_what_a_batch_leaves():
    """Saved is what the items would not cost in a large batch, known from the training's own passes."""
    finding = found(scorer())[0]
    left = 1.1 * 70_000 * 0.6 / 12_000 / 1.25

    assert finding.cause == "unbatched_inference"
    assert finding.saving.cpu_s.value == pytest.approx(
        70.0 - 5e-6 * 70_000 - left
    )  # the agent took 5 µs a pass itself
    assert "70000 forward passes of 1 item" in finding.evidence


def test_least_is_claimed():
    """Without any large batch, only what a call costs at least is claimed."""
    row = replace(ONE_BY_ONE, step=0, wall_s=7.0, cpu_s=7.0)
    alone = scorer(
        row, steps=0, samples=0, batch_sizes={}, cpu_s=10.0, duration_s=10.0, phases=phases(forward=7.0)
    )

    assert found(alone, seconds=10)[0].saving.cpu_s.value == pytest.approx(70_000 * 40e-6 * 63 / 64)


@pytest.mark.parametrize(
    "change",
    [
        {"where": "write.py:generate"},
        {"where": "play.py:rollout"},
        {"thread": "Thread-1"},
        {"step": 60},  # between training steps
        {"batches": 100, "items": 100},
        {"batches": 1000},  # 70 a batch
    ],
)
def test_cannot_be_batched(change):
    """Generation, play, requests and passes between training steps are left alone."""
    assert causes(scorer(replace(ONE_BY_ONE, **change))) == []


def test_items_arrive():
    """A process that waits between its items takes them as they come."""
    assert causes(scorer(phases=phases(forward=1.0, validation=40.0, waiting=50.0))) == []


def test_heavy_items():
    """Items that cost as much in a large batch accuse nobody."""
    assert causes(scorer(phases=phases(forward=12_000 * 1.25e-3, validation=70.0))) == []
