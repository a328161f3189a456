from __future__ import annotations

import pytest

from joulewise.diagnosing.oversized_model import left
from joulewise.vocabulary.observed import FileRead
from tests.diagnosing.views import causes, curve, evaluations, found, phases, view

SHAPES = ((1024, 64), (1024, 1024), (10, 1024))
SOLVED = [0.999, 1.0, 1.0, 1.0, 1.0]
STEPS = phases(forward=20.0, backward=40.0, optimiser=30.0, validation=2.0)


def trainer(values=tuple(SOLVED), **fields):
    told = {
        "steps": 500,
        "epochs": 5,
        "samples": 40_000,
        "dataset_items": 8000,
        "batch_sizes": {80: 500},
        "parameters": 1_126_400,
        "shapes": SHAPES,
        "phases": STEPS,
        "curve": curve("val_acc", list(values)),
        "evaluations": evaluations([100, 200, 300, 400, 500], items=2000, seconds=0.4),
        "evaluation_calls": 5,
    }
    return view(**{**told, **fields})


def test_left():
    """At a quarter of the width hidden layers keep a sixteenth, the first and the last a quarter."""
    share, _ = left(SHAPES)
    assert share == pytest.approx(
        (1024 * 64 / 4 + 1024 * 1024 / 16 + 10 * 1024 / 4) / (1024 * 64 + 1024 * 1024 + 10 * 1024)
    )


def test_solved_at_once():
    """A task that is solved in the first epoch by a hundred weights an example takes a narrower model."""
    finding = found(trainer())[0]

    assert finding.cause == "oversized_model"
    assert finding.saving.cpu_share == pytest.approx(0.92 * (1 - left(SHAPES)[0]), rel=0.01)
    assert "256 instead of 1024" in finding.remedy.text


def test_still_learning():
    """A metric that is not perfect, or became so slowly, tells nothing of the model's size."""
    assert causes(trainer([0.90, 0.91, 0.92, 0.92, 0.92])) == []
    assert causes(trainer([0.70, 0.90, 0.98, 0.99, 1.0])) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"parameters": 20_000},
        {"shapes": ((64, 3, 3, 3), (10, 1024))},
        {"shapes": ()},
        {"files": (FileRead("resnet.safetensors", 1, 10),)},
        {"curve": ()},
    ],
)
def test_left_alone(fields):
    """Few weights, convolutions, unknown layers, fine-tuning, and no held-out metric."""
    assert causes(trainer(**fields)) == []
