from __future__ import annotations

from dataclasses import replace

import pytest

from joulewise.catalogue.place import place
from joulewise.diagnosing import diagnose
from joulewise.measuring.accounting import account
from joulewise.vocabulary.recording import Point
from tests.diagnosing import gpu
from tests.diagnosing.views import case, causes, found, phases, view

DONE = {
    "steps": 100,
    "tail_wall_s": 40.0,
    "phases": phases(setup=5.0, forward=20.0, backward=20.0, optimiser=15.0),
}
ENDED = {"work_cpu_s": [min(60.0, t) for t in range(101)]}


def test_after_work():
    """A program that stays open for minutes after its work could have ended."""
    finding = found(view(**DONE, cpu_s=60.0), counters=ENDED)[0]

    assert finding.cause == "idle_holder"
    assert finding.saving.wall_s.value == pytest.approx(38.0)


def test_left_alone():
    """A server that waits for requests, a run whose other processes still compute, and a program of which nothing was seen."""
    assert causes(view(**DONE, cpu_s=60.0, requests=10), counters=ENDED) == []
    assert causes(view(**DONE, cpu_s=60.0)) == []
    assert causes(view(tail_wall_s=40.0, cpu_s=60.0), counters=ENDED) == []


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


def _served(requests: list[tuple[float, int]], role: str = "serve"):
    laid = case(seconds=2000, cpus=0.01)
    points = tuple(Point(t, {"requests": n, "standing_by_cpu_s": 4.0}) for t, n in requests)
    recorded = replace(laid.recording, points=points, role=role)
    return diagnose(recorded, (), account(recorded, place(zone="DE")), allow_slower=True)


def test_a_server_of_ours_that_stayed_awake():
    """A served period with long pauses between requests names what standing by cost in them; traffic and short pauses do not."""
    finding = _served([(0.0, 0), (100.0, 20), (1100.0, 21), (1500.0, 21)])[0]

    assert finding.cause == "idle_holder"
    assert finding.saving.wall_s.value == pytest.approx(940 - 1 + 400 - 1 + 500 - 1)
    assert "21 requests came in all, and none in 3 pauses" in finding.evidence
    assert _served([(200.0 * k, 10 * k) for k in range(11)]) == ()
    assert _served([(0.0, 0), (1900.0, 20)], role="run") == ()
