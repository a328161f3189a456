from __future__ import annotations

from dataclasses import replace

import pytest

from tests.diagnosing.gpu import causes, found
from tests.diagnosing.test_slow_transforms import LOADER
from tests.diagnosing.views import causes as causes_on_cpu
from tests.diagnosing.views import phases, view

POWER = [60.0] * 20 + [250.0] * 80
STEPS = phases(setup=10.0, **{"import": 10.0}, data=60.0, forward=8.0, backward=8.0, optimiser=4.0)


def waiting(**fields):
    told = {
        "workers": 0,
        "wait_s": 60.0,
        "first_wait_s": 0.1,
        "fetch_s": 60.0,
        "fetch_cpu_s": 60.0,
        "same_items": 0,
    }
    return replace(LOADER, **{**told, **fields})


def trainer(loader, **fields):
    told = {"steps": 2000, "device": "cuda:0", "precision": "bfloat16", "phases": STEPS, "loaders": (loader,)}
    return view(**{**told, **fields})


def test_device_waits_for_items():
    """A GPU that stands by while the loop makes its items is worth workers, as many as the CPUs beside the loop."""
    finding = found(POWER, trainer(waiting()), limit_w=700.0)[0]

    assert finding.cause == "too_few_loader_workers"
    assert finding.remedy.text.startswith("num_workers=3 instead of 0")
    assert finding.saving.cpu_s.value < 0  # workers cost CPU time
    assert finding.saving.wall_share > 0.5
    assert finding.saving.energy_j is not None
    assert finding.saving.energy_j.value > 0


def test_costs_more_than_it_saves():
    """Without a GPU workers only move the work: more CPU seconds for fewer wall seconds are not advised."""
    assert causes_on_cpu(trainer(waiting(), device="cpu"), cpus=4.0) == []


@pytest.mark.parametrize(
    "fields", [{"wait_s": 0.5}, {"workers": 3}, {"in_memory": True}, {"evaluates": True}]
)
def test_left_alone(fields):
    """Loaders that keep up, have all the workers that there are CPUs for, hand out tensors, or only evaluate."""
    assert "too_few_loader_workers" not in causes(POWER, trainer(waiting(**fields)), limit_w=700.0)
