from __future__ import annotations

import pytest

from tests.diagnosing import gpu
from tests.diagnosing.views import causes, found, phases, view


def rank(number, **fields):
    told = {
        "process": f"r{number}",
        "pid": 10 + number,
        "kind": "child",
        "world": 2,
        "steps": 4000,
        "batch_sizes": {32: 4000},
        "cpu_s": 50.0,
        "phases": phases(**{"import": 5.0}, forward=4.0, backward=30.0, optimiser=8.0, other=2.0),
    }
    return view(**{**told, **fields})


def test_exchange():
    """Two processes that mostly exchange gradients are better one: the exchange, a start-up and an optimiser are saved."""
    finding = found(rank(0), rank(1))[0]

    assert finding.cause == "poor_scaling"
    exchange = 2 * (30 - 2 * 4)
    assert finding.saving.cpu_s.value == pytest.approx(exchange + 0.5 * 2 * (5 + 8 + 2) + 0.5 * 3 * 2 * 0.16)
    assert finding.saving.wall_s.value == pytest.approx(22 - 3 * (4 - 0.16))


def test_worth_it():
    """Where the arithmetic is worth two processes, one would last longer: nothing is said."""
    heavy = phases(**{"import": 5.0}, forward=25.0, backward=55.0, optimiser=5.0)
    assert causes(rank(0, phases=heavy), rank(1, phases=heavy)) == []


def test_independent_processes():
    """Processes that do not train one model together are none of its ranks."""
    assert "poor_scaling" not in causes(rank(0, world=1), rank(1, world=1))


def test_spinning_boards():
    """Boards that read 100 % utilisation at little power wait for one another."""
    steps = phases(setup=10.0, **{"import": 10.0}, forward=30.0, backward=40.0, optimiser=10.0)
    ranks = [rank(n, device=f"cuda:{n}", precision="bfloat16", phases=steps) for n in range(2)]
    finding = gpu.found([60.0] * 20 + [200.0] * 80, *ranks, boards=2, limit_w=700.0, utilisation=1.0)[0]

    assert finding.cause == "poor_scaling"
    assert "NVML's utilisation said 100 %" in finding.evidence
    assert gpu.causes([60.0] * 20 + [600.0] * 80, *ranks, boards=2, limit_w=700.0, utilisation=1.0) == []
