from __future__ import annotations

import pytest

from tests.diagnosing.gpu import causes, found
from tests.diagnosing.views import phases, view

START = [60.0] * 20
STEPS = phases(setup=10.0, **{"import": 10.0}, forward=30.0, backward=30.0, optimiser=15.0, data=5.0)


def trainer(**fields):
    return view(**{"steps": 20_000, "device": "cuda:0", "precision": "bfloat16", "phases": STEPS, **fields})


def test_python_between_kernels():
    """A board at a quarter of its power while Python computes all the time waits for its host."""
    finding = found(START + [210.0] * 80, trainer(), limit_w=700.0)[0]

    assert finding.cause == "host_bound_device"
    busy = 150 / 640 / 0.8
    assert finding.saving.wall_s.value == pytest.approx(0.85 * ((1 - busy) * 80 - 5))
    assert finding.saving.wall_s.low < finding.saving.wall_s.value < finding.saving.wall_s.high
    assert "NVML's utilisation said 95 %" in finding.evidence


def test_fed():
    """A board that draws what it can is fed, whatever its utilisation says."""
    assert causes(START + [600.0] * 80, trainer(), limit_w=700.0, utilisation=0.4) == []


def test_sm_activity_goes_before_power():
    """Few watts with busy multiprocessors are memory-bound kernels, no idle board."""
    assert causes(START + [210.0] * 80, trainer(), limit_w=700.0, activity=0.9) == []


def test_waiting_for_the_loader():
    """What the loop waits for its loader is the loader's, not the host's."""
    waiting = phases(setup=10.0, **{"import": 10.0}, forward=5.0, backward=5.0, optimiser=5.0, data=65.0)
    assert "host_bound_device" not in causes(START + [210.0] * 80, trainer(phases=waiting), limit_w=700.0)


def test_waiting_for_the_device():
    """A main thread that sleeps in its calls waits for the board, not the board for it."""
    asleep = tuple(
        type(p)(p.phase, p.calls, p.wall_s, 0.1 * p.wall_s if p.phase != "import" else p.wall_s)
        for p in STEPS
    )
    assert causes(START + [210.0] * 80, trainer(phases=asleep), limit_w=700.0) == []
