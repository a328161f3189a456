from __future__ import annotations

import pytest

from tests.diagnosing import gpu
from tests.diagnosing.views import causes, found, phases, view

DONE = {
    "steps": 100,
    "tail_wall_s": 40.0,
    "phases": phases(setup=5.0, forward=20.0, backward=20.0, optimiser=15.0),
}
ENDED = {"counters": {"work_cpu_s": [min(60.0, t) for t in range(101)]}}


def test_after_work():
    """A program that stays open for minutes after its work could have ended."""
    finding = found(view(**DONE, cpu_s=60.0), **ENDED)[0]

    assert finding.cause == "idle_holder"
    assert finding.saving.wall_s.value == pytest.approx(38.0)


def test_left_alone():
    """A server that waits for requests, a run whose other processes still compute, and a program of which nothing was seen."""
    assert causes(view(**DONE, cpu_s=60.0, requests=10), **ENDED) == []
    assert causes(view(**DONE, cpu_s=60.0)) == []
    assert causes(view(tail_wall_s=40.0, cpu_s=60.0), **ENDED) == []


def test_held_gpu():
    """A GPU that stands by for minutes with a model in its memory is let go of, but for the time to load again."""
    power = [300.0] * 100 + [61.0] * 600 + [300.0] * 100 + [60.0] * 400
    finding = gpu.found(power, requests=12)[0]

    assert finding.cause == "idle_holder"
    assert finding.saving.wall_s.value == pytest.approx(600 + 400 - 2 * 30)
    assert "2 pauses" in finding.evidence
    assert "12 requests" in finding.evidence


def test_short_pauses():
    """Pauses of a minute are shorter than starting again is worth."""
    assert gpu.causes(([300.0] * 30 + [60.0] * 60) * 10) == []


def test_nothing_held():
    """A board on which nothing lies is nobody's."""
    assert gpu.causes([300.0] * 100 + [60.0] * 600, held=0.0) == []
