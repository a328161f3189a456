"""Runs on a GPU, made of the telemetry that a recorder keeps: watts by the second, memory, utilisation, SM activity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

from joulewise.catalogue.place import place
from joulewise.diagnosing import Case, diagnose
from joulewise.measuring.accounting import account
from joulewise.testing.recordings import recording
from joulewise.vocabulary.figures import Basis, Boundary
from joulewise.vocabulary.finding import Finding
from joulewise.vocabulary.observed import ProcessView
from joulewise.vocabulary.recording import Component, Device
from tests.diagnosing.views import CPU, MEMORY

GPU = Device("nvml:GPU-0", Component.GPU, "nvml", Basis.MEASURED, Boundary.DEVICE, 0.05, 0.05, "a counter")


def gpu_case(
    watts: Sequence[float],
    *views: ProcessView,
    boards: int = 1,
    limit_w: float = 0.0,
    utilisation: float = 0.95,
    activity: float | None = None,
    held: float = 20e9,
    requests: int | None = None,
) -> Case:
    """Return a run with one tick a second on boards that drew these watts, and held this memory."""
    model = {"limit_w": limit_w} if limit_w else {}
    devices = [replace(GPU, id=f"nvml:GPU-{n}", model=model) for n in range(boards)]
    seconds = len(watts)
    told = {"cpu0": 20.0, "mem": 5.0, **{d.id: 0.0 for d in devices}}
    made = recording([CPU, MEMORY, *devices], told, seconds=seconds, gpu_share=1.0)
    joules: list[float | None] = [0.0, *accumulate(watts)]
    gauges: dict[str, list[float | None]] = dict(made.ticks.gauges)
    for device in devices:
        column = [None] + [1.0] * seconds
        gauges[f"gpu_utilisation:{device.id}"] = [None if c is None else utilisation for c in column]
        gauges[f"gpu_memory_bytes:{device.id}"] = [None if c is None else held for c in column]
        if activity is not None:
            gauges[f"gpu_sm_activity:{device.id}"] = [None if c is None else activity for c in column]
    energy = {**made.ticks.energy_j, **{d.id: list(joules) for d in devices}}
    made = replace(made, ticks=replace(made.ticks, energy_j=energy, gauges=gauges))
    return Case(made, views, account(made, place(zone="DE")), requests)


def found(watts: Sequence[float], *views: ProcessView, **told: Any) -> tuple[Finding, ...]:
    """Return the findings of such a run."""
    laid = gpu_case(watts, *views, **told)
    return diagnose(laid.recording, laid.views, laid.account, requests=laid.requests)


def causes(watts: Sequence[float], *views: ProcessView, **told: Any) -> list[str]:
    """Return the names of the findings of such a run, in their order."""
    return [f.cause.value for f in found(watts, *views, **told)]
