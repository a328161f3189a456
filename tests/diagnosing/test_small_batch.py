from __future__ import annotations

import pytest

from tests.diagnosing.views import causes, evaluations, found, phases, view

LIGHT = evaluations([16_000], items=10_000, seconds=0.05)  # 5 µs an item


def trainer(**fields):
    told = {
        "steps": 16_000,
        "epochs": 4,
        "samples": 64_000,
        "batch_sizes": {4: 16_000},
        "phases": phases(setup=10.0, forward=30.0, backward=40.0, optimiser=20.0),
        "evaluations": LIGHT,
        "evaluation_calls": 1,
    }
    return view(**{**told, **fields})


def test_steps_that_are_not_made():
    """Seven steps of eight are saved but for the arithmetic of their items."""
    finding = found(trainer())[0]
    arithmetic = 1.25 * 5e-6 * 64_000 * 3

    assert finding.cause == "small_batch"
    assert finding.saving.cpu_s.value == pytest.approx(7 / 8 * (90.0 - arithmetic), rel=0.01)
    assert "batch size 32 instead of 4" in finding.remedy.text
    assert finding.risk.startswith("the learning rate")


def test_heavy_items():
    """Items that cost as much in a large batch accuse nobody."""
    heavy = evaluations(
        [16_000], items=1000, seconds=0.37
    )  # 370 µs: 64,000 x 1.25 x 370 µs is the forward pass
    assert (
        causes(
            trainer(evaluations=heavy, phases=phases(setup=38.0, forward=29.5, backward=30.0, optimiser=0.5))
        )
        == []
    )


def test_without_a_large_batch():
    """Where no large batch was seen, only the optimiser's steps are claimed."""
    finding = found(trainer(evaluations=(), evaluation_calls=0))[0]
    assert finding.saving.cpu_s.value == pytest.approx(7 / 8 * 20.0)


@pytest.mark.parametrize(
    "fields",
    [
        {"batch_sizes": {16: 16_000}},
        {"batch_sizes": {64: 16_000}},
        {"steps": 2_000},  # eight batches a step
        {"steps": 300, "batch_sizes": {4: 300}},
        {"batch_sizes": {}},
    ],
)
def test_healthy(fields):
    """Batches of 16 and more, accumulated gradients and few steps are left alone."""
    assert causes(trainer(**fields)) == []
