from __future__ import annotations

from dataclasses import replace

import pytest

from joulewise.measuring.agent.joules import attributed
from joulewise.measuring.attribution import attribute
from joulewise.testing.recordings import recording
from joulewise.vocabulary.figures import Basis, Boundary
from joulewise.vocabulary.recording import Component, Device
from tests.vocabulary.test_observed import HEAD, PAGE


def test_joules_follow_cpu_seconds():
    """Phases share the work's processor joules by CPU seconds; all seconds together make all joules."""
    cpu = Device("cpu", Component.CPU, "test", Basis.MEASURED, Boundary.DEVICE, 0.0, 0.0, "a test")
    whole = recording([cpu], {"cpu": 50.0})
    used_s = next(s for s in reversed(whole.ticks.counters["work_cpu_s"]) if s is not None)
    phases = {"forward": [1, 3.0, used_s * 0.25, 0], "backward": [1, 7.0, used_s * 0.75, 0]}
    seen = {"h-7-1": {"head": HEAD, "page": {**PAGE, "cpu_s": used_s, "phases": phases}}}
    (view,) = attributed(replace(whole, seen=seen))
    cpu_j = sum(
        d.work_j.value
        for d in attribute(whole).devices
        if d.work_j and d.device.component is Component.CPU and d.device.counted
    )

    assert view.phase("forward").energy_j == pytest.approx(cpu_j * 0.25)
    assert sum(p.energy_j or 0.0 for p in view.phases) == pytest.approx(cpu_j)


def test_no_processor():
    """Without processor joules the phases have none: unknown, not zero."""
    seen = {"h-7-1": {"head": HEAD, "page": {**PAGE, "phases": {"forward": [1, 3.0, 1.0, 0]}}}}
    (view,) = attributed(replace(recording([], {}), seen=seen))

    assert all(p.energy_j is None for p in view.phases)
