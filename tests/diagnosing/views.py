"""Runs made of a few numbers, for the tests of what is diagnosed in them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from joulewise.catalogue.place import place
from joulewise.diagnosing import Case, diagnose
from joulewise.measuring.accounting import account
from joulewise.testing.recordings import recording
from joulewise.vocabulary.figures import Basis, Boundary
from joulewise.vocabulary.finding import Finding
from joulewise.vocabulary.observed import CurvePoint, Evaluation, Phase, PhaseTotal, ProcessView
from joulewise.vocabulary.recording import Component, Device

CPU = Device("cpu0", Component.CPU, "test", Basis.MEASURED, Boundary.DEVICE, 0.02, 0.02, "a counter")
MEMORY = Device("mem", Component.MEMORY, "test", Basis.MEASURED, Boundary.DEVICE, 0.02, 0.02, "a counter")


def phases(**seconds: float | tuple[int, float]) -> tuple[PhaseTotal, ...]:
    """Return phases by name: seconds, or (calls, seconds); CPU and wall seconds are the same."""
    totals = []
    for name, told in seconds.items():
        calls, wall_s = told if isinstance(told, tuple) else (1, told)
        totals.append(PhaseTotal(Phase(name), calls, wall_s, wall_s))
    return tuple(totals)


def view(**fields: Any) -> ProcessView:
    """Return a process of 100 s whose phases are as told."""
    told: dict[str, Any] = {
        "process": "host-1-1",
        "pid": 1,
        "parent_pid": 0,
        "kind": "main",
        "command": ("python", "train.py"),
        "start_s": 0.0,
        "duration_s": 100.0,
        "cpu_s": 100.0,
        "phases": (),
        "ended": True,
    }
    return ProcessView(**{**told, **fields})


def case(*views: ProcessView, seconds: int = 100, cpus: float = 1.0, counters: Any = None) -> Case:
    """Return a run of one core for `seconds` in which these processes were seen."""
    made = recording([CPU, MEMORY], {"cpu0": 20.0, "mem": 5.0}, seconds=seconds, work_cpus=cpus)
    if counters:
        made = replace(made, ticks=replace(made.ticks, counters={**made.ticks.counters, **counters}))
    return Case(made, views, account(made, place(zone="DE")))


def found(*views: ProcessView, allow_slower: bool = False, **run: Any) -> tuple[Finding, ...]:
    """Return the findings of such a run."""
    laid = case(*views, **run)
    return diagnose(laid.recording, laid.views, laid.account, allow_slower=allow_slower)


def causes(*views: ProcessView, **run: Any) -> list[str]:
    """Return the names of the findings of such a run, in their order."""
    return [f.cause.value for f in found(*views, **run)]


def evaluations(
    steps: list[int],
    *,
    items: int = 10_000,
    batch: int = 500,
    seconds: float = 1.0,
    where: str = "train.py:evaluate",
) -> tuple[Evaluation, ...]:
    """Return one evaluation at each of these steps."""
    return tuple(
        Evaluation(float(n), step, max(1, items // batch), items, seconds, seconds, where)
        for n, step in enumerate(steps)
    )


def curve(name: str, values: list[float]) -> tuple[CurvePoint, ...]:
    """Return one value of a metric per epoch of ten steps."""
    return tuple(
        CurvePoint(float(e), 10 * (e + 1), float(e), {"loss": 1.0, name: v}) for e, v in enumerate(values)
    )
