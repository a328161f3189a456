from __future__ import annotations

import pytest

from joulewise.diagnosing.devices import gpus, watts
from tests.diagnosing.gpu import GPU, gpu_case

QUIET, FED = [60.0] * 20, [600.0] * 80


def test_watts():
    """Power between ticks comes from the counter; a tick that could not be read makes a longer one."""
    made = gpu_case(QUIET + FED)
    made.recording.ticks.energy_j[GPU.id][10] = None
    power = watts(made.recording, GPU)

    assert len(power) == 99
    assert power[9] == (9.0, 11.0, 60.0)


def test_busy_by_power():
    """Without SM activity and a limit, a board is as busy as its power stands between standing by and its 95th percentile."""
    (use,) = gpus(gpu_case(QUIET + FED[:40] + [330.0] * 40), 20.0, 100.0)

    assert use.known_by == "power"
    assert (use.standing_w, use.mean_w) == (60.0, 465.0)
    assert use.busy is not None
    assert use.busy.value == pytest.approx(0.75)


def test_busy_by_limit():
    """With the board's limit, pulses shorter than a tick are seen: half of the power is not all of it."""
    (use,) = gpus(gpu_case(QUIET + [210.0] * 80, limit_w=700.0), 20.0, 100.0)

    assert use.busy is not None
    assert use.busy.value == pytest.approx(150 / 640 / 0.8)
    assert use.busy.low < use.busy.value < use.busy.high


def test_busy_by_sm_activity():
    """SM activity goes before power, and NVML's utilisation counts for nothing."""
    (use,) = gpus(gpu_case(QUIET + FED, activity=0.2, utilisation=0.99), 20.0, 100.0)

    assert use.known_by == "SM activity"
    assert use.busy is not None
    assert use.busy.value == pytest.approx(0.25)
    assert use.utilisation == pytest.approx(0.99)


def test_cannot_be_told():
    """A board at constant power may be fed or asleep: nothing is said of it."""
    (use,) = gpus(gpu_case([600.0] * 100), 20.0, 100.0)
    assert use.busy is None
