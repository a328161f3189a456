"""What this process spends, as joules that only grow: cheap enough to be read at every training step.

The processors' energy counters are taken where they can be read (they count the whole machine), else the process's
CPU seconds at the watts of one busy processor; NVIDIA GPUs by their counters. Short probes compare like with like: what
both sides share (the basis, the uplift to the wall) cancels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from resource import RUSAGE_CHILDREN, getrusage

from joulewise.measuring.meters.port import Meter
from joulewise.vocabulary.figures import Basis


@dataclass(frozen=True, slots=True)
class Spending:
    """A counter of joules: `read()` returns them since some start; how they are known, and from what."""

    read: Callable[[], float]
    basis: Basis
    source: str


def by_cpu_seconds(watts: float | None = None) -> Spending:
    """Return the process's CPU seconds (its ended children's too) at the watts of one busy processor."""
    from joulewise.measuring.machine import machine
    from joulewise.measuring.meters.modelled import full_load_of

    basis, source = Basis.ASSUMED, f"{watts:g} W a busy processor, as given" if watts else ""
    if watts is None:
        here = machine()
        whole = full_load_of(here)
        watts, basis, source = whole.value / (here.cpus or 1), whole.basis, whole.source
    each_w = watts

    def read() -> float:
        ended = getrusage(RUSAGE_CHILDREN)
        return each_w * (time.process_time() + ended.ru_utime + ended.ru_stime)

    return Spending(read, basis, f"CPU seconds at {each_w:.3g} W ({source})")


def spending(device: str = "cpu") -> Spending:
    """Return the best counter of joules here: counters of processors and, for `cuda`, of GPUs; else CPU seconds."""
    from joulewise.measuring.meters.nvml import find_nvml
    from joulewise.measuring.meters.perf import find_perf
    from joulewise.measuring.meters.rapl import find_powercap

    processors = find_perf().meters or find_powercap().meters
    counted = [m for m in processors if m.device.counted and m.device.basis is Basis.MEASURED]
    graphics = list(find_nvml().meters) if device == "cuda" else []
    if counted and all(m.read().energy_j is not None for m in counted):
        return _sum([*counted, *graphics], None)
    return _sum(graphics, by_cpu_seconds()) if graphics else by_cpu_seconds()


def _sum(meters: Sequence[Meter], beside: Spending | None) -> Spending:
    last: dict[str, float] = {}

    def read() -> float:
        for meter in meters:
            reading = meter.read()
            if reading.energy_j is not None:  # a read that failed is made good by the next one
                last[meter.device.id] = reading.energy_j
        return sum(last.values()) + (beside.read() if beside is not None else 0.0)

    names = ", ".join(m.device.id for m in meters)
    if beside is None:
        return Spending(read, Basis.MEASURED, names)
    return Spending(read, max(Basis.MEASURED, beside.basis), f"{names}; {beside.source}")
