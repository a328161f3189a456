from __future__ import annotations

import pytest

from joulewise.vocabulary.observed import OptimiserView
from tests.diagnosing import gpu
from tests.diagnosing.views import causes, found, phases, view

STEPS = phases(setup=20.0, forward=30.0, backward=40.0, optimiser=10.0)


def trainer(**fields):
    return view(**{"steps": 1000, "precision": "float64", "device": "cpu", "phases": STEPS, **fields})


def test_doubles():
    """Arithmetic in float64 takes twice as long as in float32; what a call costs before it computes does not."""
    finding = found(trainer())[0]

    assert finding.cause == "precision_unused"
    assert finding.saving.cpu_s.value == pytest.approx(0.5 * (80 - 5 * 40e-6 * 1000))


def test_left_alone():
    """float32 on a CPU, a second-order optimiser, and steps that are all overhead."""
    assert causes(trainer(precision="float32")) == []
    assert causes(trainer(optimisers=(OptimiserView("LBFGS", 10, 1000),))) == []
    assert causes(trainer(steps=400_000)) == []


def test_on_a_gpu():
    """float32 without autocast on a board that computes: half of that time, within 1.3 to 3 times the speed."""
    seen = trainer(precision="float32", device="cuda:0")
    finding = gpu.found([60.0] * 20 + [600.0] * 80, seen, limit_w=700.0)[0]

    assert finding.cause == "precision_unused"
    assert finding.saving.wall_s.low < finding.saving.wall_s.value < finding.saving.wall_s.high
    assert finding.saving.wall_share == pytest.approx(0.5 * 80 / 100)
    assert "precision=bf16" in finding.remedy.text


@pytest.mark.parametrize("precision", ["bfloat16", "float16 (autocast)"])
def test_used_on_a_gpu(precision):
    """Whoever uses 16 bits already is told nothing."""
    seen = trainer(precision=precision, device="cuda:0")
    assert gpu.causes([60.0] * 20 + [600.0] * 80, seen, limit_w=700.0) == []


def test_idle_gpu():
    """A board that waits gains nothing from fewer digits."""
    seen = trainer(precision="float32", device="cuda:0")
    assert "precision_unused" not in gpu.causes([60.0] * 20 + [150.0] * 80, seen, limit_w=700.0)
