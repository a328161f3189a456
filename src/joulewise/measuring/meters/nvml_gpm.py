"""How many of a GPU's multiprocessors worked: SM activity, from NVML's GPU performance monitoring (Hopper and later).

"Utilisation" says that some kernel was resident, be it one thread that waits; SM activity is the share of multiprocessors
with a warp, over the time between two samples (DCGM calls it `sm_active`). A sample is the driver's own; `SmActivity` keeps
two and swaps them, so a look costs two library calls.

Not told: before Hopper, under MIG (instances have their own), by drivers before 520, where profiling is reserved to root,
between samples that are too near each other, and at the first look. Samples do not outlive the library: after a fork, or
when the driver came back, both are made anew.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from joulewise.measuring.meters.nvml import NvmlLibrary

_SM_UTIL = 2  # NVML_GPM_METRIC_SM_UTIL, in percent
_VERSION = 1  # of nvmlGpmMetricsGet_t
_NEVER = (3, 4, 13)  # not supported, no permission, function not found


@final
class SmActivity:
    """The SM activity of one board, from one look to the next."""

    def __init__(self, library: NvmlLibrary) -> None:
        self._library, self._nvml = library, library.nvml
        self._generation = -1
        self._last: Any = None  # the sample of the last look
        self._spare: Any = None
        self._told = hasattr(self._nvml, "nvmlGpmMetricsGet")

    def since_last(self, handle: Any) -> float | None:
        """Return the share (0 to 1) since the last look; None where it is not told. Never raises NVMLError."""
        try:
            if self._told and self._generation != self._library.generation:
                self._last = self._spare = None
                self._generation = self._library.generation
                self._told = bool(self._nvml.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice)
            return self._look(handle) if self._told else None
        except self._library.error as fault:
            self._last = None
            self._told = getattr(fault, "value", 0) not in _NEVER
            return None

    def close(self) -> None:
        """Give the samples back, where the library that made them is still there."""
        samples, self._last, self._spare = (self._last, self._spare), None, None
        self._told = False
        for sample in samples:
            if sample is not None and self._generation == self._library.generation:
                try:
                    self._nvml.nvmlGpmSampleFree(sample)
                except self._library.error:
                    return

    def _look(self, handle: Any) -> float | None:
        nvml = self._nvml
        if self._spare is None:
            self._spare = nvml.nvmlGpmSampleAlloc()
        now = nvml.nvmlGpmSampleGet(handle, self._spare)
        before, self._last, self._spare = self._last, now, self._last
        if before is None:
            return None
        asked = nvml.c_nvmlGpmMetricsGet_t()
        asked.version, asked.numMetrics = _VERSION, 1
        asked.sample1, asked.sample2 = before, now
        asked.metrics[0].metricId = _SM_UTIL
        told = nvml.nvmlGpmMetricsGet(asked).metrics[0]
        if told.nvmlReturn or not isfinite(told.value):
            return None
        return min(1.0, max(0.0, float(told.value) / 100))
